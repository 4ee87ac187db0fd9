"""layer_norm: zero mean and unit variance over the last dimensions."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(input - mean) / sqrt(variance + eps) * weight + bias, over the last dimensions.

    input             (..., *normalized_shape)  float
    normalized_shape  the last dimensions' sizes; an int for one dimension
    weight, bias      normalized_shape, or None to leave them out
    returns           shape and dtype of input

    As torch.nn.functional.layer_norm, except that an int may stand for normalized_shape. The
    variance is the biased one. Runs on torch. Source: Ba, Kiros and Hinton 2016.
    Raises TypeError or ValueError for shapes that do not end in normalized_shape.
    """
    dispatch.note("layer_norm", "torch")
    if not isinstance(input, Tensor):
        raise TypeError(f"input: expected a torch.Tensor, got {type(input).__name__}")
    if not input.is_floating_point():
        raise TypeError(f"input: expected a floating point dtype, got {input.dtype}")
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"input: expected the last dimensions to be normalized_shape = {shape}, got shape "
            f"{tuple(input.shape)}"
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name}: expected shape normalized_shape = {shape}, got {tuple(tensor.shape)}"
            )
    return F.layer_norm(input, shape, weight, bias, eps)
