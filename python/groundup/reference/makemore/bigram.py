"""What follows a character? Count it; or start knowing nothing and follow the gradient.

Both end at one table, because counting is the answer that the gradient looks for. Rows are divided
by their own sum: a softmax of raw counts would exponentiate them, and a pair seen 30 times more
often would come out e^30 times likelier. NumPy. Source: Zero to Hero, "makemore" part 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundup.reference.layers import Module
from groundup.reference.makemore.training import descend
from groundup.reference.makemore.words import Ids, Vocabulary
from groundup.reference.tensor import Tensor, checked_ids, log_softmax

Array = NDArray[np.floating]


def counts(words: Sequence[str], vocabulary: Vocabulary) -> Ids:
    """N[i, j], how often character j follows i, the words' edges included; (V, V) int64."""
    table = np.zeros((len(vocabulary), len(vocabulary)), np.int64)
    for word in words:
        for pair in pairwise([0, *vocabulary.encode(word), 0]):
            table[pair] += 1
    return table


def probabilities(table: Ids, smoothing: float = 0.0) -> Array:
    """Each row of counts over its sum; `smoothing` is added to every count before.

    keepdims matters: without it the sums lie along the other axis, everything runs, and no row
    sums to 1. A row that was never seen is uniform.
    """
    smoothed = table + smoothing
    sums = smoothed.sum(axis=1, keepdims=True)
    out = np.full(table.shape, 1 / len(table))
    np.divide(smoothed, sums, out=out, where=sums > 0)
    return out


def mean_nll(p: Array, words: Sequence[str], vocabulary: Vocabulary) -> float:
    """Mean of -log p over all pairs of the words, in nats: infinite if one has probability 0."""
    table = counts(words, vocabulary)
    seen = table > 0
    with np.errstate(divide="ignore"):
        return float(-(table[seen] * np.log(p[seen])).sum() / table.sum())


class Bigram(Module):
    """The table by gradient: row i of the weights, through a softmax, is what follows i.

    One-hot rows times the weights would be the same: a product that picks a row.
    """

    block_size = 1

    def __init__(self, vocab_size: int, rng: np.random.Generator) -> None:
        self.weight = Tensor(rng.normal(size=(vocab_size, vocab_size)))

    def __call__(self, ids: Ids) -> Tensor:
        return self.weight[checked_ids(ids[:, -1], len(self.weight), "Bigram")]


def loss_of_counts(weight: Tensor, table: Ids, decay: float = 0.0) -> tuple[Tensor, Tensor]:
    """The mean loss over all pairs, and the same with decay * mean(weight^2) added.

    A pair that occurs n times adds its loss n times: weighed by counts, 228,146 examples are a
    table of 27 x 27. The penalty pulls weights to 0, rows to uniform: it is smoothing.
    """
    data = -(log_softmax(weight) * (table / table.sum())).sum()
    return data, data + (weight * weight).mean() * decay


def learn(
    weight: Tensor, table: Ids, n_steps: int, rate: float = 50.0, decay: float = 0.0
) -> list[tuple[float, float]]:
    """Full-batch gradient descent in place; the loss of data and in all before each step."""
    losses: list[tuple[float, float]] = []
    for _ in range(n_steps):
        data, total = loss_of_counts(weight, table, decay)
        weight.grad = None
        total.backward()
        descend([weight], rate)
        losses.append((data.item(), total.item()))
    return losses
