"""cross_entropy that consumes its logits: the gradient is computed in forward, over them.

An operator whose schema says that it mutates cannot carry a derivative, and the classic
mark_dirty form would send the gradient of logits that are a view (x.view(-1, V)) through two
copies. So the memory is overwritten behind autograd's back, and three guards keep that honest:
the version counter is bumped, so an operation that saved the logits raises torch's own error; a
hook on the logits, and on the tensor they are a view of, sees the gradient that arrives there and
raises unless it is ours alone; the gradient is handed out once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.cross_entropy_torch import Options, bad_target
from groundup.ops.native import core

_CPU = torch.device("cpu")


def consumable(input: Tensor) -> bool:
    """Whether the memory of `input` is its own to overwrite: dense rows, none of them shared, and
    not a part of a larger tensor, whose gradient could not be told from another use's."""
    if not input.is_contiguous():
        return False
    base = input._base
    return base is None or (base.numel() == input.numel() and base.is_contiguous())


class Consumer(NamedTuple):
    """A kernel's two steps. `loss` leaves the gradient in the logits, or raises and leaves them
    alone; `scale` multiplies it, rows by rows, by what flows into the loss."""

    loss: Callable[[Tensor, Tensor, Tensor | None, Options], Tensor]
    scale: Callable[[Tensor, Tensor], None]


def cross_entropy_inplace(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    consumer: Consumer | None = None,
) -> Tensor:
    """The loss; `input` holds its gradient afterwards. `consumer` is the native core's unless
    another is given."""
    base = input._base
    if input.is_leaf or (base is not None and base.is_leaf and base.requires_grad):
        raise RuntimeError(
            "input: inplace=True would overwrite a leaf that requires grad, or a view of one: a "
            "leaf Variable that requires grad is being used in an in-place operation; pass "
            "inplace=False"
        )
    gradient = _Gradient()
    apply: Callable[..., Tensor] = _CrossEntropyInPlace.apply
    # The hooks come first: the first hook on a view whose version has moved crashes torch 2.13.
    watched = [input] if base is None or not base.requires_grad else [input, base]
    hooks = [tensor.register_hook(gradient.check) for tensor in watched]
    try:
        return apply(input, target, weight, options, gradient, consumer or _CPP)
    except BaseException:
        for hook in hooks:
            hook.remove()
        raise


class _Gradient:
    """What the backward handed out, to be recognised where it arrives."""

    def __init__(self) -> None:
        self.address = 0
        self.version = -1
        self.dlogits: Tensor | None = None

    def check(self, arrived: Tensor) -> None:
        if arrived.data_ptr() != self.address or arrived._version != self.version:
            raise RuntimeError(
                "cross_entropy(inplace=True) overwrote its input with the gradient, and input was "
                "used in autograd again; pass inplace=False or use the loss alone"
            )


def _loss(input: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    dispatch.note("cross_entropy", "cpp")
    target = target.contiguous()
    if weight is not None:
        weight = weight.to(torch.float32).contiguous()
    n_rows, n_classes = input.shape
    loss = torch.empty(() if options[1] else n_rows, dtype=torch.float32, device=_CPU)
    denominator = torch.empty((), dtype=torch.float32, device=_CPU)
    row = core.cross_entropy_inplace_cpu(
        gate.address("input", input),
        input.dtype is torch.bfloat16,
        n_rows,
        n_classes,
        n_classes,
        gate.address("target", target),
        0 if weight is None else gate.address("weight", weight),
        *options,
        loss.data_ptr(),
        0,
        denominator.data_ptr(),
    )
    if row >= 0:  # nothing was written
        raise bad_target(target, row, n_classes, options[0])
    return loss


def _scale(dlogits: Tensor, dloss: Tensor) -> None:
    if dloss.dim():
        dlogits.mul_(dloss.unsqueeze(1))
    elif (scale := dloss.item()) != 1.0:
        dlogits.mul_(scale)


_CPP = Consumer(_loss, _scale)


class _CrossEntropyInPlace(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: Options,
        gradient: _Gradient,
        consumer: Consumer,
    ) -> Tensor:
        loss = consumer.loss(input, target, weight, options)
        torch.autograd.graph.increment_version(input)
        gradient.dlogits = input.detach()
        ctx.gradient, ctx.scale = gradient, consumer.scale
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "cross_entropy(inplace=True) cannot be differentiated with create_graph=True; pass "
                "inplace=False"
            )
        gradient = ctx.gradient
        dlogits, gradient.dlogits = gradient.dlogits, None
        if dlogits is None:
            raise RuntimeError(
                "cross_entropy(inplace=True) has handed out its gradient and cannot run backward a "
                "second time; pass inplace=False"
            )
        ctx.scale(dlogits, dloss)
        gradient.address, gradient.version = dlogits.data_ptr(), dlogits._version
        return dlogits, None, None, None, None, None
