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
_SAMPLED = ("RssAnon", "RssFile")
_MAPPED_BYTES = 8 << 20
# Prints the largest of each field, in KiB, once something comes on stdin.
_WATCH = """
import select, sys
path, fields = f"/proc/{sys.argv[1]}/status", sys.argv[2:]
most = dict.fromkeys(fields, 0)
print(flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    for line in open(path):
        name = line.partition(":")[0]
        if name in most:
            most[name] = max(most[name], int(line.split()[1]))
print(*most.values())
"""


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
    before = {field: _memory(field) for field in ("VmRSS", *_SAMPLED)}
    watch = subprocess.Popen(
        [sys.executable, "-c", _WATCH, str(os.getpid()), *_SAMPLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert watch.stdout is not None
    watch.stdout.readline()  # it watches
    contender.run()
    peak = _memory("VmHWM") - before["VmRSS"]
    anonymous, of_files = map(int, watch.communicate(b"\n")[0].split())
    # Pages of a file that is mapped are the system's, which takes them back when it likes: where
    # there are such, what was sampled counts.
    if of_files * 1024 - before["RssFile"] > _MAPPED_BYTES:
        peak = anonymous * 1024 - before["RssAnon"]
    return max(0, peak)


if __name__ == "__main__":
    print(json.dumps({"peak_bytes": _measure(*sys.argv[1:])}))
