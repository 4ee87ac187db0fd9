"""The learning rate rises, peaks once and falls to its final share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.train.schedule import learning_rate


def test_the_rate_at_marked_places():
    rates = [learning_rate(f, peak=2.0, final_share=0.1, warmup=0.2) for f in (0, 0.1, 0.2, 0.6, 1)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.1, 0.2])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_within_bounds_and_one_humped(a, b, share, warmup):
    low, high = sorted((a, b))
    first, second = (
        learning_rate(f, peak=1.0, final_share=share, warmup=warmup) for f in (low, high)
    )
    assert 0 <= first <= 1
    if high < warmup:
        assert first <= second
    if low >= warmup:
        assert second <= first + 1e-12
        assert second >= share - 1e-12


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_fractions_beyond_the_ends_give_the_ends(warmup):
    def rate(fraction: float) -> float:
        return learning_rate(fraction, peak=1.0, warmup=warmup)

    assert rate(-3.0) == rate(0.0)
    assert rate(7.0) == rate(1.0)
