"""cross_entropy by the reference: groundup.reference, through NumPy."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.arrays import array, computing_dtype, expect_plain
from groundup.ops.cross_entropy_torch import REDUCTIONS, Options, check_target
from groundup.reference import cross_entropy as reference


def cross_entropy_reference(
    input: Tensor, target: Tensor, weight: Tensor | None, options: Options, plain: bool
) -> Tensor:
    """The loss in float32, or float64 for float64 input, computed in that dtype."""
    expect_plain("cross_entropy", plain)
    check_target(target, input.shape[1], options[0])
    apply = _CrossEntropy.apply
    loss: Tensor = apply(input, target, weight, options)  # type: ignore[no-untyped-call]
    return loss


def _arrays(input: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Any, ...]:
    dtype = computing_dtype(input)
    return (
        array("input", input, dtype),
        target.cpu().numpy(),
        None if weight is None else array("weight", weight, dtype),
    )


def _flags(options: Options) -> dict[str, Any]:
    ignore_index, reduction, label_smoothing, lse_square_scale, softcap = options
    return {
        "ignore_index": ignore_index,
        "reduction": REDUCTIONS[reduction],
        "label_smoothing": label_smoothing,
        "lse_square_scale": lse_square_scale,
        "softcap": softcap or None,
    }


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, target: Tensor, weight: Tensor | None, options: Options
    ) -> Tensor:
        dispatch.note("cross_entropy", "reference")
        ctx.save_for_backward(input, target, weight)
        ctx.options = options
        loss = reference.cross_entropy(*_arrays(input, target, weight), **_flags(options))
        return torch.from_numpy(loss).to(input.device)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        dlogits: Tensor = _Backward.apply(dloss, *ctx.saved_tensors, ctx.options)  # type: ignore[no-untyped-call]
        return dlogits, None, None, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(
        ctx: Any,
        dloss: Tensor,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: Options,
    ) -> Tensor:
        dlogits = reference.cross_entropy_backward(
            dloss.detach().cpu().numpy(), *_arrays(input, target, weight), **_flags(options)
        )
        return torch.from_numpy(dlogits).to(input.device, input.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("cross_entropy")
