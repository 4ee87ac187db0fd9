"""add_layer_norm: what a branch adds to the residual stream, and the norm that the next one reads.

No op of its own: a sum and `layer_norm`, by whichever form that takes. The native kernel adds
while it reads the rows, and adds the stream's gradient to the norm's while it writes that.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.layer_norm import layer_norm, shape_of, why_not_cpp
from groundup.ops.layer_norm_cpp import Backward, differentiate, normalize, only, wants_gradient

_NAMES = ("input", "residual", "weight", "bias")


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """(layer_norm(input + residual, normalized_shape, weight, bias, eps), input + residual).

    input     (..., *normalized_shape)  as layer_norm takes it
    residual  the same; another shape is broadcast and another dtype promoted, in two steps then

    The other arguments, dtypes, devices and errors are layer_norm's, and so is the choice of
    implementation: groundup.use("layer_norm=...") is what forces one. Natively the sum is rounded
    to input's dtype before it is normalized, as if it had been written out; the gradients of the
    two results are added before they are rounded. A second derivative raises RuntimeError.
    """
    gate.expect_tensors(_NAMES, input, residual, weight, bias, required=2)
    name = dispatch.forced.get("layer_norm")
    shape = shape_of(normalized_shape)
    if (
        (name is None or name == "cpp")
        and input.shape == residual.shape
        and input.dtype is residual.dtype
        and input.device == residual.device
        and shape
        and input.shape[-len(shape) :] == shape
        and (weight is None or weight.shape == shape)
        and (bias is None or bias.shape == shape)
        and why_not_cpp(input, weight, bias, shape) is None
        and gate.admit("layer_norm", _NAMES, input, residual, weight, bias)
    ):
        n_columns = math.prod(shape)
        if wants_gradient(input, residual):
            return _record(input, residual, weight, bias, (n_columns, eps))  # type: ignore[no-any-return]
        if not wants_gradient(weight, bias):
            output, _, total = normalize(input, n_columns, weight, bias, eps, residual)
            return output, total
    total = input + residual
    return layer_norm(total, normalized_shape, weight, bias, eps), total


class _AddLayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        residual: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        rest: tuple[int, float],
    ) -> tuple[Tensor, Tensor]:
        n_columns, eps = rest
        output, statistics, total = normalize(input, n_columns, weight, bias, eps, residual)
        ctx.save_for_backward(statistics, total, weight, bias)
        ctx.n_columns = n_columns
        ctx.set_materialize_grads(False)
        return output, total

    @staticmethod
    def backward(
        ctx: Any, doutput: Tensor | None, dsum: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if doutput is None:
            return dsum, dsum, None, None, None
        statistics, total, weight, bias = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wanted = (needs[0] or needs[1], needs[2], needs[3])
        backward = Backward.apply if torch.is_grad_enabled() else differentiate
        grads = backward(doutput, statistics, total, ctx.n_columns, weight, bias, wanted, dsum)
        dinput, dweight, dbias = only(grads, wanted)
        return dinput, dinput, dweight, dbias, None


_record = gate.recorder(_AddLayerNorm)
