"""What a score depends on: the tokens, their places, or how far apart they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference.positions import frequencies, relative_bias, rotate, scores, sinusoidal

T, D = 12, 8
WIDTHS = st.integers(1, 8).map(lambda half: 2 * half)


def qk(seed, width=D):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, width)), rng.normal(size=(T, width))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), shift=st.integers(0, 10_000), width=WIDTHS)
def test_rotary_scores_depend_on_the_distance_alone(seed, shift, width):
    q, k = qk(seed, width)
    here = scores(rotate(q), rotate(k))
    there = scores(rotate(q, first=shift), rotate(k, first=shift))
    np.testing.assert_allclose(here, there, atol=1e-9)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), width=WIDTHS)
def test_turning_keeps_lengths_and_leaves_the_first_place(seed, width):
    q, _ = qk(seed, width)
    turned = rotate(q)
    np.testing.assert_allclose((turned**2).sum(1), (q**2).sum(1), rtol=1e-12)
    np.testing.assert_array_equal(turned[0], q[0])
    assert not np.allclose(turned[1], q[1])


@settings(max_examples=40)
@given(width=WIDTHS, distance=st.integers(0, T - 1))
def test_products_of_sinusoidal_rows_depend_on_the_distance_alone(width, distance):
    table = sinusoidal(T, width)
    expected = np.cos(distance * frequencies(width)).sum()
    products = (table[distance:] * table[: T - distance]).sum(axis=1)
    np.testing.assert_allclose(products, expected, atol=1e-12)
    assert len(np.unique(table.round(9), axis=0)) == T


def test_rotary_is_the_complex_product_it_stands_for():
    q, _ = qk(0)
    as_complex = q[:, 0::2] + 1j * q[:, 1::2]
    turned = as_complex * np.exp(1j * np.arange(T)[:, None] * frequencies(D))
    np.testing.assert_allclose(rotate(q)[:, 0::2], turned.real, atol=1e-12)
    np.testing.assert_allclose(rotate(q)[:, 1::2], turned.imag, atol=1e-12)


def test_a_bias_is_the_same_along_each_diagonal_and_ends_with_its_last():
    bias = relative_bias(np.array([3.0, 2.0, 1.0]), 5)
    assert bias.tolist() == [
        [3, 0, 0, 0, 0],
        [2, 3, 0, 0, 0],
        [1, 2, 3, 0, 0],
        [1, 1, 2, 3, 0],
        [1, 1, 1, 2, 3],
    ]


def test_scores_without_positions_only_move_with_their_tokens():
    q, k = qk(1)
    order = np.random.default_rng(2).permutation(T)
    assert np.array_equal(scores(q[order], k[order]), scores(q, k)[np.ix_(order, order)])


@pytest.mark.parametrize("call", [lambda: sinusoidal(3, 5), lambda: rotate(np.ones((2, 3)))])
def test_an_odd_width_is_refused(call):
    with pytest.raises(ValueError, match="expected an even number, got"):
        call()
