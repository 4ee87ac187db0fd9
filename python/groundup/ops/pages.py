"""Large outputs in memory that the last one left: see csrc/pages.h for why and for how long."""

import torch
from torch import Tensor
from torch.utils import deterministic

from groundup.ops.native import core

LARGE_BYTES = 32 << 20


def empty_large(like: Tensor) -> Tensor:
    """A contiguous CPU tensor of the shape and dtype of `like`, which has at least LARGE_BYTES.

    Its contents are arbitrary, or NaN where torch is told to fill its own new tensors. Its storage
    cannot be resized: as with a tensor from NumPy, resize_ to more raises and leaves a tensor whose
    shape is wrong. Raises MemoryError.
    """
    memory = torch.frombuffer(core.Pages(like.nbytes), dtype=like.dtype)
    # Not memory.view: what autograd is given should be nobody's view.
    fresh: Tensor = like.new_empty(0)
    fresh.set_(memory.untyped_storage(), 0, like.shape)  # type: ignore[call-overload]
    fills = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if fills and torch.are_deterministic_algorithms_enabled():
        fresh.fill_(torch.nan)
    return fresh
