"""The CUDA kernels for ops: whether they can run on a tensor, and where they are launched."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from groundup import _native

__all__ = ["core", "launching", "missing", "why_not"]

# Plain module values, which torch.compile reads without a guard.
core: Any = _native.cuda()
missing = _native.cuda_missing()

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def why_not(input: Tensor, *, name: str = "input") -> str | None:
    """What keeps the CUDA kernels from this tensor; None if nothing does."""
    if missing is not None:
        return missing
    return why_not_device(input, name=name)


def why_not_device(input: Tensor, *, name: str = "input") -> str | None:
    """The same for any kernel on CUDA devices."""
    if not input.is_cuda:
        return f"it runs on CUDA devices, and {name} is on {input.device}{_no_device()}"
    if torch.version.cuda is None:
        return "it runs on NVIDIA's devices, and this torch is built for another maker's"
    if input.dtype not in DTYPES:
        return f"it takes float32, bfloat16 and float16, and {name} is {input.dtype}"
    return None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _no_device() -> str:
    return "" if torch.cuda.is_available() else "; torch finds no CUDA device or driver here"


@contextmanager
def launching(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """(device, stream) as the kernels take them, with the tensor's device current meanwhile."""
    with torch.cuda.device(tensor.device):
        yield torch.cuda.current_device(), torch.cuda.current_stream().cuda_stream
