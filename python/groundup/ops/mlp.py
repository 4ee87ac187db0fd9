"""mlp: two linear layers and the gelu between them.

No op of its own: `linear` twice, by whichever form that takes. Natively it is one node, and what
flows back between the layers, the largest gradient of a transformer's block, is no tensor: it stays
in the kernel's own memory (docs/linear.md).
"""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate, native
from groundup.ops.linear import fits, linear
from groundup.ops.linear_cpp import ACTIVATIONS, empty, forward, lies_transposed, pays, rows, sides
from groundup.ops.native import core


def mlp(
    input: Tensor,
    weight_1: Tensor,
    bias_1: Tensor | None,
    weight_2: Tensor,
    bias_2: Tensor | None,
    *,
    activation: str = "gelu_tanh",
    transposed: bool = False,
) -> Tensor:
    """linear(linear(input, weight_1, bias_1, activation=activation), weight_2, bias_2).

    input       (..., in)      as linear takes it
    weight_1    (hidden, in)   with `transposed` (in, hidden)
    weight_2    (out, hidden)  with `transposed` (hidden, out)
    bias_1      (hidden,) or None; bias_2 (out,) or None
    activation  "gelu" (exact) or "gelu_tanh" (the approximation of GPT-2)
    returns     (..., out)     of input's dtype

    The same bits, dtypes, devices and errors as linear's, and the same choice of implementation:
    groundup.use("linear=...") is what forces one. Memory: as the two layers, without the gradient
    that flows between them. A second derivative raises RuntimeError.
    """
    forced = dispatch.forced.get("linear")
    if (
        (forced is None or forced == "cpp")
        and native.missing is None
        and (activation == "gelu_tanh" or activation == "gelu")
        and torch.is_grad_enabled()
        and not (input is None or weight_1 is None or weight_2 is None)
        and gate.admits_float32(input, weight_1, bias_1, weight_2, bias_2)
        and fits(input, weight_1, bias_1, transposed)
        and _follows(weight_1, weight_2, bias_2, transposed)
        and not torch._C._is_any_autocast_enabled()
        # The gradient of a bias is taken of what the one of its weight reads.
        and weight_1.requires_grad
        and weight_2.requires_grad
        and (forced or _pays(input, weight_1, weight_2))
    ):
        rest = ACTIVATIONS[activation], transposed
        return _record(input, weight_1, bias_1, weight_2, bias_2, rest)  # type: ignore[no-any-return]
    hidden = linear(input, weight_1, bias_1, activation=activation, transposed=transposed)
    return linear(hidden, weight_2, bias_2, transposed=transposed)


def _follows(weight_1: Tensor, weight_2: Tensor, bias_2: Tensor | None, transposed: bool) -> bool:
    """Whether the second layer takes what the first one gives."""
    if weight_2.dim() != 2:
        return False
    n_out, n_hidden = weight_2.shape
    given = weight_1.shape[0]
    if transposed:
        n_out, n_hidden = n_hidden, n_out
        given = weight_1.shape[1]
    return (
        n_hidden == given
        and n_out > 0
        and (bias_2 is None or (bias_2.dim() == 1 and bias_2.shape[0] == n_out))
    )


def _pays(input: Tensor, weight_1: Tensor, weight_2: Tensor) -> bool:
    n_rows = input.numel() // input.shape[-1]
    return pays(n_rows, weight_1) and pays(n_rows, weight_2)


class _MLP(torch.autograd.Function):
    # What is not differentiated comes in one tuple: autograd looks at every argument by itself.
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight_1: Tensor,
        bias_1: Tensor | None,
        weight_2: Tensor,
        bias_2: Tensor | None,
        rest: tuple[int, bool],
    ) -> Tensor:
        activation, transposed = ctx.rest = rest
        hidden, preactivation = forward(input, weight_1, bias_1, activation, True, transposed)
        output, _ = forward(hidden, weight_2, bias_2, 0, False, transposed)
        ctx.save_for_backward(input, weight_1, weight_2, preactivation, hidden)
        return output

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        backward = _Backward.apply if torch.is_grad_enabled() else _backward
        grads = backward(doutput, *ctx.saved_tensors, *ctx.rest, ctx.needs_input_grad[:5])  # type: ignore[call-arg]
        return *grads, None


def _backward(
    doutput: Tensor,
    input: Tensor,
    weight_1: Tensor,
    weight_2: Tensor,
    preactivation: Tensor,
    hidden: Tensor,
    activation: int,
    transposed: bool,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, weight_1, bias_1, weight_2 and bias_2; None where not wanted."""
    n_hidden, n_in, *strides_1 = sides(weight_1, transposed)
    n_out, _, *strides_2 = sides(weight_2, transposed)
    n_rows = input.numel() // n_in
    dy, *dy_strides = rows(doutput.resolve_neg(), n_out)
    x, *x_strides = rows(input, n_in)
    wants_input, _, wants_bias_1, _, wants_bias_2 = wanted
    dinput = empty(input, input.shape, n_rows * n_in) if wants_input else None
    by_columns_1, by_columns_2 = lies_transposed(*strides_1), lies_transposed(*strides_2)
    dweight_1 = empty(
        weight_1, (n_in, n_hidden) if by_columns_1 else (n_hidden, n_in), n_in * n_hidden
    )
    dweight_2 = empty(
        weight_2, (n_hidden, n_out) if by_columns_2 else (n_out, n_hidden), n_hidden * n_out
    )
    dbias_1 = weight_1.new_empty(n_hidden) if wants_bias_1 else None
    dbias_2 = weight_2.new_empty(n_out) if wants_bias_2 else None
    preactivation, hidden = preactivation.contiguous(), hidden.contiguous()
    core.mlp_backward_cpu(
        dy.data_ptr() or gate.address("the gradient of output", dy),
        x.data_ptr() or gate.address("input", x),
        weight_1.data_ptr() or gate.address("weight_1", weight_1),
        weight_2.data_ptr() or gate.address("weight_2", weight_2),
        (*dy_strides, *x_strides, *strides_1, *strides_2),
        n_rows,
        n_in,
        n_hidden,
        n_out,
        activation,
        preactivation.data_ptr(),
        hidden.data_ptr(),
        0 if dinput is None else dinput.data_ptr(),
        dweight_1.data_ptr(),
        by_columns_1,
        0 if dbias_1 is None else dbias_1.data_ptr(),
        dweight_2.data_ptr(),
        by_columns_2,
        0 if dbias_2 is None else dbias_2.data_ptr(),
    )
    if by_columns_1 is not transposed:
        dweight_1 = dweight_1.t()
    if by_columns_2 is not transposed:
        dweight_2 = dweight_2.t()
    return dinput, dweight_1, dbias_1, dweight_2, dbias_2


_record = gate.recorder(_MLP)


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("linear")
