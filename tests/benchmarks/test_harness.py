"""No figure without green tests, without enough rounds, or without what it was measured on."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import harness, machine, report
from benchmarks.cases import Case, Limit, Suite, Unavailable

ROOT = Path(__file__).resolve().parents[2]


def sleepless() -> Case:
    """Two contenders, one of which does the work twice, and a peer that is not installed."""

    def absent(_: object) -> None:
        raise Unavailable("peer is not installed: pip install peer")

    return Case(
        name="sum",
        sizes={"N": 20_000},
        inputs=lambda: range(20_000),
        contenders={
            "groundup": lambda numbers: lambda: sum(numbers),
            "twice": lambda numbers: lambda: sum(numbers) + sum(numbers),
            "absent": absent,
        },
        limit=Limit("half of it", lambda numbers: lambda: sum(numbers), share=0.5),
        amount=(20_000.0, "numbers"),
    )


def make_tests(root: Path, body: str) -> Suite:
    (root / "tests" / "ops").mkdir(parents=True)
    (root / "tests" / "ops" / "test_sum.py").write_text(body)
    return Suite("sum", (sleepless(),))


def test_a_red_test_stops_the_benchmark_with_its_name(tmp_path: Path) -> None:
    suite = make_tests(tmp_path, "def test_sum_is_right():\n    assert 1 + 1 == 3\n")
    with pytest.raises(
        ValueError, match=r"tests of sum are red, so no figure is shown: FAILED .*"
    ) as e:
        harness.require_green(suite, tmp_path)
    assert "test_sum_is_right" in str(e.value)


def test_green_tests_let_it_pass_and_slow_ones_are_not_run(tmp_path: Path) -> None:
    slow = "import pytest\n\n\n@pytest.mark.slow\ndef test_slow():\n    assert False\n"
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n")
    harness.require_green(make_tests(tmp_path, slow + "\n\ndef test_fast():\n    pass\n"), tmp_path)


def test_an_op_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sum has no tests in .*, so no figure is shown"):
        harness.require_green(Suite("sum", ()), tmp_path)


def test_a_test_file_that_does_not_import_is_red(tmp_path: Path) -> None:
    suite = make_tests(tmp_path, "import a_module_that_is_not_there\n")
    with pytest.raises(ValueError, match="tests of sum are red"):
        harness.require_green(suite, tmp_path)


def test_fewer_than_seven_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected at least 7, for a median to .* got 3"):
        harness.measure(sleepless(), rounds=3)


def test_a_record_holds_medians_ratios_rates_the_limit_and_who_was_absent() -> None:
    record = harness.measure(sleepless(), rounds=7)
    ours, twice = record["contenders"]["groundup"], record["contenders"]["twice"]
    assert len(ours["seconds"]) == record["rounds"] == 7
    assert ours["median_s"] == sorted(ours["seconds"])[3]
    assert twice["groundup_is_faster_by"] == twice["median_s"] / ours["median_s"]
    assert ours["rate"] == pytest.approx(20_000 / ours["median_s"])
    assert ours["rate_unit"] == "numbers/s"
    limit = record["limit"]
    assert limit["groundup_takes"] == pytest.approx(ours["median_s"] / limit["median_s"])
    assert record["absent"] == {"absent": "peer is not installed: pip install peer"}
    assert "limit" not in record["contenders"]


def test_inputs_that_a_machine_lacks_are_said_and_nothing_is_timed() -> None:
    def nothing() -> object:
        raise Unavailable("the text is not in a folder of GROUNDUP_DATA")

    record = harness.measure(replace(sleepless(), inputs=nothing), rounds=7)
    assert record["contenders"] == {}
    assert record["absent"] == {"all": "the text is not in a folder of GROUNDUP_DATA"}


def test_a_results_file_says_on_what_it_was_measured_and_keeps_earlier_runs(
    tmp_path: Path,
) -> None:
    record = harness.measure(sleepless(), rounds=7)
    path = harness.save("sum", [record], tmp_path)
    assert path == tmp_path / machine.machine_name() / f"{machine.today()}.json"
    harness.save("sum", [record], tmp_path)
    content = json.loads(path.read_text())
    assert content["format"] == harness.FORMAT
    assert [run["op"] for run in content["runs"]] == ["sum", "sum"]
    run = content["runs"][0]
    facts = {"commit", "clean_tree", "processor", "cores", "threads", "isa", "versions", "at"}
    assert facts <= set(run)
    assert "torch" in run["versions"]
    assert run["cases"][0]["sizes"] == {"N": 20_000}
    assert not list(path.parent.glob("*.part"))


def test_a_results_file_of_another_format_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / machine.machine_name() / f"{machine.today()}.json"
    path.parent.mkdir()
    path.write_text('{"format": 99}')
    with pytest.raises(ValueError, match="expected format 1, got 99; move it away"):
        harness.save("sum", [], tmp_path)
    assert path.read_text() == '{"format": 99}'


@pytest.mark.parametrize(
    ("written", "message"),
    [("{", "expected JSON"), ("[]", "expected an object"), ('{"format": 1}', "under 'runs'")],
)
def test_a_damaged_results_file_is_named(tmp_path: Path, written: str, message: str) -> None:
    path = tmp_path / machine.machine_name() / f"{machine.today()}.json"
    path.parent.mkdir()
    path.write_text(written)
    with pytest.raises(ValueError, match=rf"\.json: .*{message}.*; move it away"):
        harness.save("sum", [], tmp_path)


def test_the_table_is_plain_in_a_pipe_and_fits_eighty_columns(tmp_path: Path) -> None:
    record = harness.measure(sleepless(), rounds=7)
    with (tmp_path / "out.txt").open("w") as file:
        report.show("sum", record, Console(file=file, width=80))
    text = (tmp_path / "out.txt").read_text()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "peer is not installed" in text
    assert "half of it" in text


def test_every_benchmark_file_states_cases_whose_first_contender_is_groundup() -> None:
    assert "cross_entropy" in harness.suites()
    for op in harness.suites():
        suite = harness.load(op)
        assert suite.op == op
        assert suite.cases
        assert all(next(iter(case.contenders)) == "groundup" for case in suite.cases)
        assert len({str(case) for case in suite.cases}) == len(suite.cases)
    with pytest.raises(ValueError, match="there is no benchmark of 'flash'; there are "):
        harness.load("flash")


def test_pytest_benchmark_runs_the_same_cases_and_fails_where_tests_are_not_green(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "speeds"
    folder.mkdir()
    shutil.copy(ROOT / "benchmarks" / "conftest.py", folder)
    (folder / "bench_sum.py").write_text(
        "from benchmarks.cases import Case, Suite\n"
        "from benchmarks.harness import speed_test\n"
        "ours = {'groundup': lambda _: lambda: sum(range(99))}\n"
        "case = Case('sum', {'N': 99}, lambda: None, ours)\n"
        "test_red = speed_test(Suite('sum', (case,)))\n"
        "test_green = speed_test(Suite('compare', (case,), ('tests/test_compare.py',)))\n"
    )
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "-o", "python_files=bench_*.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--benchmark-only",
            "--rootdir",
            folder,
            *options,
            folder,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "sum has no tests in" in done.stdout
