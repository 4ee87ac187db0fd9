"""reference/attention.py against torch's float64 autograd, and against its own derivation."""

import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import attention as reference


def torch_attention(q, k, v, *, scale, left, softcap, alignment, dropout_p, dropout_key):
    """The same formula from torch's own pieces; the mask of dropout is the reference's."""
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[3]) if scale is None else scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    seen = torch.from_numpy(reference.visible(q.shape[2], k.shape[2], left, alignment))
    weights = torch.where(seen, scores, -1e30).softmax(-1) * seen
    if dropout_p > 0:
        kept = reference.dropout_mask(dropout_key, dropout_p, tuple(weights.shape))
        weights = weights * torch.from_numpy(kept) / (1 - dropout_p)
    return weights @ v


@settings(deadline=None, max_examples=150)
@given(
    n_queries=st.integers(0, 9),
    n_keys=st.integers(0, 9),
    shared=st.sampled_from([1, 2]),
    widths=st.sampled_from([(1, 1), (4, 4), (3, 5)]),
    scale=st.sampled_from([None, 0.7, 0.0]),
    left=st.sampled_from([None, 0, 2, 20]),
    softcap=st.sampled_from([None, 1.5]),
    alignment=st.sampled_from(["lower_right", "upper_left"]),
    dropout_p=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 2**31),
)
def test_output_and_gradients_equal_torch_autograd_in_float64(
    n_queries, n_keys, shared, widths, seed, **options
):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2 * shared, n_queries, widths[0]), (2, n_keys, widths[0]), (2, n_keys, widths[1])]
    tensors = [
        torch.randn(2, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]
    options["dropout_key"] = (seed, seed << 20)
    expected = torch_attention(*tensors, **options)
    dout = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, tensors, dout)

    arrays = [t.detach().numpy() for t in tensors]
    out = reference.attention(*arrays, **options)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(
        reference.attention_backward(dout.numpy(), *arrays, **options), gradients, strict=True
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_the_gradient_is_the_slope_of_the_output():
    rng = np.random.default_rng(0)
    q, k, v, dout = (rng.normal(size=(1, 1, 4, 3)) for _ in range(4))
    options = {"softcap": 2.0, "left": 1, "dropout_p": 0.3, "dropout_key": (1, 2)}
    gradients = reference.attention_backward(dout, q, k, v, **options)
    for x, gradient in zip((q, k, v), gradients, strict=True):
        direction = rng.normal(size=x.shape)
        sides = []
        for step in (1e-6, -1e-6):
            x += step * direction
            sides.append((reference.attention(q, k, v, **options) * dout).sum())
            x -= step * direction
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx((gradient * direction).sum(), 1e-6)


def test_rows_without_keys_give_zeros_and_zero_gradient():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(1, 1, 5, 3)), *rng.normal(size=(2, 1, 1, 2, 3))
    out = reference.attention(q, k, v)
    dquery, _, _ = reference.attention_backward(np.ones_like(out), q, k, v)
    assert not out[:, :, :3].any()
    assert not dquery[:, :, :3].any()
    assert out[:, :, 3:].all()


# Random123's own answers exist for 13, 20 and 72 rounds (kat_vectors); with 12 the words are those
# of 13 before the last round, which the test plays forward.
def test_threefry_agrees_with_the_published_answers_one_round_later():
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0, 0x082EFA98]
    pi = np.array([*pi, 0xEC4E6C89], np.uint32)
    ones = np.full(4, 0xFFFFFFFF, np.uint32)
    answers = (
        (0 * ones, 0 * ones, (0x531C7E4F, 0x39491EE5, 0x2C855A92, 0x3D6ABF9A)),
        (ones, ones, (0xC4189358, 0x1C9CC83A, 0xD5881C67, 0x6A0A89E0)),
        (pi[:4], pi[4:], (0x4AA71D8F, 0x734738C2, 0x431FC6A8, 0xAE6DEBF1)),
    )
    for counter, key, answer in answers:
        x = list(reference.threefry(counter[:, None], key))
        for first, second, by in ((0, 1, 6), (2, 3, 20)):
            x[first] = x[first] + x[second]
            x[second] = (x[second] << np.uint32(by)) | (x[second] >> np.uint32(32 - by))
            x[second] ^= x[first]
        assert tuple(int(word[0]) for word in x) == answer


def test_dropout_keeps_its_share_and_depends_on_every_coordinate():
    shape = (2, 3, 40, 50)
    kept = reference.dropout_mask((7, 9), 0.25, shape)
    assert kept.shape == shape
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    for axis, size in enumerate(shape):
        first, second = kept.take(0, axis), kept.take(size - 1, axis)
        assert 0.3 < (first != second).mean() < 0.45  # 2 * 0.25 * 0.75 for independent ones
    for other in ((8, 9), (7, 10), (7 + 2**32, 9), (7, 9 + 2**32)):
        assert 0.3 < (reference.dropout_mask(other, 0.25, shape) != kept).mean() < 0.45


def test_the_mask_of_a_place_does_not_depend_on_the_shape_around_it():
    whole = reference.dropout_mask((1, 2), 0.5, (2, 2, 9, 11))
    assert (reference.dropout_mask((1, 2), 0.5, (1, 2, 5, 7)) == whole[:1, :, :5, :7]).all()


def test_errors_say_what_was_expected():
    x = np.zeros((1, 3, 2, 2))
    with pytest.raises(ValueError, match="key: expected heads that divide the 3 of query, got 2"):
        reference.attention(x, x[:, :2], x[:, :2])
    with pytest.raises(ValueError, match='alignment: expected "lower_right" or "upper_left"'):
        reference.visible(1, 1, alignment="centre")


def test_the_docstrings_examples_hold():
    assert doctest.testmod(reference).failed == 0
