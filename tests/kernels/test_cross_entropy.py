"""The Triton kernels without a device: interpreted for what they compute, compiled for three
architectures for what they take."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import groundup as gu
from groundup.ops import cross_entropy_triton

HERE = Path(__file__).parent
TABLE = HERE / "cross_entropy_resources.json"
ARCHITECTURES = (80, 90, 100)
NO_TRITON = "not run: Triton is not installed"

needs_triton = pytest.mark.skipif(cross_entropy_triton.missing() is not None, reason=NO_TRITON)


def run_file(**environment):
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            str(HERE / "interpreted_cross_entropy.py"),
        ],
        env={**os.environ, **environment},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def version(package):
    return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:2])


@needs_triton
def test_interpreted_they_keep_the_error_rule():
    if version("triton") < (3, 7) and version("numpy") >= (2, 4):
        pytest.skip("not run: the interpreter of Triton 3.6 needs NumPy 2.3 or older")
    done = run_file(TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


@needs_triton
@pytest.mark.gpu
def test_on_a_device_they_keep_the_error_rule():
    if not torch.cuda.is_available():
        pytest.skip("not run: no CUDA device")
    done = run_file(TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stdout[-4000:]


_SHARED = {"n_classes": "i32", "ignore_index": "i32"}
_ROWS = {
    "target_ptr": "*i64",
    "weight_ptr": "*fp32",
    "statistics_ptr": "*fp32",
    "shared_ptr": "*fp32",
    "stride_row": "i32",
    "label_smoothing": "fp32",
    "lse_square_scale": "fp32",
    "softcap": "fp32",
    **_SHARED,
}
_PLAIN = {"WEIGHTED": False, "SMOOTHED": False, "CAPPED": False, "BLOCK_V": 4096}
_EVERY = {"WEIGHTED": True, "SMOOTHED": True, "CAPPED": True, "BLOCK_V": 4096}


def variants():
    """name: (kernel, types of its arguments, its constants, warps)"""
    found = {}
    for dtype, flags, label in (("bf16", _PLAIN, "plain"), ("fp32", _EVERY, "every_flag")):
        rows = {**_ROWS, "logits_ptr": f"*{dtype}"}
        found[f"forward_{dtype}_{label}"] = (
            "cross_entropy_forward_kernel", {**rows, "row_loss_ptr": "*fp64"}, flags, 8,
        )  # fmt: skip
        found[f"backward_{dtype}_{label}"] = (
            "cross_entropy_backward_kernel",
            {**rows, "dloss_ptr": "*fp32", "dlogits_ptr": f"*{dtype}"},
            {**flags, "PER_ROW": False, "INPLACE": False},
            8,
        )
    found["backward_bf16_plain_inplace"] = (
        "cross_entropy_backward_kernel",
        {**_ROWS, "logits_ptr": "*bf16", "dloss_ptr": "*fp32", "dlogits_ptr": "*bf16"},
        {**_PLAIN, "PER_ROW": False, "INPLACE": True},
        8,
    )
    found["scale"] = (
        "cross_entropy_scale_kernel",
        {"dlogits_ptr": "*bf16", "dloss_ptr": "*fp32", "n_classes": "i32"},
        {"PER_ROW": False, "BLOCK_V": 4096},
        8,
    )
    found["totals"] = (
        "cross_entropy_totals_kernel",
        {
            **_SHARED,
            "target_ptr": "*i64",
            "weight_ptr": "*fp32",
            "shared_ptr": "*fp32",
            "flag_ptr": "*i64",
            "n_rows": "i32",
        },
        {"MEAN": True, "WEIGHTED": True, "BLOCK_N": 1024},
        4,
    )
    found["sum"] = (
        "cross_entropy_sum_kernel",
        {"row_loss_ptr": "*fp64", "shared_ptr": "*fp32", "loss_ptr": "*fp32", "n_rows": "i32"},
        {"BLOCK_N": 1024},
        4,
    )
    return found


def resources(variant, architecture, cubin_path):
    """Registers a thread, bytes of shared memory a block, bytes of stack and local memory a thread,
    of the machine code made for sm_<architecture>: the last two are where registers spill to."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from groundup.kernels import cross_entropy as kernels

    name, types, constants, warps = variant
    kernel = getattr(kernels, name)
    order = kernel.arg_names
    assert set(order) == set(types) | set(constants)
    compiled = triton.compile(
        ASTSource(
            fn=kernel,
            signature={each: types.get(each, "constexpr") for each in order},
            constexprs={(order.index(each),): value for each, value in constants.items()},
        ),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": warps, "enable_fp_fusion": True},
    )
    cubin_path.write_bytes(compiled.asm["cubin"])
    cuobjdump = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    listing = subprocess.run(
        [cuobjdump, "--dump-resource-usage", cubin_path], capture_output=True, text=True, check=True
    ).stdout
    line = next(line for line in listing.splitlines() if "REG:" in line)
    found = dict(item.split(":") for item in line.split() if ":" in item)
    return {
        "registers": int(found["REG"]),
        "shared": int(found["SHARED"]),
        "stack": int(found["STACK"]),
        "local": int(found["LOCAL"]),
    }


@needs_triton
def test_compiled_for_three_architectures_they_take_what_the_table_says(tmp_path):
    """`python tests/kernels/test_cross_entropy.py` writes the table anew.

    A version of Triton that the table does not know may allot other registers; it too must not
    spill.
    """
    version = importlib.metadata.version("triton")
    table = json.loads(TABLE.read_text()).get(f"triton {version}")
    found = measured(tmp_path)
    for name, by_architecture in found.items():
        for architecture, used in by_architecture.items():
            assert used["stack"] == used["local"] == 0, f"{name} spills on {architecture}: {used}"
    if table is not None:
        assert found == table


def measured(folder):
    return {
        name: {
            f"sm_{architecture}": resources(variant, architecture, folder / "kernel.cubin")
            for architecture in ARCHITECTURES
        }
        for name, variant in variants().items()
    }


LOGITS, TARGET = torch.zeros(4, 7), torch.tensor([0, 1, 2, -100])


@needs_triton
def test_on_the_cpu_they_are_refused_in_a_sentence():
    message = "cross_entropy=triton is forced .* it runs on CUDA devices, and input is on cpu"
    with gu.use("cross_entropy=triton"), pytest.raises(RuntimeError, match=message):
        gu.cross_entropy(LOGITS, TARGET)


def test_without_triton_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(cross_entropy_triton.importlib.util, "find_spec", lambda _: None)
    message = r"Triton is not installed; pip install 'groundup\[gpu\]'"
    with gu.use("cross_entropy=triton"), pytest.raises(RuntimeError, match=message):
        gu.cross_entropy(LOGITS, TARGET)


def test_importing_the_ops_and_the_package_of_kernels_imports_no_triton():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, groundup.kernels, groundup as gu\n"
        "print(gu.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 1])).item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1.386")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        tables = json.loads(TABLE.read_text()) if TABLE.exists() else {}
        tables[f"triton {importlib.metadata.version('triton')}"] = measured(Path(scratch))
        TABLE.write_text(json.dumps(tables, indent=1) + "\n")
