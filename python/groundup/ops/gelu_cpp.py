"""gelu on the native kernel: allocation, pointers, autograd, torch.compile."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.native import core


def gelu_cpp(input: Tensor, is_tanh: bool, plain: bool) -> Tensor:
    """gelu(input); arguments were checked by the op.

    plain  whether pointers may be taken right here, as the gate found
    """
    if not plain:
        output: Tensor = torch.ops.groundup.gelu(input, is_tanh)
        return output
    if not (input.requires_grad and torch.is_grad_enabled()):
        return _forward(input, is_tanh)
    return _record(input, is_tanh)  # type: ignore[no-any-return]


def _like(input: Tensor) -> tuple[Tensor, Tensor]:
    """(input, an empty output), dense and laid out alike: element i of one is that of the other."""
    output = torch.empty_like(input)
    if not input.is_contiguous() and input.stride() != output.stride():
        input = torch.empty_like(input).copy_(input)
    return input, output


def _forward(input: Tensor, is_tanh: bool) -> Tensor:
    dispatch.note("gelu", "cpp")
    input, output = _like(input)
    is_bfloat16 = input.dtype is torch.bfloat16
    address = input.data_ptr() or gate.address("input", input)
    core.gelu_forward_cpu(address, is_bfloat16, is_tanh, input.numel(), output.data_ptr())
    return output


def _backward(doutput: Tensor, input: Tensor, is_tanh: bool) -> Tensor:
    input, dinput = _like(input)
    doutput = doutput.resolve_neg()
    if doutput.stride() != dinput.stride():
        doutput = torch.empty_like(dinput).copy_(doutput)
    core.gelu_backward_cpu(
        input.data_ptr() or gate.address("input", input),
        input.dtype is torch.bfloat16,
        is_tanh,
        input.numel(),
        doutput.data_ptr() or gate.address("the gradient of output", doutput),
        dinput.data_ptr(),
    )
    return dinput


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, is_tanh: bool) -> Tensor:
        ctx.save_for_backward(input)
        ctx.is_tanh = is_tanh
        return _forward(input, is_tanh)

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        (input,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            return _Backward.apply(doutput, input, ctx.is_tanh), None  # type: ignore[no-untyped-call]
        return _backward(doutput, input, ctx.is_tanh), None


_record = gate.recorder(_Gelu)


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, doutput: Tensor, input: Tensor, is_tanh: bool) -> Tensor:
        return _backward(doutput, input, is_tanh)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("gelu")


_library = torch.library.Library("groundup", "FRAGMENT")
_TAGS = (torch.Tag.pt2_compliant_tag,)
_library.define("gelu(Tensor input, bool is_tanh) -> Tensor", tags=_TAGS)
_library.define("gelu_backward(Tensor doutput, Tensor input, bool is_tanh) -> Tensor", tags=_TAGS)
_library.impl("gelu", _forward, "CPU")
_library.impl("gelu_backward", _backward, "CPU")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, ctx.is_tanh = inputs
    ctx.save_for_backward(input)


def _operator_backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.groundup.gelu_backward(doutput, *ctx.saved_tensors, ctx.is_tanh), None


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("gelu")


torch.library.register_fake("groundup::gelu", lambda i, t: torch.empty_like(i), lib=_library)
torch.library.register_fake(
    "groundup::gelu_backward", lambda d, i, t: torch.empty_like(i), lib=_library
)
torch.library.register_autograd(
    "groundup::gelu", _operator_backward, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::gelu_backward", _refuse, lib=_library)
