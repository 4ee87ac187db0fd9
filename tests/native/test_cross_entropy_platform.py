"""The native cross-entropy on every instruction set, any number of threads, and after a fork."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from native.cross_entropy_calls import Flags, native
from native.isolation import (
    ROOT,
    on_every_other_instruction_set,
    python,
    require_pass,
    require_return_from_fork,
)

core = pytest.importorskip("groundup._C", reason="the native core is not built")
FORMS = pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])


@on_every_other_instruction_set("flag_combination or special or changed_before")
def test_the_value_tests_pass_on_every_instruction_set(isa, tests):
    require_pass(isa, tests, "test_cross_entropy.py")


def test_every_instruction_set_gives_nearly_the_same_loss():
    code = """
import torch, groundup._C as core
from native.cross_entropy_calls import native
x = torch.randn(16, 5000, generator=torch.Generator().manual_seed(0))
print(core.isa(), repr(native(core, x, torch.arange(16)).loss.item()))
"""
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    losses = {}
    for isa in core.isas():
        name, loss = python(code, GROUNDUP_ISA=isa, PYTHONPATH=path).stdout.split()
        assert name == isa
        losses[isa] = float(loss)
    assert max(losses.values()) - min(losses.values()) <= 2e-6, losses


# Flags of CMakeLists.txt that matter for which symbols an object has.
FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mf16c", "-mpopcnt", "-mlzcnt"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512cd", "-mfma"],
}


@pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "amd64"), reason="instruction sets are x86-64's"
)
@pytest.mark.parametrize("isa", FLAGS)
@pytest.mark.parametrize("optimised", ["-O0", pytest.param("-O3", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "source", ["cross_entropy", "attention", "attention_backward", "bpe/scan", "bpe/utf8"]
)
def test_objects_for_higher_instruction_sets_have_no_weak_symbols(isa, optimised, source, tmp_path):
    """The linker keeps one of equal weak symbols: AVX code could end up on the baseline's path."""
    compiler, nm = shutil.which(os.environ.get("CXX", "c++")), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("needs a C++ compiler and nm")
    assert f" csrc/{source}.cpp" in (ROOT / "CMakeLists.txt").read_text()
    build = [compiler, "-std=gnu++17", optimised, "-fPIC", "-fopenmp", *FLAGS[isa]]
    build += ["-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-Wno-psabi"]
    build += [f"-DGROUNDUP_ISA={isa}", f"-I{ROOT / 'csrc'}", "-c", "-o", str(tmp_path / "object.o")]
    done = subprocess.run(
        [*build, str(ROOT / f"csrc/{source}.cpp")], capture_output=True, text=True, check=False
    )
    if "fopenmp" in done.stderr:
        pytest.skip(f"{compiler} has no OpenMP")
    assert done.returncode == 0, done.stderr
    listing = subprocess.run(
        [nm, "-C", tmp_path / "object.o"], capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split(maxsplit=2 if line[0] != " " else 1) for line in listing.splitlines()]
    weak = [symbol for *_, kind, symbol in symbols if kind in "VvWwu"]
    assert weak == []
    public = [symbol for *_, kind, symbol in symbols if kind == "T"]
    assert public
    assert all(f"groundup::{isa}::" in symbol for symbol in public), public


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_number_of_threads_gives_the_same_bits(dtype, inplace, threads):
    logits = torch.randn(300, 1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    target = torch.arange(300)
    flags = Flags(label_smoothing=0.1, lse_square_scale=1e-3)
    results = []
    for n in (1, 2, 8):
        threads(n)
        assert core.usable_threads() == n, "torch.set_num_threads is not obeyed"
        results.append(native(core, logits, target, flags, inplace=inplace))
    for result in results[1:]:
        assert torch.equal(result.loss, results[0].loss)
        assert torch.equal(result.dlogits, results[0].dlogits)


def test_eight_python_threads_on_one_op_give_what_one_gives():
    logits = torch.randn(200, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    target = torch.arange(200)

    def both(_):
        return [native(core, logits, target, inplace=inplace).dlogits for inplace in (True, False)]

    expected = both(0)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(both, range(24)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_after_a_parallel_region_returns():
    require_return_from_fork(
        """
x, target = torch.randn(200, 1000), torch.arange(200)
loss, denominator = torch.empty(()), torch.empty(())
def step(x):
    assert core.cross_entropy_inplace_cpu(
        x.data_ptr(), 0, 200, 1000, 1000, target.data_ptr(), 0, -100, 1, 0.0, 0.0, 0.0,
        loss.data_ptr(), 0, denominator.data_ptr()) == -1
before, after = x.clone(), x.clone()
"""
    )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/self/maps")
@pytest.mark.parametrize("order", ["torch, groundup._C", "groundup._C, torch"])
def test_the_process_holds_one_openmp_runtime(order):
    code = f"""
import importlib
for name in "{order}".split(", "):
    importlib.import_module(name)
lines = open("/proc/self/maps").read().splitlines()
print(*{{line.split()[-1] for line in lines if "gomp" in line or "omp5" in line or "iomp" in line}})
"""
    done = python(code)
    runtimes = done.stdout.split()
    assert len(runtimes) == 1, f"{order}: expected one OpenMP runtime, got {runtimes}"
