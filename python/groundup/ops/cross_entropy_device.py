"""cross_entropy on a device's kernels, `cuda` or `triton`: autograd, torch.compile, bad targets.

As beside the native kernel, two ways lead there: plain tensors in eager mode take a classic
autograd.Function, whatever traces or intercepts takes a registered operator.

A target that is no class cannot raise where it is found without waiting for the device. Its row's
loss and gradient are NaN, nothing outside is read, and the row is reported in pinned memory, which
every later call on the host looks into.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.ops import gate
from groundup.ops.cross_entropy_check import check_tensors
from groundup.ops.cross_entropy_inplace import Consumer, consumable, cross_entropy_inplace
from groundup.ops.cross_entropy_torch import Options

# Per row its largest logit and log(sum(exp(logit - largest))), and for the whole call the divisor
# of the weighted losses, that of the z-losses, and the sum of the class weights.
N_SHARED = 3


class Kernels(NamedTuple):
    """What a form brings. All take logits whose classes are adjacent, contiguous int64 targets and
    contiguous float32 weights, and answer with tensors of the logits' device."""

    why_not: Callable[[Tensor], str | None]  # what keeps them from this input
    # (input, target, weight, options) -> (loss, statistics (2 * N + N_SHARED,))
    forward: Callable[[Tensor, Tensor, Tensor | None, Options], tuple[Tensor, Tensor]]
    # (dloss, statistics, input, target, weight, options) -> dlogits
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, Options], Tensor]
    consumer: Consumer | None  # in place


FORMS: dict[str, Kernels] = {}


def cross_entropy_device(
    form: str,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    inplace: bool,
    plain: bool,
) -> Tensor:
    """The loss in float32; arguments were checked by the op, options as in cross_entropy_torch.

    Raises IndexError if an earlier call had a target outside [0, V).
    """
    if not plain:
        operator = torch.ops.groundup.cross_entropy_device
        loss: Tensor = operator(input, target, weight, *options, form)[0]
        return loss
    if not (input.requires_grad and torch.is_grad_enabled()):
        return _forward(input, target, weight, options, form)[0]
    consumer = FORMS[form].consumer
    if inplace and consumer is not None and consumable(input):
        raise_bad_target()
        return cross_entropy_inplace(input, target.contiguous(), _floats(weight), options, consumer)
    return _CrossEntropy.apply(input, target, weight, options, form)  # type: ignore[no-any-return,no-untyped-call]


@cache
def flag() -> Tensor:
    """(row + 1, target) of the first bad target since the last report; zeros: none."""
    return torch.zeros(2, dtype=torch.int64, device="cpu", pin_memory=torch.cuda.is_available())


def raise_bad_target() -> None:
    """Raise IndexError if a kernel that has run since the last call met a target outside [0, V).

    Waits for nothing: what is still running reports later. Called by every forward.
    """
    reported = flag()
    if row := int(reported[0]):
        target = int(reported[1])
        reported.zero_()
        raise IndexError(
            f"target: expected classes in [0, V) or ignore_index, got {target} at row {row - 1} in "
            "an earlier call on the device, whose loss and gradient of that row are nan"
        )


def _floats(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.to(torch.float32).contiguous()


def _forward(
    input: Tensor, target: Tensor, weight: Tensor | None, options: Options, form: str
) -> tuple[Tensor, Tensor]:
    raise_bad_target()
    if input.stride(1) != 1:
        input = input.contiguous()
    return FORMS[form].forward(input, target.contiguous(), _floats(weight), options)


def _backward(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    form: str,
) -> Tensor:
    if input.stride(1) != 1:
        input = input.contiguous()
    return FORMS[form].backward(
        dloss.contiguous(),
        statistics.contiguous(),
        input,
        target.contiguous(),
        _floats(weight),
        options,
    )


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, target: Tensor, weight: Tensor | None, options: Options, form: str
    ) -> Tensor:
        loss, statistics = _forward(input, target, weight, options, form)
        ctx.save_for_backward(statistics, input, target, weight)
        ctx.options, ctx.form = options, form
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        backward: Any = _Backward.apply if torch.is_grad_enabled() else _backward
        dlogits = backward(dloss, *ctx.saved_tensors, ctx.options, ctx.form)
        return dlogits, None, None, None, None


class _Backward(torch.autograd.Function):
    """The gradient as a node, which create_graph=True asks for and which has no derivative."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("cross_entropy")


_ARGUMENTS = (
    "Tensor input, Tensor target, Tensor? weight, int ignore_index, int reduction, "
    "float label_smoothing, float lse_square_scale, float softcap, str form"
)
_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    f"cross_entropy_device({_ARGUMENTS}) -> (Tensor loss, Tensor statistics)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    f"cross_entropy_device_backward(Tensor dloss, Tensor statistics, {_ARGUMENTS}) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _operator(
    input: Tensor, target: Tensor, weight: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor]:
    *numbers, form = options
    _check_operator(input, target, weight, form)
    return _forward(input, target, weight, tuple(numbers), form)


def _backward_operator(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    *options: Any,
) -> Tensor:
    *numbers, form = options
    _check_operator(input, target, weight, form)
    n_rows = input.shape[0]
    shapes = (() if numbers[1] else (n_rows,), (2 * n_rows + N_SHARED,))
    for name, tensor, shape in zip(
        ("dloss", "statistics"), (dloss, statistics), shapes, strict=True
    ):
        if (tensor.dtype, tensor.shape, tensor.device) != (torch.float32, shape, input.device):
            raise ValueError(
                f"{name}: expected float32 of shape {shape} on {input.device}, got {tensor.dtype} "
                f"of shape {tuple(tensor.shape)} on {tensor.device}"
            )
    return _backward(dloss, statistics, input, target, weight, tuple(numbers), form)


def _check_operator(input: Tensor, target: Tensor, weight: Tensor | None, form: str) -> None:
    """torch.ops is open to everybody, and behind it is bare memory."""
    check_tensors(input, target, weight)
    if form not in FORMS:
        raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
    if (reason := FORMS[form].why_not(input)) is not None:
        raise RuntimeError(f"cross_entropy's {form} kernels cannot run: {reason}")


# Triton's interpreter runs on tensors of the CPU.
for _key in ("CUDA", "CPU"):
    _library.impl("cross_entropy_device", _operator, _key)
    _library.impl("cross_entropy_device_backward", _backward_operator, _key)


def _forward_fake(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: int, *_: Any
) -> tuple[Tensor, Tensor]:
    n_rows = input.shape[0]
    return (
        input.new_empty(() if reduction else (n_rows,), dtype=torch.float32),
        input.new_empty((2 * n_rows + N_SHARED,), dtype=torch.float32),
    )


def _backward_fake(dloss: Tensor, statistics: Tensor, input: Tensor, *_: Any) -> Tensor:
    return input.new_empty(input.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, target, weight, *ctx.options = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], input, target, weight)


def _differentiate(ctx: Any, dloss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    backward = torch.ops.groundup.cross_entropy_device_backward
    return backward(dloss, *ctx.saved_tensors, *ctx.options), *(None,) * 8


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("cross_entropy")


for _name, _fake in (
    ("cross_entropy_device", _forward_fake),
    ("cross_entropy_device_backward", _backward_fake),
):
    torch.library.register_fake(f"groundup::{_name}", _fake, lib=_library)
torch.library.register_autograd(
    "groundup::cross_entropy_device", _differentiate, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::cross_entropy_device_backward", _refuse, lib=_library)
