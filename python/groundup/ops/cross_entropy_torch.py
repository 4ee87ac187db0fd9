"""cross_entropy on torch: the implementation that runs wherever torch does."""

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch, gate

REDUCTIONS = ("none", "mean", "sum")

# ignore_index, reduction (a place in REDUCTIONS), label_smoothing, lse_square_scale, softcap (0.0
# is none): what every implementation is called with.
Options = tuple[int, int, float, float, float]


def cross_entropy_torch(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    """The loss in float32, or float64 for float64 input; arguments were checked by the op."""
    ignore_index, reduction, label_smoothing, lse_square_scale, softcap = options
    dispatch.note("cross_entropy", "torch")
    # Autocast would hand F.cross_entropy's parts to other dtypes than the ones chosen here.
    with torch.autocast(input.device.type, enabled=False):
        target, bad = _checked(target, input.shape[1], ignore_index)
        logits = input.to(torch.promote_types(input.dtype, torch.float32))
        if softcap > 0.0:
            logits = softcap * torch.tanh(logits / softcap)
        loss = F.cross_entropy(
            logits,
            target,
            None if weight is None else weight.to(logits.dtype),
            ignore_index=ignore_index,
            reduction=REDUCTIONS[reduction],
            label_smoothing=label_smoothing,
        )
        if lse_square_scale > 0.0:
            live = target != ignore_index
            lse = torch.where(live, torch.logsumexp(logits, dim=1), 0.0)
            squares = lse_square_scale * lse.square()
            if reduction == 1:
                squares = squares.sum() / live.sum()
            loss = loss + (squares.sum() if reduction == 2 else squares)
        if bad is not None:
            loss = loss * torch.where(bad if reduction == 0 else bad.any(), torch.nan, 1.0)
    return loss


def _checked(target: Tensor, n_classes: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
    """The targets, and which rows are bad where finding out must not wait for the device."""
    if target.is_cuda:
        bad = (target != ignore_index) & ((target < 0) | (target >= n_classes))
        return torch.where(bad, ignore_index, target), bad
    if torch.compiler.is_compiling():
        return torch.ops.groundup.checked_target(target, n_classes, ignore_index), None
    # Elsewhere (vmap, subclasses, meta) the values are not to be read: torch checks for itself.
    if target.is_cpu and gate.is_untouched(target):
        check_target(target, n_classes, ignore_index)
    return target, None


def check_target(target: Tensor, n_classes: int, ignore_index: int) -> None:
    """Raise IndexError for the first live target outside [0, n_classes); reads the values."""
    bad = (target != ignore_index) & ((target < 0) | (target >= n_classes))
    if bad.any():
        raise bad_target(target, int(bad.nonzero()[0]), n_classes, ignore_index)


def bad_target(target: Tensor, row: int, n_classes: int, ignore_index: int) -> IndexError:
    """The error for a live target outside [0, V)."""
    return IndexError(
        f"target: expected classes in [0, {n_classes}) or ignore_index = {ignore_index}, got "
        f"{int(target[row])} at row {row}"
    )


# Reading the targets would break a traced graph in two; an operator of its own is opaque to the
# tracer. It returns a copy so that the graph depends on it and cannot drop it.
_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    "checked_target(Tensor target, int n_classes, int ignore_index) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _checked_target(target: Tensor, n_classes: int, ignore_index: int) -> Tensor:
    check_target(target, n_classes, ignore_index)
    return target.clone()


def _checked_target_fake(target: Tensor, n_classes: int, ignore_index: int) -> Tensor:
    return torch.empty_like(target)


_library.impl("checked_target", _checked_target, "CPU")
torch.library.register_fake("groundup::checked_target", _checked_target_fake, lib=_library)
