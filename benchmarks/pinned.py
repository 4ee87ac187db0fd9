"""A case on fewer cores than the machine has, in a process of its own.

A library makes its threads once, for the cores that it finds then, so a process that has run one
case on two cores cannot run the next on one. `python -m benchmarks.pinned <op> <case> <cores>
<rounds>` gives up all but that many cores before it imports anything, and prints the record.
"""

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.cases import ROOT, Case, Unavailable


def measure(op: str, case: Case, rounds: int) -> dict[str, Any]:
    """The case's record, measured on case.cores cores. Raises Unavailable where it cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        raise Unavailable("a process is held to some of the cores on Linux only")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pinned", op, str(case), str(case.cores), str(rounds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"the process that measures it on {case.cores} cores ended: {last}")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def _main(op: str, which: str, cores: str, rounds: str) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    from benchmarks import harness  # and with it whatever makes threads

    case = next(case for case in harness.load(op).cases if str(case) == which)
    record = harness.measure(case, int(rounds)) | {"cores": len(os.sched_getaffinity(0))}
    print(json.dumps(record))


if __name__ == "__main__":
    _main(*sys.argv[1:])
