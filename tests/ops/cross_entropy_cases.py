"""What cross_entropy is judged against: the formula written out, in any dtype."""

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class

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
    weight = torch.ones(input.shape[1], device=input.device) if weight is None else weight
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
    upstream = torch.ones_like(loss) if upstream is None else upstream.to(loss)
    (gradient,) = torch.autograd.grad(loss, leaf, upstream)
    return loss.detach(), gradient


def run(implementation, *arguments, **options):
    """gu.cross_entropy forward and backward on one implementation, which is seen to run."""
    with gu.use(f"cross_entropy={implementation}"), dispatch.ran() as log:
        result = loss_and_gradient(gu.cross_entropy, *arguments, **options)
    assert log == [("cross_entropy", implementation)]
    return result


def problem(n_rows, n_classes, dtype=torch.float32, ignored=0.2, scale=2.0):
    logits = (torch.randn(n_rows, n_classes) * scale).to(dtype)
    target = torch.randint(0, n_classes, (n_rows,))
    return logits, torch.where(torch.rand(n_rows) < ignored, -100, target)


def judge(implementation, logits, target, weight=None, upstream=None, inplace=False, **options):
    loss, gradient = run(
        implementation, logits, target, weight, upstream, inplace=inplace, **options
    )
    eager = loss_and_gradient(written_out, logits, target, weight, upstream, **options)
    exact = loss_and_gradient(written_out, logits.double(), target, weight, upstream, **options)
    assert loss.dtype is torch.float32
    assert gradient.dtype is logits.dtype
    for kind, ours, theirs, truth in (
        ("forward", loss, eager[0], exact[0]),
        ("gradient", gradient, eager[1], exact[1]),
    ):
        if truth.numel() >= 16:
            assert_error_like_eager(ours, theirs, truth, kind=kind, name=kind)
        else:  # the mean error of a handful of numbers is luck, eager's too
            assert_same_class(ours, theirs, name=kind)
            rtol = 1e-5 if ours.dtype is torch.float32 else 1e-2
            torch.testing.assert_close(ours.double(), truth, rtol=rtol, atol=1e-6, equal_nan=True)


def implementations(*, inplace=False):
    """Those that run on the CPU, as pytest parameters; `inplace` adds cpp's second form to them."""
    unbuilt = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
    names = [
        pytest.param(name, marks=unbuilt if name == "cpp" else ())
        for name in dispatch.IMPLEMENTATIONS["cross_entropy"]
        if name not in ("cuda", "triton")
    ]
    if not inplace:
        return names
    forms = [
        pytest.param(*name.values, False, id=name.values[0], marks=name.marks) for name in names
    ]
    return [*forms, pytest.param("cpp", True, id="cpp_in_place", marks=unbuilt)]
