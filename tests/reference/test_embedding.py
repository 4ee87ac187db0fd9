"""A lookup is a one-hot product: exactly, forward and backward."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from groundup.reference import embedding, layers
from groundup.reference.embedding import lookup, lookup_backward, one_hot, product

FINITE = st.floats(-1e100, 1e100)


@st.composite
def cases(draw):
    """Ids (N,), a table (V, C) and a gradient (N, C)."""
    v, c, n = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(0, 9))
    ids = draw(hnp.arrays(np.int64, n, elements=st.integers(0, v - 1)))
    return ids, *(draw(hnp.arrays(float, (rows, c), elements=FINITE)) for rows in (v, n))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(embedding).failed == 0


@settings(max_examples=40)
@given(cases())
def test_a_lookup_is_the_product_to_the_last_bit(case):
    ids, table, _ = case
    assert np.array_equal(lookup(ids, table), product(one_hot(ids, len(table)), table))
    assert np.array_equal(lookup(ids, table), one_hot(ids, len(table)) @ table)


@settings(max_examples=40)
@given(cases())
def test_its_gradient_is_the_products_to_the_last_bit(case):
    ids, table, gradient = case
    ours = lookup_backward(ids, gradient, len(table))
    assert np.array_equal(ours, product(one_hot(ids, len(table)).T, gradient))
    unseen = np.setdiff1d(np.arange(len(table)), ids)
    assert not ours[unseen].any()


@settings(max_examples=40)
@given(cases())
def test_the_layer_of_the_course_does_the_same(case):
    ids, table, gradient = case
    layer = layers.Embedding(*table.shape, np.random.default_rng(0))
    layer.weight.data[:] = table
    out = layer(ids)
    assert np.array_equal(out.data, lookup(ids, table))
    (out * gradient).sum().backward()
    assert np.array_equal(layer.weight.grad, lookup_backward(ids, gradient, len(table)))


@pytest.mark.parametrize("wrong", [-1, 3])
@pytest.mark.parametrize(
    "call",
    [
        lambda ids: one_hot(ids, 3),
        lambda ids: lookup(ids, np.ones((3, 2))),
        lambda ids: lookup_backward(ids, np.ones((2, 2)), 3),
    ],
)
def test_ids_outside_the_table_are_refused(call, wrong):
    with pytest.raises(IndexError, match=r"expected 0 to 2, got"):
        call(np.array([0, wrong]))


def test_a_mask_is_no_list_of_ids():
    with pytest.raises(TypeError, match="ids: expected whole numbers, got bool"):
        lookup(np.array([True, False, True]), np.ones((3, 2)))
