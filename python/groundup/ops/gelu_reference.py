"""gelu by the reference: groundup.reference, through NumPy."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.arrays import array, computing_dtype, expect_plain, quietly, tensor_like
from groundup.reference import gelu as reference


def gelu_reference(input: Tensor, approximate: str, plain: bool) -> Tensor:
    """In input's dtype, computed in float32 or better."""
    expect_plain("gelu", plain)
    return _Gelu.apply(input, approximate)  # type: ignore[no-any-return,no-untyped-call]


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, approximate: str) -> Tensor:
        dispatch.note("gelu", "reference")
        ctx.save_for_backward(input)
        ctx.approximate = approximate
        with quietly():
            y = reference.gelu(array("input", input, computing_dtype(input)), approximate)
        return tensor_like(y, input)

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        (input,) = ctx.saved_tensors
        return _Backward.apply(doutput, input, ctx.approximate), None  # type: ignore[no-untyped-call]


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, doutput: Tensor, input: Tensor, approximate: str) -> Tensor:
        dtype = computing_dtype(input)
        dy, x = array("the gradient of output", doutput, dtype), array("input", input, dtype)
        with quietly():
            return tensor_like(reference.gelu_backward(dy, x, approximate), input)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("gelu")
