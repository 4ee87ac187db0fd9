"""The bigram against a plain-Python count, and the laws that any distribution obeys."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.evaluate.bigram import Bigram, fit_bigram

streams = st.integers(2, 7).flatmap(
    lambda n_vocab: st.tuples(
        st.lists(st.integers(0, n_vocab - 1), min_size=20, max_size=120), st.just(n_vocab)
    )
)


def plain_probability(tokens: list[int], n_vocab: int, weight: float, last: int, nxt: int) -> float:
    return plain_from_pairs(list(itertools.pairwise(tokens)), n_vocab, weight, last, nxt)


def plain_from_pairs(
    seen: list[tuple[int, int]], n_vocab: int, weight: float, last: int, nxt: int
) -> float:
    pairs, single = Counter(seen), Counter(pair[1] for pair in seen)
    history = Counter(pair[0] for pair in seen)
    base = (single[nxt] + 1) / (len(seen) + n_vocab)
    if not history[last]:
        return base
    return weight * pairs[last, nxt] / history[last] + (1 - weight) * base


@settings(deadline=None, max_examples=60)
@given(streams)
def test_probability_is_the_plain_count(stream: tuple[list[int], int]) -> None:
    tokens, n_vocab = stream
    bigram = fit_bigram(tokens, n_vocab)
    for last in range(n_vocab):
        for nxt in range(n_vocab):
            expected = plain_probability(tokens, n_vocab, bigram.weight, last, nxt)
            assert bigram.probability(last, nxt) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(streams)
def test_probabilities_sum_to_one_after_every_token(stream: tuple[list[int], int]) -> None:
    tokens, n_vocab = stream
    bigram = fit_bigram(tokens, n_vocab)
    last, following = np.mgrid[:n_vocab, :n_vocab]
    np.testing.assert_allclose(bigram.probability(last, following).sum(axis=1), 1, rtol=1e-12)
    assert (bigram.probability(last, following) > 0).all()


def test_loss_is_the_mean_surprise_of_each_token_after_the_first() -> None:
    rng = np.random.default_rng(0)
    tokens, held = rng.integers(0, 11, 500), rng.integers(0, 11, 90).tolist()
    bigram = fit_bigram(tokens, 11)
    surprises = [
        -math.log(plain_probability(tokens.tolist(), 11, bigram.weight, last, nxt))
        for last, nxt in itertools.pairwise(held)
    ]
    assert bigram.loss(held) == pytest.approx(sum(surprises) / len(surprises), rel=1e-12)


def test_the_weight_is_the_best_of_a_grid_on_every_tenth_block_of_training() -> None:
    rng = np.random.default_rng(1)
    tokens = np.where(rng.random(801) < 0.4, np.arange(801) % 40, rng.integers(0, 40, 801)).tolist()
    pairs = list(itertools.pairwise(tokens))
    held = [pair for at, pair in enumerate(pairs) if at // 80 % 10 == 9]
    known = [pair for at, pair in enumerate(pairs) if at // 80 % 10 != 9]

    def held_out_loss(weight: float) -> float:
        counts = Counter(held)
        return -sum(
            count * math.log(plain_from_pairs(known, 40, weight, *pair))
            for pair, count in counts.items()
        )

    best = min(np.linspace(0, 0.99, 34).tolist(), key=held_out_loss)
    assert 0.1 < best < 0.9
    assert fit_bigram(tokens, 40).weight == pytest.approx(best, abs=0.03)


def test_text_without_pattern_gives_the_weight_to_single_tokens_and_a_cycle_to_pairs() -> None:
    noise = np.random.default_rng(2).integers(0, 200, 2000)
    assert fit_bigram(noise, 200).weight < 0.2
    cycle = np.arange(2000) % 7
    bigram = fit_bigram(cycle, 7)
    assert bigram.weight > 0.99
    assert bigram.loss(cycle) < 0.01


def test_bad_streams_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="expected at least 20 to tune the bigram on, got 5"):
        fit_bigram([1, 2, 3, 4, 5], 10)
    with pytest.raises(ValueError, match=r"expected ids in \[0, 4\), got 9; were they written"):
        fit_bigram([1, 2, 9] * 10, 4)
    with pytest.raises(ValueError, match=r"expected one dimension .* got shape \(2, 2\)"):
        fit_bigram([[1, 2], [3, 4]], 10)
    with pytest.raises(ValueError, match=r"integer ids, got shape \(30,\) of float64"):
        fit_bigram(np.ones(30), 10)
    bigram = fit_bigram([1, 2, 3] * 10, 4)
    assert isinstance(bigram, Bigram)
    with pytest.raises(ValueError, match="at least 2 integer ids, got shape"):
        bigram.loss([1])


def test_unsigned_shard_tokens_are_counted_without_overflow() -> None:
    tokens = np.tile(np.array([60_000, 65_535], np.uint16), 20)
    bigram = fit_bigram(tokens, 65_536)
    assert bigram.probability(60_000, 65_535) > 0.9


@pytest.mark.parametrize(("last", "following"), [(-1, 0), (0, -1), (4, 0), (0, 4)])
def test_an_id_out_of_range_has_no_probability(last: int, following: int) -> None:
    bigram = fit_bigram([1, 2, 3] * 10, 4)
    with pytest.raises(ValueError, match=r"ids: expected them in \[0, 4\), got"):
        bigram.probability(last, following)
