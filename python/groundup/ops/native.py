"""The native core for ops; without it they run on torch and say so once."""

import warnings
from typing import Any

import torch
from torch import Tensor

from groundup import _native
from groundup.ops import dispatch

__all__ = ["core", "missing", "warn_missing", "why_not"]

# Plain module values, which torch.compile reads without a guard.
core: Any = _native.core()
missing = _native.missing()

_warned = False


# While torch.compile traces, it runs this instead of tracing it: a warning cannot be traced.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def warn_missing() -> None:
    """Say once per process that ops run on torch because there is no native core."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"groundup ops run on torch, without the native core: {missing}",
            dispatch.ImplementationWarning,
            stacklevel=3,
        )


def why_not(input: Tensor) -> str | None:
    """What keeps the native kernels from this input; None if nothing does."""
    if missing is not None:
        return missing
    if not (input.is_cpu or input.is_meta):
        return f"it runs on the CPU, and input is on {input.device}"
    if input.dtype is not torch.float32 and input.dtype is not torch.bfloat16:
        return f"it takes float32 and bfloat16, and input is {input.dtype}"
    return None
