"""The core runs on the instruction set that is asked for, or says why not."""

import os
import subprocess
import sys

import pytest
from native.isolation import python

core = pytest.importorskip("groundup._C", reason="the native core is not built")


def isa_under(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import groundup._C as core; print(core.isa())"],
        env={**os.environ, "GROUNDUP_ISA": name},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", core.isas())
def test_each_instruction_set_of_the_machine_can_be_forced(name: str) -> None:
    assert isa_under(name).stdout.strip() == name


def test_an_empty_name_means_the_best_set() -> None:
    assert isa_under("").stdout.strip() == core.isas()[-1]


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    done = isa_under("sse9")
    assert done.returncode != 0
    assert "GROUNDUP_ISA: expected baseline, avx2 or avx512, got 'sse9'." in done.stderr


def test_what_new_alone_made_is_refused_in_a_sentence() -> None:
    hollow = core.AdamWTensors.__new__(core.AdamWTensors)
    with pytest.raises(TypeError, match="AdamWTensors: expected one made by calling it, got one"):
        hollow.look([{"params": []}], {}, 0, [[]] * 5, [], [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_loads_the_core_after_the_fork_runs_serially():
    done = python(
        """
import os, sys, groundup
pid = os.fork()
if pid == 0:
    from groundup._native import core
    os._exit(0 if core().usable_threads() == 1 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells whether a process was forked")
@pytest.mark.parametrize(("before", "expected"), [("import torch", True), ("pass", False)])
def test_a_child_that_imports_groundup_after_the_fork_runs_serially_if_a_pool_came_along(
    before, expected
):
    done = python(
        f"""
import os, sys
{before}
if 'torch' in sys.modules:
    torch.set_num_threads(2)
    torch.ones(1 << 20).sum()  # a parallel region of torch's, which would hang in the child
    logits, target = torch.zeros(64, 1000), torch.zeros(64, dtype=torch.int64)
pid = os.fork()
if pid == 0:
    from groundup import _fork, _native
    if {expected}:
        import groundup as gu
        with gu.use("cross_entropy=cpp"):
            loss = gu.cross_entropy(logits, target)
        assert abs(loss.item() - 6.9078) < 1e-4 and _native.core().usable_threads() == 1
    os._exit(0 if _fork.is_child == {expected} else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert done.returncode == 0, done.stderr
