"""`groundup doctor`: what it shows on a healthy machine, and what makes it exit 1."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from groundup import _native
from groundup.cli import doctor
from groundup.inspect import installation, probes
from groundup.ops import dispatch


def _json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_every_op_has_a_probe() -> None:
    assert set(probes.PROBES) == set(dispatch.IMPLEMENTATIONS)


def test_a_healthy_machine_exits_0_and_names_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    record = _json(capsys)
    assert record["ok"] is True
    assert record["problems"] == []
    assert {"groundup", "python", "native core", "openmp", "compiler", "nvcc", "triton"} <= set(
        record["facts"]
    )
    on_cpu = {each["op"]: each for each in record["ops"] if each["device"] == "cpu"}
    assert set(on_cpu) == set(dispatch.IMPLEMENTATIONS)
    best = "cpp" if _native.core() is not None else "torch"
    for op, finding in on_cpu.items():
        assert finding["runs"] == best, op
        assert set(finding["others"]) == set(dispatch.NAMES) - {best}
        assert all(finding["others"].values())


def test_the_screen_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    told = capsys.readouterr().out
    assert "Nothing is broken." in told
    assert all(op in told for op in dispatch.IMPLEMENTATIONS)


def test_what_is_forced_runs_and_says_so() -> None:
    with dispatch.use("cross_entropy=torch"):
        finding = probes.examine("cross_entropy", "cpu")
    assert finding.runs == "torch"
    assert finding.problem is None
    if _native.core() is not None:
        assert finding.others["cpp"] == "torch is asked for"


def test_an_op_that_raises_or_lies_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(device: str) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(probes.PROBES, "gelu", raises)
    assert doctor.main([]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "broken gelu on cpu raises RuntimeError: no such kernel" in told
    assert "Nothing is broken" not in told


@pytest.mark.skipif(_native.core() is None, reason="there is one implementation without the core")
def test_implementations_that_differ_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = probes.PROBES["gelu"]

    def wrong(device: str) -> Any:
        results = right(device)
        if dispatch.forced.get("gelu") == "torch":
            return tuple(2 * result for result in results)
        return results

    monkeypatch.setitem(probes.PROBES, "gelu", wrong)
    finding = probes.examine("gelu", "cpu")
    assert finding.problem == "gelu on cpu: cpp and torch give different results"


def test_two_openmp_runtimes_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "openmp_runtimes", lambda: ["libgomp.so.1", "libiomp5.so"])
    problems = installation.examine().problems
    assert any("2 OpenMP runtimes are loaded (libgomp.so.1, libiomp5.so)" in p for p in problems)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"GROUNDUP_NATIVE": "0"}, 0, "GROUNDUP_NATIVE=0 is set; unset it"),
        ({"GROUNDUP_IMPL": "gelu=fast"}, 1, "gelu has no implementation 'fast'"),
        ({"GROUNDUP_ISA": "mmx"}, 1, "GROUNDUP_ISA"),
        ({"GROUNDUP_DATA": "/nowhere"}, 1, "GROUNDUP_DATA names /nowhere, which is no folder"),
    ],
)
def test_settings_are_told_and_wrong_ones_exit_1(
    settings: dict[str, str], code: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "doctor"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = " ".join(done.stdout.split())
    assert done.returncode == code, told + done.stderr
    assert words in told
    assert "Traceback" not in done.stderr


def _shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", "bash", sys.executable],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(os.name != "posix", reason="pipes and redirections are a POSIX shell's")
@pytest.mark.parametrize("line", ['"$1" -m groundup doctor >&-', '"$1" -m groundup doctor | true'])
def test_nobody_to_read_it_is_not_broken(line: str) -> None:
    done = _shell(line)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
