"""The native core for ops; without it they run on torch and say so once."""

import warnings
from typing import Any

import torch

from groundup import _native
from groundup.ops import dispatch

__all__ = ["core", "missing", "warn_missing"]

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
