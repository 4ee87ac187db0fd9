"""Where a token stands: three ways to tell attention, which sees a set and no order.

A score is a query times a key. Without positions it depends on the two tokens alone, so a text
shuffled gives the same scores shuffled. Told the position, by adding a vector to each token, it
depends on both places. Told the distance, by a bias or by turning query and key, it depends on how
far apart they are, and means the same anywhere in a text. NumPy; T places, C or D features.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def scores(query: Array, key: Array) -> Array:
    """(T, T), entry (i, j) how much place i asks for what place j has: q·k / √D."""
    products: Array = query @ key.T
    return products / float(np.sqrt(query.shape[-1]))


# 1. Absolute: a vector for each place, added to the token's


def sinusoidal(n_places: int, n_features: int, base: float = 10_000.0) -> NDArray[np.float64]:
    """(T, C): a pair of sine and cosine for each frequency, like the hands of C/2 clocks.

    The first turns once in 2π places, the last almost base times slower. The product of two rows
    depends on their distance alone. n_features is even. Source: Vaswani et al. 2017.

    A learned table, as GPT-2 has it, is a lookup (embedding.py) of the numbers 0, 1, 2 …: it knows
    no place beyond its last row.
    """
    angles = np.arange(n_places)[:, None] * frequencies(n_features, base)
    table = np.empty((n_places, n_features))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


def frequencies(n_features: int, base: float = 10_000.0) -> NDArray[np.float64]:
    """(C/2,) in radians a place: 1, then falling by the same factor each, towards 1/base."""
    if n_features % 2:
        raise ValueError(f"n_features: expected an even number, got {n_features}")
    return base ** (-np.arange(0, n_features, 2) / n_features)


# 2. Relative: a number for each distance, added to the score


def relative_bias(by_distance: Array, n_places: int) -> Array:
    """(T, T) of by_distance[i - j] for key j behind query i; beyond the last, the last one's.

    by_distance  (K,), learned: what a key 0, 1, 2 … places back is worth. Keys ahead get nothing
                 from it (0): a causal mask hides them. Source: Shaw et al. 2018; T5.
    """
    back = np.arange(n_places)[:, None] - np.arange(n_places)
    return np.where(back >= 0, by_distance[np.clip(back, 0, len(by_distance) - 1)], 0.0)


# 3. Rotary: queries and keys turned by their places


def rotate(x: Array, first: int = 0, base: float = 10_000.0) -> Array:
    """x (T, D) with each pair of features turned by its frequency times the place.

    Turning both by the same angle leaves a product what it was, so q·k keeps only the difference of
    the two angles: the distance. Lengths stay, and there is nothing to learn. D is even; the pairs
    are neighbours (0, 1), (2, 3) …; the first row stands at place `first`. Source: Su et al. 2021
    (arXiv:2104.09864).
    """
    angles = (first + np.arange(len(x)))[:, None] * frequencies(x.shape[1], base)
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.empty(x.shape)
    turned[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
    turned[:, 1::2] = x[:, 0::2] * sin + x[:, 1::2] * cos
    return turned
