"""Logits as a model hands them to its loss: the output of an operation, not a leaf.

A loss may then overwrite them, and their gradient flows on into the operation instead of being
kept. What is timed is the loss alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from groundup.inspect.timing import Contender

LossOf = Callable[[Tensor, Tensor], Tensor]


class _HandedOver(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, logits: Tensor) -> Tensor:
        return logits.view_as(logits).detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        return None, None


def forward_and_backward(
    loss_of: LossOf, logits: Tensor, target: Tensor, tell: Callable[[float], Any] | None = None
) -> Contender:
    """Loss and gradient of a copy of `logits` (N, V), made anew before each call, untimed.

    tell  called with each loss
    """
    own = logits.clone()
    hand_over: Callable[[Tensor, Tensor], Tensor] = _HandedOver.apply
    parameter = torch.zeros((), requires_grad=True)

    def run() -> None:
        loss = loss_of(hand_over(parameter, own), target)
        loss.backward()
        if tell is not None:
            tell(loss.item())

    return Contender(run, lambda: own.copy_(logits))
