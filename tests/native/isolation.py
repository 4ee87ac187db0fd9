"""What a kernel must stand in a process of its own: another instruction set, a fork."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

core = pytest.importorskip("groundup._C", reason="the native core is not built")

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new interpreter that finds what this one finds."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def on_every_other_instruction_set(telling: str) -> Callable[[Any], Any]:
    """Parametrizes a test over (isa, tests): `telling` in the fast suite, all in the slow one."""
    isas = pytest.mark.parametrize("isa", [name for name in core.isas() if name != core.isa()])
    selections = pytest.mark.parametrize(
        "tests",
        [telling, pytest.param("test", marks=pytest.mark.slow)],
        ids=["the telling ones", "all"],
    )
    return lambda test: isas(selections(test))


def require_pass(isa: str, tests: str, *files: str) -> None:
    """The tests of tests/native/<files> that -k `tests` selects pass under this instruction set."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-k", tests),
            *("-p", "no:cacheprovider"),
            *(str(ROOT / "tests/native" / file) for file in files),
        ],
        env={**os.environ, "GROUNDUP_ISA": isa},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"under GROUNDUP_ISA={isa}:\n{done.stdout[-3000:]}"
    assert " passed" in done.stdout


def require_return_from_fork(preparation: str) -> None:
    """A child forked after a parallel region computes the same, on one thread, and ends.

    preparation   code after `import torch, groundup._C as core` that defines step(x), which writes
                  x by the kernel, and `before` and `after`, two tensors that it leaves equal. The
                  child keeps to the kernel and NumPy: torch's own operations would wait for ever.
    """
    done = python(
        f"""
import os, sys, torch, groundup._C as core
torch.set_num_threads(2)
{preparation}
step(before)
pid = os.fork()
if pid == 0:
    step(after)
    same = (after.numpy() == before.numpy()).all() and core.usable_threads() == 1
    os._exit(0 if same else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert done.returncode == 0, done.stderr
