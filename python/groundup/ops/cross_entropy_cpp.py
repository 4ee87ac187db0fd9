"""cross_entropy on the native kernel: allocation, pointers, autograd, torch.compile.

Two ways lead to the kernel. Plain tensors in eager mode take a classic autograd.Function, the
cheapest form there is; whatever traces or intercepts takes the registered operator. Both share
_forward and _backward.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from groundup.ops import dispatch, gate
from groundup.ops.cross_entropy_check import check_tensors
from groundup.ops.cross_entropy_inplace import consumable, cross_entropy_inplace
from groundup.ops.cross_entropy_torch import Options, bad_target
from groundup.ops.native import core
from groundup.ops.pages import LARGE_BYTES, empty_large

_CPU = torch.device("cpu")
# empty_like takes half the time of an empty() with dtype and device, and heeds no default device.
_NUMBER = torch.empty((), dtype=torch.float32, device=_CPU)


def cross_entropy_cpp(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    inplace: bool,
    plain: bool,
) -> Tensor:
    """The loss in float32; arguments were checked by the op, options as in cross_entropy_torch.

    plain  whether pointers may be taken right here, as the gate found
    """
    if not plain:
        loss: Tensor = torch.ops.groundup.cross_entropy(input, target, weight, *options)[0]
        return loss
    if not (input.requires_grad and torch.is_grad_enabled()):
        return _forward(input, target, weight, options, None)
    if inplace and consumable(input):
        return cross_entropy_inplace(input, target, weight, options)
    return _record(input, (target, weight, options))  # type: ignore[no-any-return]


def _empty_statistics(input: Tensor) -> Tensor:
    """What backward needs of forward, (2 * N + 1,) float32: per row its largest logit and
    log(sum(exp(logit - largest))), and at the end the divisor of a mean."""
    return _NUMBER.new_empty(2 * input.shape[0] + 1)


# `x.data_ptr() or gate.address("x", x)`: only a pointer of 0 needs to be looked into, and a call
# saved on every tensor is a good part of what the op costs beside its kernel.


def _forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    statistics: Tensor | None,
) -> Tensor:
    """The loss; fills `statistics`, of _empty_statistics, where a backward may follow."""
    dispatch.note("cross_entropy", "cpp")
    n_rows, n_classes = input.shape
    row_stride, class_stride = input.stride()
    if class_stride != 1:
        input = input.contiguous()
        row_stride = n_classes
    target = target.contiguous()
    weight_pointer = 0
    if weight is not None:
        weight = weight.to(torch.float32).contiguous()
        weight_pointer = gate.address("weight", weight)
    loss = torch.empty_like(_NUMBER) if options[1] else _NUMBER.new_empty(n_rows)
    lse = 0 if statistics is None else statistics.data_ptr()
    row = core.cross_entropy_forward_cpu(
        input.data_ptr() or gate.address("input", input),
        input.dtype is torch.bfloat16,
        n_rows,
        n_classes,
        row_stride,
        target.data_ptr() or gate.address("target", target),
        weight_pointer,
        *options,
        loss.data_ptr(),
        lse,
        lse and lse + 8 * n_rows,
    )
    if row >= 0:
        raise bad_target(target, row, n_classes, options[0])
    return loss


def _backward(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    """dlogits, (N, V), rows contiguous, in input's dtype."""
    n_rows, n_classes = input.shape
    row_stride, class_stride = input.stride()
    if class_stride != 1:
        input = input.contiguous()
        row_stride = n_classes
    target, dloss, statistics = (
        target.contiguous(),
        dloss.resolve_neg().contiguous(),
        statistics.contiguous(),
    )
    weight_pointer = 0
    if weight is not None:
        weight = weight.to(torch.float32).contiguous()
        weight_pointer = gate.address("weight", weight)
    if input.nbytes >= LARGE_BYTES:
        dlogits = empty_large(input)
    else:  # rows that overlap, as unfold makes them, would pass their order of strides on
        dlogits = torch.empty_like(input, memory_format=torch.contiguous_format)
    lse = statistics.data_ptr()
    core.cross_entropy_backward_cpu(
        input.data_ptr() or gate.address("input", input),
        input.dtype is torch.bfloat16,
        n_rows,
        n_classes,
        row_stride,
        target.data_ptr() or gate.address("target", target),
        weight_pointer,
        *options,
        lse,
        lse + 8 * n_rows,
        dloss.data_ptr() or gate.address("dloss", dloss),
        dlogits.data_ptr(),
        n_classes,
    )
    return dlogits


