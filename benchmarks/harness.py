"""Measure an op against its peers and the hardware, and write down on what it was measured.

`groundup bench cross_entropy` runs the op's tests first and shows no figure while they are red;
then all contenders of a case take turns (groundup/inspect/timing.py). The same cases run under
pytest-benchmark: `pytest benchmarks --benchmark-only`.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine
from benchmarks.cases import ROOT, Case, Suite, Unavailable, ready
from groundup.inspect.timing import Contender, Timing, interleaved, ratio

FORMAT = 1
LEAST_ROUNDS = 7
LIMIT = "limit"


def suites(root: Path = ROOT) -> list[str]:
    """The ops that have a benchmark here."""
    return sorted(path.stem.removeprefix("bench_") for path in root.glob("benchmarks/bench_*.py"))


def load(op: str) -> Suite:
    """The suite of benchmarks/bench_<op>.py. Raises ValueError for an op that has none."""
    if op not in suites():
        raise ValueError(f"there is no benchmark of {op!r}; there are {', '.join(suites())}")
    suite: Suite = importlib.import_module(f"benchmarks.bench_{op}").SUITE
    return suite


def require_green(suite: Suite, root: Path = ROOT) -> None:
    """Run the op's fast tests. Raises ValueError with a sentence when one fails or none is there.

    A fast op that is wrong is not fast; so no figure is shown before this has passed.
    """
    files = suite.test_files(root)
    if not files:
        raise ValueError(f"{suite.op} has no tests in {root / 'tests'}, so no figure is shown")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, *map(str, files)],
        cwd=root,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        why = last[0] if last else f"pytest ended with {done.returncode}"
        raise ValueError(f"the tests of {suite.op} are red, so no figure is shown: {why}")


def measure(
    case: Case, rounds: int = LEAST_ROUNDS, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Time one case and return its record, ready for JSON.

    rounds   at least LEAST_ROUNDS: a median of fewer says little on a shared machine
    progress called with the number of rounds done
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(
            f"rounds: expected at least {LEAST_ROUNDS}, for a median to mean something, "
            f"got {rounds}"
        )
    try:
        inputs = case.inputs()
    except Unavailable as why:
        return _record(case, {}, {"all": str(why)})
    contenders: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    for name, setup in case.contenders.items():
        try:
            contenders[name] = ready(setup, inputs)
        except Unavailable as why:
            absent[name] = str(why)
    if case.limit is not None:
        contenders[LIMIT] = ready(case.limit.setup, inputs)
    timings = interleaved(contenders, rounds, few_rounds=case.few_rounds, progress=progress)
    record = _record(case, timings, absent)
    if case.compare is not None:
        record["agreement"] = case.compare(contenders)
    if case.found is not None:
        record["sizes"] |= case.found(inputs)
    if case.amount is not None:
        amount, unit = case.amount
        for entry in record["contenders"].values():
            entry["rate"] = (amount(inputs) if callable(amount) else amount) / entry["median_s"]
            entry["rate_unit"] = f"{unit}/s"
    return record


def measure_in_place(op: str, case: Case, rounds: int) -> dict[str, Any]:
    """`measure`, on as many cores as the case allows, and peak memory where it asks for that."""
    from benchmarks import pinned  # which imports this file

    try:
        record = measure(case, rounds) if case.cores is None else pinned.measure(op, case, rounds)
    except Unavailable as why:
        return _record(case, {}, {"all": str(why)})
    if case.memory:
        add_peak_memory(op, case, record)
    return record


def add_peak_memory(op: str, case: Case, record: dict[str, Any]) -> None:
    """Write into a case's record what each contender takes beyond the inputs."""
    from benchmarks.memory import peak_bytes  # which imports this file

    for name, entry in record["contenders"].items():
        try:
            entry["peak_bytes"] = peak_bytes(op, case, name)
        except Unavailable as why:
            record["absent"][f"{name}'s peak memory"] = str(why)


def _record(case: Case, timings: dict[str, Timing], absent: dict[str, str]) -> dict[str, Any]:
    ours = timings.get(next(iter(case.contenders)))
    contenders = {}
    for name, timing in timings.items():
        if name == LIMIT:
            continue
        entry: dict[str, Any] = {
            "median_s": timing.median,
            "spread": round(timing.spread, 4),
            "seconds": list(timing.seconds),
        }
        if ours is not None:
            entry["groundup_is_faster_by"] = ratio(ours, timing)
        contenders[name] = entry
    record: dict[str, Any] = {
        "case": case.name,
        "sizes": dict(case.sizes),
        "rounds": max((len(timing.seconds) for timing in timings.values()), default=0),
        "contenders": contenders,
        "absent": absent,
    }
    if case.limit is not None and LIMIT in timings:
        least = timings[LIMIT].median * case.limit.share
        record["limit"] = {"name": case.limit.name, "median_s": least}
        record["limit"]["spread"] = round(timings[LIMIT].spread, 4)
        if ours is not None:
            record["limit"]["groundup_takes"] = ours.median / least
    return record


def save(op: str, records: Sequence[dict[str, Any]], folder: Path | None = None) -> Path:
    """Add a run to results/<machine>/<date>.json and return its path.

    The file is {"format": 1, "runs": [{"op", "at", "commit", "machine", ..., "cases"}]}. Several
    runs of a day stand one after the other, so that the reader sees how much they differ.
    """
    folder = folder or ROOT / "benchmarks" / "results"
    path = folder / machine.machine_name() / f"{machine.today()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "runs": []}
    if path.exists():
        content = _results(path)
    run = {"op": op, "at": machine.now(), **machine.describe(), "cases": list(records)}
    content["runs"].append(run)
    write_json(path, content)
    return path


def _results(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, but {error}; move it away") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, got {str(content)[:40]}; move it away")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected format {FORMAT}, got {content.get('format')!r}; move it away"
        )
    if not isinstance(content.get("runs"), list):
        raise ValueError(f"{path}: expected the runs so far under 'runs'; move it away")
    return content


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    fresh = path.with_name(path.name + ".part")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def speed_test(suite: Suite) -> Callable[..., None]:
    """The suite as one pytest-benchmark test per case and contender.

    In a benchmark file: `test_speed = speed_test(SUITE)`.
    """
    pairs = [(case, name) for case in suite.cases for name in case.contenders]
    marks = [
        pytest.param(case, name, id=f"{case} {name}", marks=[pytest.mark.slow] if case.slow else [])
        for case, name in pairs
    ]

    @pytest.mark.parametrize(("case", "name"), marks)
    def test_speed(benchmark: Any, green: Callable[[Suite], None], case: Case, name: str) -> None:
        green(suite)
        benchmark.group = f"{suite.op}: {case}"
        try:
            contender = ready(case.contenders[name], case.inputs())
        except Unavailable as why:
            pytest.skip(str(why))
        prepare = contender.prepare

        def setup() -> None:
            if prepare is not None:
                prepare()

        benchmark.pedantic(contender.run, setup=setup, rounds=LEAST_ROUNDS, warmup_rounds=1)

    return test_speed
