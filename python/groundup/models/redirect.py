"""Calls of torch.nn.functional that groundup's ops answer, for the length of a `with` block."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import groundup as gu


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    if (
        input.dim() != 2
        or target.dim() != 1
        or target.dtype is not torch.int64
        or size_average is not None
        or reduce is not None
        or (weight is not None and weight.requires_grad)
    ):
        return F.cross_entropy(
            input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing
        )
    loss = gu.cross_entropy(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    # torch's loss of half precision logits is float32 under autocast only.
    kind = input.device.type
    mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return loss if mixed else loss.to(input.dtype)


# op: (torch's function, ours with torch's arguments)
REDIRECTED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "cross_entropy": (F.cross_entropy, _cross_entropy),
    "scaled_dot_product_attention": (
        F.scaled_dot_product_attention,
        gu.scaled_dot_product_attention,
    ),
    "layer_norm": (F.layer_norm, gu.layer_norm),
    "gelu": (F.gelu, gu.gelu),
}


class Redirect(TorchFunctionMode):
    """Inside `with Redirect(names)`, those functions of REDIRECTED run on groundup's ops.

    Holds for what the block calls, however deep, in this thread. Every other torch call passes
    through at the cost of one Python call.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.answers = dict(REDIRECTED[name] for name in names)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.answers.get(func, func)(*args, **(kwargs or {}))
