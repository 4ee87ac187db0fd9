"""The native core, if this installation has it; without it ops run on torch and say so once."""

import warnings

import torch

from groundup.ops import dispatch

__all__ = ["core", "missing", "warn_missing"]

try:
    import groundup._C as core

    missing: str | None = None
except ImportError as error:
    core = None  # type: ignore[assignment]
    missing = (
        f"the native core groundup._C cannot be imported ({error}); install a C++17 compiler and "
        "run `pip install --force-reinstall --no-deps groundup` (in a checkout: `pip install -e .`)"
    )

_warned = False


# While torch.compile traces, it runs this instead of tracing it: a warning cannot be traced.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def warn_missing() -> None:
    """Say once per process that ops run on torch because there is no native core."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"groundup ops run on torch: {missing}", dispatch.ImplementationWarning, stacklevel=3
        )
