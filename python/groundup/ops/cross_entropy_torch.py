"""cross_entropy on torch: the implementation that runs wherever torch does."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy_torch(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    lse_square_scale: float,
    softcap: float | None,
) -> Tensor:
    """Loss in float32 (float64 for float64 input)."""
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if weight is not None:
        weight = weight.to(logits.dtype)
    loss = F.cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    if lse_square_scale == 0.0:
        return loss
    live = target != ignore_index
    square = lse_square_scale * torch.logsumexp(logits, dim=1).square()
    square = torch.where(live, square, 0.0)
    if reduction == "none":
        return loss + square
    if reduction == "sum":
        return loss + square.sum()
    if weight is None:
        return loss + square.sum() / live.sum()
    return loss + square.sum() / torch.where(live, weight[target.clamp(0)], 0.0).sum()
