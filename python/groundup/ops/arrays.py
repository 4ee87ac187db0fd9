"""Tensors as NumPy arrays, for the forms that call groundup.reference."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.ops import dispatch, gate


def expect_plain(op: str, plain: bool) -> None:
    """Raise unless the gate found that the tensors' values can be read right here."""
    if not plain:
        raise dispatch.cannot(
            op,
            "reference",
            "it computes with NumPy, which torch.compile, torch.jit.trace, dispatch modes and meta "
            "tensors hide the values from",
        )


def array(name: str, tensor: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    """The values in `dtype`: the tensor's own memory on the CPU where that is its dtype, else a
    copy. Raises ValueError for a tensor whose memory was released, which NumPy would read.
    """
    gate.address(name, tensor)
    return tensor.detach().to("cpu", dtype).resolve_neg().numpy()


def attention_arrays(*tensors: Tensor) -> list[Any]:
    """Queries, keys and values, and before them the gradient of the output in backward."""
    dtype = computing_dtype(tensors[-3])
    names = ("the gradient of output", "query", "key", "value")[-len(tensors) :]
    return [array(name, tensor, dtype) for name, tensor in zip(names, tensors, strict=True)]


def tensor_like(values: NDArray[Any], like: Tensor) -> Tensor:
    """The array as a tensor of `like`'s dtype, on its device."""
    return torch.from_numpy(values).to(like.device, like.dtype)


def computing_dtype(*tensors: Tensor | None) -> torch.dtype:
    """What the reference computes in: float32, or float64 where a tensor is."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def quietly() -> np.errstate:
    """NumPy warns of infinities and NaN on the way; torch passes them on."""
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")
