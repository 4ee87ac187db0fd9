"""Where the CUDA tests run: on a device, and on the CPU against the headers in emulated_cuda/."""

import importlib.machinery
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from groundup import _native
from groundup._version import __version__

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = "not run: no CUDA device"


_built = []


def build(folders):
    """groundup._cuda made from csrc/*.cu by a C++ compiler, once a session; skips without one."""
    if not _built:
        _built.append(_build(folders.mktemp("emulated")))
    return _built[0]


def _build(to: Path):
    pybind11 = pytest.importorskip("pybind11", reason="not run: pybind11 is not installed")
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("g++") or "g++"]
    if shutil.which(compiler[0]) is None or not sys.platform.startswith("linux"):
        pytest.skip("not run: needs g++ on Linux")
    library = to / "_cuda.so"
    # A 16-byte access off its boundary, which stops a device, traps here.
    command = [
        *(*compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-fno-math-errno", "-x", "c++"),
        "-U_FORTIFY_SOURCE",  # whose longjmp refuses another stack
        *("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"),
        *(f"-I{ROOT / 'tests/native/emulated_cuda'}", f"-I{ROOT / 'csrc'}"),
        *(f"-I{pybind11.get_include()}", f"-I{sysconfig.get_paths()['include']}"),
        *(f'-DGROUNDUP_VERSION="{__version__}"', '-DGROUNDUP_CUDA_ARCHITECTURES="emulated"'),
        *map(str, sorted((ROOT / "csrc").glob("*.cu"))),
        *(str(ROOT / "csrc/bind_cuda.cpp"), "-o", str(library)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loader = importlib.machinery.ExtensionFileLoader("_cuda", str(library))
    spec = importlib.util.spec_from_loader("_cuda", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@contextmanager
def _nowhere(tensor):
    yield 0, 0


@contextmanager
def emulated(core):
    """The ops' `cuda` forms take tensors of the CPU meanwhile, on the emulated kernels."""
    from groundup.ops import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "core", core)
        patch.setattr(device, "missing", None)
        patch.setattr(device, "launching", _nowhere)
        patch.setattr(device, "why_not_device", lambda *_, **__: None)
        yield torch.device("cpu")


def real_device():
    """The CUDA device, for tests marked gpu; skips with a sentence where there is none."""
    if not torch.cuda.is_available():
        pytest.skip(NO_DEVICE)
    if _native.cuda() is None:
        pytest.skip(f"not run: {_native.cuda_missing()}")
    return torch.device("cuda")
