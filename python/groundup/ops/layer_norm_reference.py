"""layer_norm by the reference: groundup.reference, through NumPy, on rows out of any shape."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.arrays import array, computing_dtype, expect_plain, quietly, tensor_like
from groundup.reference import layer_norm as reference


def layer_norm_reference(
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    plain: bool,
) -> Tensor:
    """The last n_columns elements of input normalized, in its dtype, computed in float32 or better.

    Raises RuntimeError for rows without columns, which have no mean.
    """
    expect_plain("layer_norm", plain)
    if n_columns == 0:
        raise dispatch.cannot(
            "layer_norm", "reference", "it takes rows with columns, and these have none"
        )
    return _LayerNorm.apply(input, n_columns, weight, bias, eps)  # type: ignore[no-any-return,no-untyped-call]


def _arrays(
    input: Tensor, n_columns: int, weight: Tensor | None, bias: Tensor | None
) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """Rows (N, C), weight (C,) and bias (C,), in one dtype."""
    dtype = computing_dtype(input, weight, bias)
    weights, biases = (
        None if tensor is None else array(name, tensor, dtype).reshape(n_columns)
        for name, tensor in (("weight", weight), ("bias", bias))
    )
    return array("input", input, dtype).reshape(-1, n_columns), weights, biases


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        n_columns: int,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        dispatch.note("layer_norm", "reference")
        ctx.save_for_backward(input, weight, bias)
        ctx.n_columns, ctx.eps = n_columns, eps
        with quietly():
            y = reference.layer_norm(*_arrays(input, n_columns, weight, bias), eps)
        return tensor_like(y.reshape(input.shape), input)

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _Backward.apply(doutput, *ctx.saved_tensors, ctx.n_columns, ctx.eps)  # type: ignore[no-untyped-call]
        needs = ctx.needs_input_grad
        dinput, dweight, dbias = (
            gradient if wanted else None
            for gradient, wanted in zip(gradients, (needs[0], needs[2], needs[3]), strict=True)
        )
        return dinput, None, dweight, dbias, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(
        ctx: Any,
        doutput: Tensor,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        n_columns: int,
        eps: float,
    ) -> tuple[Tensor | None, ...]:
        x, weights, _ = _arrays(input, n_columns, weight, bias)
        dy = array("the gradient of output", doutput, computing_dtype(input, weight, bias))
        with quietly():
            gradients = reference.layer_norm_backward(dy.reshape(x.shape), x, weights, eps)
        return tuple(
            None if like is None else tensor_like(np.reshape(gradient, like.shape), like)
            for gradient, like in zip(gradients, (input, weight, bias), strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("layer_norm")
