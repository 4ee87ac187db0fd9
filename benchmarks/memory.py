"""What a contender takes beyond its inputs at its peak, in a process of its own.

`python -m benchmarks.memory <op> <case> <contender>` is that process: it makes the inputs and the
contender, gives free memory back, lets Linux forget the peak so far, and does the work once.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import harness
from benchmarks.cases import ROOT, Case, Unavailable, ready

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


def peak_bytes(op: str, case: Case, contender: str) -> int:
    """Bytes beyond the inputs. Raises Unavailable where it cannot be measured."""
    if not _CLEAR_REFS.exists():
        raise Unavailable("peak memory is measured on Linux only")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", op, str(case), contender],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"peak memory of {contender}: the process that measures it ended: {last}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def _memory(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _measure(op: str, which: str, name: str) -> int:
    case = next(case for case in harness.load(op).cases if str(case) == which)
    contender = ready(case.contenders[name], case.inputs())
    if contender.prepare is not None:
        contender.prepare()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what inputs left free would hide what the work takes
    _CLEAR_REFS.write_text(_FORGET_PEAK)
    before = _memory("VmRSS")
    contender.run()
    return max(0, _memory("VmHWM") - before)


if __name__ == "__main__":
    print(json.dumps({"peak_bytes": _measure(*sys.argv[1:])}))
