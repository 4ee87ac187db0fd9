"""What cross_entropy is judged against: the formula written out, in any dtype."""

import pytest
import torch

import groundup as gu
from groundup.ops import dispatch, native

FLAGS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z_loss": {"lse_square_scale": 1e-2},
    "softcap": {"softcap": 3.0},
    "smoothing_z_loss": {"label_smoothing": 0.1, "lse_square_scale": 1e-2},
    "smoothing_softcap": {"label_smoothing": 1.0, "softcap": 3.0},
    "z_loss_softcap": {"lse_square_scale": 1e-2, "softcap": 3.0},
    "everything": {"label_smoothing": 0.1, "lse_square_scale": 1e-2, "softcap": 3.0},
}


def written_out(
    input,
    target,
    weight=None,
    *,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
    lse_square_scale=0.0,
    softcap=None,
):
    """Cross-entropy as a formula of eager ops, every step in input's dtype."""
    logits = input if softcap is None else softcap * torch.tanh(input / softcap)
    weight = torch.ones(input.shape[1]) if weight is None else weight
    weight = weight.to(input.dtype)
    live = target != ignore_index
    classes = torch.where(live, target, 0)
    lse = torch.logsumexp(logits, dim=1)
    surprise = lse[:, None] - logits
    rows = (1 - label_smoothing) * weight[classes] * surprise.gather(1, classes[:, None])[:, 0]
    if label_smoothing:
        rows = rows + label_smoothing / input.shape[1] * (surprise * weight).sum(1)
    rows = torch.where(live, rows, 0)
    z_rows = torch.where(live, lse_square_scale * lse.square(), 0)
    if reduction == "none":
        return rows + z_rows
    if reduction == "sum":
        return rows.sum() + z_rows.sum()
    divisor = torch.where(live, weight[classes], 0).sum()
    return rows.sum() / divisor + (z_rows.sum() / live.sum() if lse_square_scale else 0)


def loss_and_gradient(function, input, target, weight=None, upstream=None, **options):
    """(loss, gradient of the input), with `upstream` or ones flowing into the loss."""
    leaf = input.detach().clone().requires_grad_()
    # In place must not be given a leaf; multiplying by one changes no bit.
    loss = function(leaf * 1, target, weight, **options)
    upstream = torch.ones_like(loss) if upstream is None else upstream.to(loss.dtype)
    (gradient,) = torch.autograd.grad(loss, leaf, upstream)
    return loss.detach(), gradient


def run(implementation, *arguments, **options):
    """gu.cross_entropy forward and backward on one implementation, which is seen to run."""
    with gu.use(f"cross_entropy={implementation}"), dispatch.ran() as log:
        result = loss_and_gradient(gu.cross_entropy, *arguments, **options)
    assert log == [("cross_entropy", implementation)]
    return result


def implementations(*, inplace=False):
    """Those that can run here, as pytest parameters; `inplace` adds cpp's second form to them."""
    unbuilt = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
    names = [
        pytest.param(name, marks=unbuilt if name == "cpp" else ())
        for name in dispatch.IMPLEMENTATIONS["cross_entropy"]
    ]
    if not inplace:
        return names
    forms = [
        pytest.param(*name.values, False, id=name.values[0], marks=name.marks) for name in names
    ]
    return [*forms, pytest.param("cpp", True, id="cpp_in_place", marks=unbuilt)]
