"""The CUDA kernels are built where nvcc is, and left out in one line where it is not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from groundup import _native

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"CUDACXX": "/nowhere/nvcc"}

needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which(os.environ.get("CXX", "c++")) is None,
    reason="not run: needs CMake and a C++ compiler",
)


def configure(to, wanted, **environment):
    pybind11 = pytest.importorskip("pybind11", reason="not run: pybind11 is not installed")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    return subprocess.run(
        [
            *("cmake", "-S", ROOT, "-B", to, *generator, f"-DGROUNDUP_CUDA={wanted}"),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-DGROUNDUP_OUTPUT={to}/_C.so"),
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_cmake
def test_without_nvcc_one_line_says_so_and_the_build_goes_on(tmp_path):
    done = configure(tmp_path, "AUTO", **NOWHERE)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "CUDA kernels are left out" in line]
    assert len(said) == 1
    assert "no CUDA compiler was found" in said[0]
    assert "put nvcc of a CUDA toolkit on PATH" in said[0]


@pytest.mark.slow
@needs_cmake
def test_asking_for_cuda_without_nvcc_fails_with_the_remedy(tmp_path):
    done = configure(tmp_path, "1", **NOWHERE)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "GROUNDUP_CUDA=1 and no CUDA compiler was found; put nvcc of a CUDA toolkit on" in said


@pytest.mark.slow
@needs_cmake
@pytest.mark.parametrize(
    ("wanted", "code", "sentence"),
    [
        ("0", 0, "GROUNDUP_CUDA=0, the CUDA kernels are left out"),
        ("yes", 1, "GROUNDUP_CUDA: expected 0, 1 or nothing, got 'yes'"),
    ],
)
def test_the_switch_is_obeyed_or_refused(tmp_path, wanted, code, sentence):
    done = configure(tmp_path, wanted)
    assert (done.returncode != 0) == code
    assert sentence in " ".join((done.stdout + done.stderr).split())


built = pytest.mark.skipif(_native.cuda() is None, reason=f"not run: {_native.cuda_missing()}")


@built
def test_the_module_loads_without_a_driver_and_holds_its_architectures():
    cuda = _native.cuda()
    architectures = cuda.architectures()
    assert architectures
    assert cuda.toolkit() >= 12000
    cuobjdump = shutil.which("cuobjdump") or _tritons_cuobjdump()
    if cuobjdump is None:
        return
    listing = subprocess.run(
        [cuobjdump, "--list-elf", "--list-ptx", cuda.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for architecture in architectures:
        number, _, kind = architecture.partition("-")
        if kind != "virtual":
            assert f"sm_{number}" in listing, listing
        if kind != "real":
            assert f"sm_{number}.ptx" in listing, listing


def _tritons_cuobjdump():
    try:
        import triton
    except ImportError:
        return None
    found = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return str(found) if found.exists() else None


@built
def test_a_machine_without_a_device_is_told_so_in_a_sentence():
    """Not in this process, whose CUDA would be initialised by asking."""
    code = """
import warnings
warnings.simplefilter("error")
import groundup as gu
from groundup import _native
assert _native.cuda_missing() is None
try:
    print(_native.cuda().device_count() > 0)
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "True\n" or done.stdout.startswith(
        "counting the CUDA devices: CUDA answered "
    )


def test_switched_off_it_is_missing_with_the_reason():
    code = "from groundup import _native; print(_native.cuda(), _native.cuda_missing())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GROUNDUP_CUDA": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None GROUNDUP_CUDA=0 is set; unset it\n"
