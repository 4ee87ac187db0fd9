"""reference/attention_ragged.py is reference/attention.py, sequence by sequence."""

import doctest

import numpy as np
import pytest

from groundup.reference import attention_ragged as reference
from groundup.reference.attention import attention, attention_backward


def test_documents_do_not_see_each_other():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 9, 2, 4))
    dout = rng.normal(size=q.shape)
    rows = [0, 4, 4, 7]
    out = reference.varlen(q, k, v, rows, rows, left=2)
    gradients = reference.varlen_backward(dout, q, k, v, rows, rows, left=2)
    for part in (slice(0, 4), slice(4, 7)):
        alone = [x[part].swapaxes(0, 1)[None] for x in (dout, q, k, v)]
        expected = attention(*alone[1:], left=2), *attention_backward(*alone, left=2)
        for whole, one in zip((out, *gradients), expected, strict=True):
            np.testing.assert_array_equal(whole[part], one[0].swapaxes(0, 1))
    for whole in (out, *gradients):
        assert not whole[7:].any()


def test_documents_drop_weights_of_their_own():
    x = np.ones((16, 1, 1))
    out = reference.varlen(x, x, x, [0, 8, 16], [0, 8, 16], dropout_p=0.5, dropout_key=(1, 2))
    assert (out[:8] != out[8:]).any()


def test_a_decoder_reads_its_own_keys_only():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(2, 4, 3, 5)), *rng.normal(size=(2, 2, 2, 9, 5))
    k[0, :, 7:], v[0, :, 7:], k[1, :, :2], v[1, :, :2] = (np.nan,) * 4
    out = reference.decode(q, k, v, [7, 9], [0, 2])
    np.testing.assert_array_equal(out[:1], attention(q[:1], k[:1, :, :7], v[:1, :, :7]))
    np.testing.assert_array_equal(out[1:], attention(q[1:], k[1:, :, 2:], v[1:, :, 2:]))


def test_errors_say_what_was_expected():
    x = np.zeros((4, 1, 2))
    with pytest.raises(ValueError, match="expected as many documents of keys as of queries, got 2"):
        reference.varlen(x, x, x, [0, 4], [0, 2, 4])


def test_the_docstrings_examples_hold():
    assert doctest.testmod(reference).failed == 0
