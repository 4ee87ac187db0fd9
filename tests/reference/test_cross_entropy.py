"""reference/cross_entropy.py against torch's float64 autograd, and against its own derivation."""

import doctest
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import cross_entropy as reference
from groundup.reference.cross_entropy import cross_entropy, cross_entropy_backward, nll_backward

FLAGS = {
    "ignore_index": st.sampled_from([-100, 0, 2]),
    "reduction": st.sampled_from(["none", "mean", "sum"]),
    "label_smoothing": st.sampled_from([0.0, 0.1, 1.0]),
    "lse_square_scale": st.sampled_from([0.0, 1e-2]),
    "softcap": st.sampled_from([None, 3.0]),
}


def torch_loss(x, target, weight, *, softcap, lse_square_scale, **flags):
    """The same loss from torch's own pieces, in float64."""
    if softcap is not None:
        x = softcap * torch.tanh(x / softcap)
    loss = F.cross_entropy(x, target, weight, **flags)
    if lse_square_scale:
        live = target != flags["ignore_index"]
        z = lse_square_scale * torch.logsumexp(x, 1) ** 2 * live
        totals = {"none": lambda: z, "sum": z.sum, "mean": lambda: z.sum() / live.sum()}
        loss = loss + totals[flags["reduction"]]()
    return loss


@settings(deadline=None, max_examples=150)
@given(
    n_rows=st.integers(1, 9),
    n_classes=st.sampled_from([3, 7, 63]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**31),
    flags=st.fixed_dictionaries(FLAGS),
)
def test_loss_and_gradient_equal_torch_autograd_in_float64(
    n_rows, n_classes, weighted, seed, flags
):
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(n_rows, n_classes, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    target = torch.randint(n_classes, (n_rows,), generator=generator)
    target[torch.rand(n_rows, generator=generator) < 0.3] = flags["ignore_index"]
    weight = None
    if weighted:
        weight = torch.rand(n_classes, generator=generator, dtype=torch.float64)

    expected = torch_loss(x, target, weight, **flags)
    dloss = torch.rand(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(dloss)
    x.grad[target == flags["ignore_index"]] = 0  # a mean of no z-losses is 0 / 0 in torch
    arrays = (x.detach().numpy(), target.numpy(), None if weight is None else weight.numpy())
    loss = cross_entropy(*arrays, **flags)
    gradient = cross_entropy_backward(dloss.numpy(), *arrays, **flags)

    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_gradient_equals_finite_differences():
    rng = np.random.default_rng(0)
    x, target, weight = rng.normal(size=(3, 5)), np.array([4, -100, 0]), rng.random(5)
    flags = {"label_smoothing": 0.1, "lse_square_scale": 0.05, "softcap": 2.0}
    gradient = cross_entropy_backward(1.0, x, target, weight, **flags)
    step = 1e-6
    for index in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[index] = step
        rise = cross_entropy(x + nudge, target, weight, **flags)
        fall = cross_entropy(x - nudge, target, weight, **flags)
        assert gradient[index] == pytest.approx((rise - fall) / (2 * step), abs=1e-9)


def test_gradient_of_a_row_sums_to_zero():
    """Adding a constant to a row changes no probability."""
    x = np.random.default_rng(0).normal(size=(4, 50))
    np.testing.assert_allclose(nll_backward(x, np.arange(4)).sum(axis=1), 0, atol=1e-14)


def test_masked_rows_have_zero_gradient():
    x = np.random.default_rng(0).normal(size=(4, 5))
    x[1] = np.nan
    gradient = cross_entropy_backward(1.0, x, [0, -100, 2, -100])
    assert (gradient[[1, 3]] == 0).all()
    assert np.isfinite(gradient).all()


def test_mean_of_no_rows_is_nan_with_zero_gradient_and_sum_is_zero():
    x, target = np.zeros((2, 3)), [-100, -100]
    assert np.isnan(cross_entropy(x, target))
    assert (cross_entropy_backward(1.0, x, target) == 0).all()
    assert cross_entropy(x, target, reduction="sum") == 0
    assert np.isnan(cross_entropy(np.zeros((0, 3)), np.zeros(0, int)))
    assert cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="none").shape == (0,)


def test_huge_logits_do_not_overflow():
    assert cross_entropy(np.full((1, 4), 1e300), [2]) == pytest.approx(math.log(4))
    assert cross_entropy(np.array([[1000.0, 0.0]]), [1]) == 1000


def test_an_impossible_class_costs_nothing_unless_it_is_the_target():
    x = np.array([[0.0, -np.inf, 0.0]])
    assert cross_entropy(x, [0]) == pytest.approx(math.log(2))
    assert cross_entropy(x, [1]) == np.inf
    assert np.isnan(cross_entropy(np.full((1, 3), -np.inf), [1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_result_has_the_dtype_of_the_logits(dtype):
    x = np.ones((2, 3), dtype)
    assert cross_entropy(x, [0, 1]).dtype == dtype
    assert cross_entropy_backward(1.0, x, [0, 1], label_smoothing=0.1).dtype == dtype


@pytest.mark.parametrize("target", [-1, 3, 10**12])
def test_target_outside_the_classes_is_an_error(target):
    with pytest.raises(IndexError, match=rf"target: expected \[0, 3\), got {target} in row 1"):
        cross_entropy(np.zeros((2, 3)), [0, target])


def test_unknown_reduction_is_an_error():
    with pytest.raises(ValueError, match='expected "none", "mean" or "sum", got \'avg\''):
        cross_entropy(np.zeros((1, 3)), [0], reduction="avg")


def test_examples_in_the_docstrings_hold():
    results = doctest.testmod(reference)
    assert results.attempted >= 5
    assert results.failed == 0