class _CrossEntropy(torch.autograd.Function):
    # What is not differentiated comes in one tuple: autograd looks at every argument by itself.
    @staticmethod
    def forward(ctx: Any, input: Tensor, rest: tuple[Tensor, Tensor | None, Options]) -> Tensor:
        target, weight, options = rest
        statistics = _empty_statistics(input)
        loss = _forward(input, target, weight, options, statistics)
        ctx.save_for_backward(statistics, input, target, weight)
        ctx.options = options
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # create_graph=True
            dlogits = _Backward.apply(dloss, *ctx.saved_tensors, ctx.options)  # type: ignore[no-untyped-call]
            return dlogits, None
        statistics, input, target, weight = ctx.saved_tensors
        return _backward(dloss, statistics, input, target, weight, ctx.options), None


_record = gate.recorder(_CrossEntropy)


class _Backward(torch.autograd.Function):
    """The gradient as a node of the graph that create_graph=True asks for: it has no derivative,
    and says so where torch would take it for a constant."""

    @staticmethod
    def forward(ctx: FunctionCtx, *arguments: Any) -> Tensor:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("cross_entropy")


_ARGUMENTS = (
    "Tensor input, Tensor target, Tensor? weight, int ignore_index, int reduction, "
    "float label_smoothing, float lse_square_scale, float softcap"
)
_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    f"cross_entropy({_ARGUMENTS}) -> (Tensor loss, Tensor statistics)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    f"cross_entropy_backward(Tensor dloss, Tensor statistics, {_ARGUMENTS}) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _operator(
    input: Tensor, target: Tensor, weight: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor]:
    _check_operator(input, target, weight)
    statistics = _empty_statistics(input)
    return _forward(input, target, weight, options, statistics), statistics


def _backward_operator(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    *options: Any,
) -> Tensor:
    _check_operator(input, target, weight)
    n_rows = input.shape[0]
    shapes = ((), (2 * n_rows + 1,)) if options[1] else ((n_rows,), (2 * n_rows + 1,))
    for name, tensor, shape in zip(
        ("dloss", "statistics"), (dloss, statistics), shapes, strict=True
    ):
        if tensor.dtype is not torch.float32 or tensor.shape != shape:
            raise ValueError(
                f"{name}: expected float32 of shape {shape}, got {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}"
            )
    return _backward(dloss, statistics, input, target, weight, options)


def _check_operator(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """torch.ops is open to everybody, and behind it is bare memory."""
    check_tensors(input, target, weight)
    if input.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"input: expected float32 or bfloat16, got {input.dtype}")


_library.impl("cross_entropy", _operator, "CPU")
_library.impl("cross_entropy_backward", _backward_operator, "CPU")


def _forward_fake(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: int, *_: Any
) -> tuple[Tensor, Tensor]:
    n_rows = input.shape[0]
    return (
        input.new_empty(() if reduction else (n_rows,), dtype=torch.float32),
        input.new_empty((2 * n_rows + 1,), dtype=torch.float32),
    )


def _backward_fake(dloss: Tensor, statistics: Tensor, input: Tensor, *_: Any) -> Tensor:
    return input.new_empty(input.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, target, weight, *ctx.options = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], input, target, weight)


def _differentiate(ctx: Any, dloss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    dlogits = torch.ops.groundup.cross_entropy_backward(dloss, *ctx.saved_tensors, *ctx.options)
    return dlogits, *(None,) * 7


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("cross_entropy")


torch.library.register_fake("groundup::cross_entropy", _forward_fake, lib=_library)
torch.library.register_fake("groundup::cross_entropy_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    "groundup::cross_entropy", _differentiate, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::cross_entropy_backward", _refuse, lib=_library)
