"""The interpolated bigram: the score that a model of sequences has to beat.

p(next | last) = weight * count(last, next) / count(last) + (1 - weight) * p(next)
p(next)        = (count(next) + 1) / (pairs + vocabulary)

The weight is tuned on every tenth block of the training tokens against counts of the other nine;
then all of them are counted. Validation text never enters. After Jelinek and Mercer 1980,
"Interpolated estimation of Markov source parameters from sparse data".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A block is long enough to be unlike its neighbours, short enough to come from all over the text.
_BLOCK = 1_000


@dataclass(frozen=True)
class Bigram:
    """Counts of a token stream and the tuned weight of the pair counts.

    single      (V,) int64     how often each token follows another
    history     (V,) int64     how often each token is followed by another
    pairs       (P,) int64     the distinct pairs seen, as last * V + next, rising
    pair_counts (P,) int64     how often each was seen
    weight      float in [0, 1)
    """

    single: NDArray[np.int64]
    history: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pair_counts: NDArray[np.int64]
    weight: float

    @property
    def n_vocab(self) -> int:
        return len(self.single)

    def probability(self, last: ArrayLike, following: ArrayLike) -> NDArray[np.float64]:
        """p(following | last), float64, for ids of equal shape; sums to 1 over `following`.

        After a token that training never continued, the single-token distribution alone.
        Raises ValueError for an id out of range.
        """
        last_ids, next_ids = np.asarray(last, np.int64), np.asarray(following, np.int64)
        for ids in (last_ids, next_ids):
            if ids.size and not 0 <= ids.min() <= ids.max() < self.n_vocab:
                raise ValueError(
                    f"ids: expected them in [0, {self.n_vocab}), got {ids.min()} to {ids.max()}"
                )
        seen, base = self._parts(last_ids, next_ids)
        weight = np.where(self.history[last_ids] > 0, self.weight, 0.0)
        return weight * seen + (1 - weight) * base

    def loss(self, tokens: ArrayLike) -> float:
        """Mean surprise in nats of tokens[1:], each after the one before it.

        tokens (n,) ids in [0, V), n >= 2. Cost: a binary search per token.
        """
        ids = _checked(tokens, self.n_vocab)
        return float(-np.log(self.probability(ids[:-1], ids[1:])).mean())

    def _parts(
        self, last: NDArray[np.int64], following: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        keys = last * self.n_vocab + following
        at = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
        count = np.where(self.pairs[at] == keys, self.pair_counts[at], 0)
        seen = count / np.maximum(self.history[last], 1)
        base = (self.single[following] + 1) / (self.single.sum() + self.n_vocab)
        return seen, base


def fit_bigram(tokens: ArrayLike, n_vocab: int) -> Bigram:
    """Count the training stream tokens (n,), ids in [0, n_vocab), and tune the weight on it.

    Raises ValueError for fewer than 20 tokens or an id out of range. Cost: a sort of n numbers.
    """
    ids = _checked(tokens, n_vocab)
    if len(ids) < 20:
        raise ValueError(f"tokens: expected at least 20 to tune the bigram on, got {len(ids)}")
    last, following = ids[:-1], ids[1:]
    held_out = np.arange(len(last)) // min(_BLOCK, len(last) // 10) % 10 == 9
    known = _counted(last[~held_out], following[~held_out], n_vocab, 0.0)
    weight = _tuned_weight(known, last[held_out], following[held_out])
    return _counted(last, following, n_vocab, weight)


def _counted(
    last: NDArray[np.int64], following: NDArray[np.int64], n_vocab: int, weight: float
) -> Bigram:
    pairs, pair_counts = np.unique(last * n_vocab + following, return_counts=True)
    return Bigram(
        single=np.bincount(following, minlength=n_vocab),
        history=np.bincount(last, minlength=n_vocab),
        pairs=pairs,
        pair_counts=pair_counts,
        weight=weight,
    )


def _tuned_weight(counts: Bigram, last: NDArray[np.int64], following: NDArray[np.int64]) -> float:
    """The weight with the least held-out loss: the loss is convex in the weight, so bisect."""
    continued = counts.history[last] > 0
    seen, base = counts._parts(last[continued], following[continued])
    low, high = 0.0, 1.0
    for _ in range(40):
        weight = (low + high) / 2
        slope = ((seen - base) / (weight * seen + (1 - weight) * base)).sum()
        low, high = (weight, high) if slope > 0 else (low, weight)
    return low


def _checked(tokens: ArrayLike, n_vocab: int) -> NDArray[np.int64]:
    ids = np.asarray(tokens)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or len(ids) < 2:
        raise ValueError(
            f"tokens: expected one dimension of at least 2 integer ids, "
            f"got shape {ids.shape} of {ids.dtype}"
        )
    if ids.min() < 0 or ids.max() >= n_vocab:
        wrong = ids[(ids < 0) | (ids >= n_vocab)][0]
        raise ValueError(
            f"tokens: expected ids in [0, {n_vocab}), got {wrong}; "
            f"were they written with another tokenizer?"
        )
    return ids.astype(np.int64)
