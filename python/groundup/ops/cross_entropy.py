"""cross_entropy: check, choose an implementation, call it."""

from torch import Tensor

from groundup.ops.cross_entropy_torch import cross_entropy_torch


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    lse_square_scale: float = 0.0,
    softcap: float | None = None,
    inplace: bool = False,
) -> Tensor:
    """Mean surprise of `target` under softmax(input), in nats."""
    return cross_entropy_torch(
        input,
        target,
        weight,
        ignore_index,
        reduction,
        label_smoothing,
        lse_square_scale,
        softcap,
    )
