"""linear by the reference: groundup.reference, through NumPy."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.arrays import array, computing_dtype, expect_plain, quietly, tensor_like
from groundup.reference.gelu import gelu, gelu_backward
from groundup.reference.linear import linear, linear_backward

_APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def linear_reference(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, plain: bool
) -> Tensor:
    """In input's dtype, computed in float32 or better."""
    expect_plain("linear", plain)
    return _Linear.apply(input, weight, bias, activation)  # type: ignore[no-any-return,no-untyped-call]


def _rows(name: str, tensor: Tensor, n_columns: int, dtype: torch.dtype) -> Any:
    return array(name, tensor.reshape(tensor.shape[:-1].numel(), n_columns), dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
    ) -> Tensor:
        dispatch.note("linear", "reference")
        ctx.save_for_backward(input, weight, bias)
        ctx.activation = activation
        y = _preactivation(input, weight, bias)
        with quietly():
            y = y if activation is None else gelu(y, _APPROXIMATE[activation])
        return tensor_like(y, input).view(*input.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        grads = _Backward.apply(doutput, *ctx.saved_tensors, ctx.activation)  # type: ignore[no-untyped-call]
        needs = ctx.needs_input_grad
        return *(grad if need else None for grad, need in zip(grads, needs[:3], strict=True)), None


def _preactivation(input: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    dtype = computing_dtype(input, weight, bias)
    x, w = _rows("input", input, weight.shape[1], dtype), array("weight", weight, dtype)
    with quietly():
        return linear(x, w, None if bias is None else array("bias", bias, dtype))


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(
        ctx: Any,
        doutput: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: str | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        dtype = computing_dtype(input, weight, bias)
        n_out, n_in = weight.shape
        dy = _rows("the gradient of output", doutput, n_out, dtype)
        x, w = _rows("input", input, n_in, dtype), array("weight", weight, dtype)
        with quietly():
            if activation is not None:
                dy = gelu_backward(
                    dy, _preactivation(input, weight, bias), _APPROXIMATE[activation]
                )
            dx, dw, db = linear_backward(dy, x, w)
        return (
            tensor_like(dx, input).view(input.shape),
            tensor_like(dw, weight),
            None if bias is None else tensor_like(db, bias),
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("linear")
