"""layer_norm: zero mean and unit variance over the last dimensions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch, gate, native
from groundup.ops.layer_norm_cpp import layer_norm_cpp
from groundup.ops.layer_norm_reference import layer_norm_reference

_NAMES = ("input", "weight", "bias")


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(input - mean) / sqrt(variance + eps) * weight + bias, over the last dimensions.

    input             (..., *normalized_shape)  float32 | bfloat16 natively on the CPU, others on
                      torch; rows at any stride, columns that are not adjacent are copied
    normalized_shape  the last dimensions' sizes; an int for one dimension
    weight, bias      normalized_shape, float32 or input's dtype, or None to leave them out
    returns           shape and dtype of input

    As torch.nn.functional.layer_norm, except that an int may stand for normalized_shape. The
    variance is the biased one; mean and variance are taken one after the other, so that a large
    mean costs no digits. bfloat16 is computed in float32. Bits do not depend on the number of
    threads. Source: Ba, Kiros and Hinton 2016.
    Raises TypeError or ValueError for shapes that do not end in normalized_shape, RuntimeError
    for a second derivative.
    """
    gate.expect_tensors(_NAMES, input, weight, bias, required=1)
    if not input.is_floating_point():
        raise TypeError(f"input: expected a floating point dtype, got {input.dtype}")
    shape = shape_of(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"input: expected the last dimensions to be normalized_shape = {shape}, got shape "
            f"{tuple(input.shape)}"
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name}: expected shape normalized_shape = {shape}, got {tuple(tensor.shape)}"
            )
    forced = dispatch.forced.get("layer_norm")
    if forced == "reference":
        plain = gate.admit("layer_norm", _NAMES, input, weight, bias)
        return layer_norm_reference(input, math.prod(shape), weight, bias, eps, plain)
    if forced != "torch":
        reason = why_not_cpp(input, weight, bias, shape)
        if reason is None:
            plain = gate.admit("layer_norm", _NAMES, input, weight, bias)
            return layer_norm_cpp(input, math.prod(shape), weight, bias, eps, plain)
        if forced == "cpp":
            raise dispatch.cannot("layer_norm", "cpp", reason)
        if native.missing is not None:
            native.warn_missing()
    dispatch.note("layer_norm", "torch")
    return F.layer_norm(input, shape, weight, bias, eps)


def shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, int):
        return (normalized_shape,)
    if not isinstance(normalized_shape, Sequence):
        raise TypeError(
            "normalized_shape: expected the sizes of the last dimensions, an int or a sequence of "
            f"them, got {type(normalized_shape).__name__}"
        )
    return tuple(normalized_shape)


def why_not_cpp(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]
) -> str | None:
    """What keeps the native kernel from these tensors; None if nothing does."""
    if (reason := native.why_not(input)) is not None:
        return reason
    if 0 in shape:
        return f"it takes rows with columns, and normalized_shape is {shape}"
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.device != input.device:
            return f"input is on {input.device} and {name} on {tensor.device}"
        if tensor.dtype is not torch.float32 and tensor.dtype is not input.dtype:
            return f"{name} is {tensor.dtype}, neither float32 nor input's {input.dtype}"
    return None
