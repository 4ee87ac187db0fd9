"""layer_norm on the native kernel: rows out of any shape, pointers, autograd, torch.compile."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.native import core


def layer_norm_cpp(
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    plain: bool,
) -> Tensor:
    """The last n_columns elements of input normalized; arguments were checked by the op.

    plain  whether pointers may be taken right here, as the gate found
    """
    if not plain:
        output: Tensor = torch.ops.groundup.layer_norm(input, n_columns, weight, bias, eps)[0]
        return output
    wanted = torch.is_grad_enabled() and (
        input.requires_grad
        or (weight is not None and weight.requires_grad)
        or (bias is not None and bias.requires_grad)
    )
    if not wanted:
        return _forward(input, n_columns, weight, bias, eps)[0]
    return _LayerNorm.apply(input, n_columns, weight, bias, eps)  # type: ignore[no-any-return,no-untyped-call]


def _rows(tensor: Tensor, n_columns: int) -> Tensor:
    """(rows, n_columns) with adjacent columns, a view where there is one."""
    rows = tensor if tensor.dim() == 2 else tensor.reshape(-1, n_columns)
    if rows.shape[1] != n_columns:
        rows = rows.reshape(-1, n_columns)
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _float32(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or (tensor.dtype is torch.float32 and tensor.is_contiguous()):
        return tensor
    return tensor.to(torch.float32).contiguous()


def _pointer(name: str, tensor: Tensor | None) -> int:
    return 0 if tensor is None else gate.address(name, tensor)


def _forward(
    input: Tensor, n_columns: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """(output, contiguous; per row its mean and 1 / sqrt(variance + eps), (rows, 2))."""
    dispatch.note("layer_norm", "cpp")
    rows = _rows(input, n_columns)
    weight, bias = _float32(weight), _float32(bias)
    n_rows = rows.shape[0]
    output = torch.empty_like(input, memory_format=torch.contiguous_format)
    statistics = input.new_empty((n_rows, 2), dtype=torch.float32)
    core.layer_norm_forward_cpu(
        gate.address("input", rows),
        rows.dtype is torch.bfloat16,
        n_rows,
        n_columns,
        rows.stride(0),
        _pointer("weight", weight),
        _pointer("bias", bias),
        eps,
        output.data_ptr(),
        statistics.data_ptr(),
    )
    return output, statistics


def _backward(
    doutput: Tensor,
    statistics: Tensor,
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and bias; what is not wanted is empty, (0,)."""
    rows, drows = _rows(input, n_columns), _rows(doutput, n_columns)
    statistics = statistics.contiguous()
    if wanted[0]:
        dinput = torch.empty_like(input, memory_format=torch.contiguous_format)
    else:
        dinput = input.new_empty((0,))
    sums = [
        input.new_empty((n_columns if asked else 0,), dtype=torch.float32) for asked in wanted[1:]
    ]
    factor = _float32(weight)
    core.layer_norm_backward_cpu(
        gate.address("input", rows),
        input.dtype is torch.bfloat16,
        rows.shape[0],
        n_columns,
        rows.stride(0),
        _pointer("weight", factor),
        statistics.data_ptr(),
        gate.address("the gradient of output", drows),
        drows.stride(0),
        *(
            tensor.data_ptr() if asked else 0
            for tensor, asked in zip([dinput, *sums], wanted, strict=True)
        ),
    )
    dweight, dbias = (
        total if like is None or not asked else _placed_like(total, like)
        for total, like, asked in zip(sums, (weight, bias), wanted[1:], strict=True)
    )
    return dinput, dweight, dbias


def _placed_like(total: Tensor, like: Tensor) -> Tensor:
    if like.dim() != 1:
        total = total.view(like.shape)
    return total if like.dtype is torch.float32 else total.to(like.dtype)


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
        output, statistics = _forward(input, n_columns, weight, bias, eps)
        ctx.save_for_backward(statistics, input, weight, bias)
        ctx.n_columns = n_columns
        return output

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        statistics, input, weight, bias = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wanted = [needs[0], needs[2], needs[3]]
        backward = _Backward.apply if torch.is_grad_enabled() else _backward
        grads = backward(doutput, statistics, input, ctx.n_columns, weight, bias, wanted)
        return _placed(grads, wanted)


def _placed(grads: Any, wanted: list[bool]) -> tuple[Tensor | None, ...]:
    dinput, dweight, dbias = (
        grad if asked else None for grad, asked in zip(grads, wanted, strict=True)
    )
    return dinput, None, dweight, dbias, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("layer_norm")


_library = torch.library.Library("groundup", "FRAGMENT")
_TAGS = (torch.Tag.pt2_compliant_tag,)
_library.define(
    "layer_norm(Tensor input, SymInt n_columns, Tensor? weight, Tensor? bias, float eps)"
    " -> (Tensor output, Tensor statistics)",
    tags=_TAGS,
)
_library.define(
    "layer_norm_backward(Tensor doutput, Tensor statistics, Tensor input, SymInt n_columns, "
    "Tensor? weight, Tensor? bias, bool[] wanted) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
_library.impl("layer_norm", _forward, "CPU")
_library.impl("layer_norm_backward", _backward, "CPU")


def _forward_fake(input: Tensor, n_columns: int, *_: Any) -> tuple[Tensor, Tensor]:
    n_rows = input.numel() // n_columns
    return input.new_empty(input.shape), input.new_empty((n_rows, 2), dtype=torch.float32)


def _backward_fake(
    doutput: Tensor,
    statistics: Tensor,
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    dweight, dbias = (
        like.new_empty(like.shape)
        if asked and like is not None
        else input.new_empty((0,), dtype=torch.float32)
        for like, asked in zip((weight, bias), wanted[1:], strict=True)
    )
    return input.new_empty(input.shape if wanted[0] else (0,)), dweight, dbias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, ctx.n_columns, weight, bias, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], input, weight, bias)


def _operator_backward(ctx: Any, doutput: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    statistics, input, weight, bias = ctx.saved_tensors
    needs = ctx.needs_input_grad
    wanted = [needs[0], needs[2], needs[3]]
    grads = torch.ops.groundup.layer_norm_backward(
        doutput, statistics, input, ctx.n_columns, weight, bias, wanted
    )
    return _placed(grads, wanted)


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("layer_norm")


torch.library.register_fake("groundup::layer_norm", _forward_fake, lib=_library)
torch.library.register_fake("groundup::layer_norm_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    "groundup::layer_norm", _operator_backward, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::layer_norm_backward", _refuse, lib=_library)
