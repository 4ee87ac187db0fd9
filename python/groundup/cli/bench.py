"""Measure ops against their peers and the hardware limit, from a source checkout."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

import groundup
from groundup.cli._command import run


def main(args: list[str]) -> int:
    return run(args, bench, example="groundup bench cross_entropy")


def bench(
    ops: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    rounds: int = 7,
    slow: bool = False,
    peer_python: Path | None = None,
    names: Annotated[bool, tyro.conf.arg(name="list")] = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Measure ops against their peers and the hardware limit, from a source checkout.

    Runs the op's fast tests first and shows no figure while one is red. Contenders take turns;
    figures are medians of the rounds. The run is added to
    benchmarks/results/<machine>/<date>.json.

    Args:
        ops: which ops; without one, every op that has a benchmark.
        rounds: how often each contender is timed, at least 7.
        slow: the cases that take minutes too.
        peer_python: an interpreter whose packages are measured as well, where an op has peers that
            cannot be installed beside the others (encode: tokenizers 1.0).
        names: name the ops that have a benchmark, and stop.
        as_json: print the records, one line an op, instead of tables.
    """
    root = checkout()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if peer_python is not None:
        if not os.access(peer_python, os.X_OK):
            raise ValueError(f"peer_python: expected a Python interpreter, got {peer_python}")
        os.environ["GROUNDUP_PEER_PYTHON"] = str(peer_python)
    harness = importlib.import_module("benchmarks.harness")
    report = importlib.import_module("benchmarks.report")

    if names:
        print("\n".join(harness.suites()))
        return 0
    if rounds < harness.LEAST_ROUNDS:
        raise ValueError(
            f"rounds: expected at least {harness.LEAST_ROUNDS}, for a median to mean something, "
            f"got {rounds}"
        )
    for suite in [harness.load(op) for op in ops or harness.suites()]:
        with report.waiting(f"tests of {suite.op}", quiet=as_json):
            harness.require_green(suite)
        records: list[dict[str, Any]] = []
        for case in suite.cases:
            if case.slow and not slow:
                continue
            with report.waiting(f"{suite.op}: {case}", quiet=as_json):
                records.append(harness.measure_in_place(suite.op, case, rounds))
            if not as_json:
                report.show(suite.op, records[-1])
        path = harness.save(suite.op, records)
        if as_json:
            print(json.dumps({"op": suite.op, "file": str(path), "cases": records}), flush=True)
        else:
            report.footer(path)
    return 0


def checkout() -> Path:
    """The source checkout that this package is installed from.

    Raises FileNotFoundError for an installed copy: benchmarks live beside the sources.
    """
    root = Path(groundup.__file__).resolve().parents[2]
    if not (root / "benchmarks" / "harness.py").is_file():
        raise FileNotFoundError(
            "benchmarks run from a source checkout, and this groundup is an installed copy; "
            "clone the repository, `pip install -e '.[test]'` there, and repeat"
        )
    return root
