"""layer_norm on the native kernel: rows out of any shape, pointers, autograd, torch.compile."""

from collections.abc import Sequence
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
    if not wants_gradient(input, weight, bias):
        return normalize(input, n_columns, weight, bias, eps)[0]
    return _record(input, weight, bias, (n_columns, eps))  # type: ignore[no-any-return]


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether a backward may follow."""
    return torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in tensors
    )


def _rows(tensor: Tensor, n_columns: int) -> tuple[Tensor, int]:
    """(the tensor, or what holds its values as rows with adjacent columns; stride of a row)."""
    if tensor.is_contiguous():
        return tensor, n_columns
    rows = tensor if tensor.dim() == 2 else tensor.reshape(-1, n_columns)
    if rows.shape[1] != n_columns:
        rows = rows.reshape(-1, n_columns)
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    return rows, rows.stride(0)


def _float32(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or (tensor.dtype is torch.float32 and tensor.is_contiguous()):
        return tensor
    return tensor.to(torch.float32).contiguous()


def _pointer(name: str, tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr() or gate.address(name, tensor)


def _contiguous_like(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous():  # the short call takes half the time
        return torch.empty_like(tensor)
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def normalize(
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(output; per row its mean and 1 / sqrt(variance + eps), (rows, 2); what was normalized).

    The last is input + residual, of one shape and dtype, or without a residual input itself.
    """
    dispatch.note("layer_norm", "cpp")
    rows, stride = _rows(input, n_columns)
    weight, bias = _float32(weight), _float32(bias)
    n_rows = input.numel() // n_columns
    output = _contiguous_like(input)
    statistics = input.new_empty((n_rows, 2), dtype=torch.float32)
    total, added, added_stride = input, None, 0
    if residual is not None:
        total = _contiguous_like(input)
        added, added_stride = _rows(residual, n_columns)
    core.layer_norm_forward_cpu(
        _pointer("input", rows),
        rows.dtype is torch.bfloat16,
        n_rows,
        n_columns,
        stride,
        _pointer("weight", weight),
        _pointer("bias", bias),
        eps,
        output.data_ptr(),
        statistics.data_ptr(),
        _pointer("residual", added),
        added_stride,
        0 if added is None else total.data_ptr(),
    )
    return output, statistics, total


def differentiate(
    doutput: Tensor,
    statistics: Tensor,
    input: Tensor,
    n_columns: int,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
    dsum: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and bias; what is not wanted is empty, (0,).

    dsum  is added to that of input, whose shape and dtype it has
    """
    rows, stride = _rows(input, n_columns)
    drows, dstride = _rows(doutput.resolve_neg(), n_columns)
    statistics = statistics.contiguous()
    dinput = _contiguous_like(input) if wanted[0] else input.new_empty((0,))
    dweight = _empty_sum(wanted[1], weight, input, n_columns)
    dbias = _empty_sum(wanted[2], bias, input, n_columns)
    factor = _float32(weight)
    added, added_stride = (None, 0) if dsum is None else _rows(dsum.resolve_neg(), n_columns)
    core.layer_norm_backward_cpu(
        _pointer("input", rows),
        input.dtype is torch.bfloat16,
        input.numel() // n_columns,
        n_columns,
        stride,
        _pointer("weight", factor),
        statistics.data_ptr(),
        _pointer("the gradient of output", drows),
        dstride,
        dinput.data_ptr() if wanted[0] else 0,
        dweight.data_ptr() if wanted[1] else 0,
        dbias.data_ptr() if wanted[2] else 0,
        _pointer("the gradient of the sum", added),
        added_stride,
    )
    if wanted[1] and weight is not None:
        dweight = _placed_like(dweight, weight)
    if wanted[2] and bias is not None:
        dbias = _placed_like(dbias, bias)
    return dinput, dweight, dbias


def _empty_sum(asked: bool, like: Tensor | None, input: Tensor, n_columns: int) -> Tensor:
    """float32, n_columns elements, or none where the sum is not asked for."""
    if asked and like is not None and like.dtype is torch.float32 and like.is_contiguous():
        return torch.empty_like(like)
    return input.new_empty((n_columns if asked else 0,), dtype=torch.float32)


def _placed_like(total: Tensor, like: Tensor) -> Tensor:
    if total.dtype is like.dtype and total.shape == like.shape:
        return total
    return total.view(like.shape).to(like.dtype)


class _LayerNorm(torch.autograd.Function):
    # What is not differentiated comes in one tuple: autograd looks at every argument by itself.
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        rest: tuple[int, float],
    ) -> Tensor:
        n_columns, eps = rest
        output, statistics, _ = normalize(input, n_columns, weight, bias, eps)
        ctx.save_for_backward(statistics, input, weight, bias)
        ctx.n_columns = n_columns
        return output

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        statistics, input, weight, bias = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        backward = Backward.apply if torch.is_grad_enabled() else differentiate
        grads = backward(doutput, statistics, input, ctx.n_columns, weight, bias, wanted)
        return *only(grads, wanted), None


def only(grads: Any, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients, None where none is wanted."""
    return tuple(grad if asked else None for grad, asked in zip(grads, wanted, strict=True))


_record = gate.recorder(_LayerNorm)


class Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        return differentiate(*arguments)

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
_library.impl("layer_norm", lambda *arguments: normalize(*arguments)[:2], "CPU")
_library.impl("layer_norm_backward", differentiate, "CPU")


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
    dinput, dweight, dbias = only(grads, wanted)
    return dinput, None, dweight, dbias, None


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("layer_norm")


torch.library.register_fake("groundup::layer_norm", _forward_fake, lib=_library)
torch.library.register_fake("groundup::layer_norm_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    "groundup::layer_norm", _operator_backward, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::layer_norm_backward", _refuse, lib=_library)
