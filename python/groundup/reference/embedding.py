"""From ids to vectors: a row of a table, which is a matrix product that nobody needs to do.

A one-hot row times W is that row of W: every other term is a number times 0. So the lookup and the
product are one function, forward and backward, and the lookup is V times less work. NumPy.
Source: Bengio et al. 2003; Zero to Hero, "makemore part 2".
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]
Array = NDArray[np.floating]


def one_hot(ids: Ids, n_rows: int) -> NDArray[np.float64]:
    """(N, V), a 1 in each row at its id. Raises IndexError for ids outside [0, V).

    >>> one_hot(np.array([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    rows = np.zeros((len(_checked(ids, n_rows)), n_rows))
    rows[np.arange(len(ids)), ids] = 1.0
    return rows


def product(a: Array, b: Array) -> Array:
    """a (N, K) times b (K, C), every sum taken from its first term to its last.

    `a @ b` is the same sums in an order of the library's own: the same to rounding. O(N K C).
    """
    result = np.zeros((len(a), b.shape[1]))
    for k in range(len(b)):
        result += a[:, k, None] * b[k]
    return result


def lookup(ids: Ids, table: Array) -> Array:
    """Rows `ids` (N,) of `table` (V, C): one_hot(ids, V) @ table. O(N C)."""
    return table[_checked(ids, len(table))]


def lookup_backward(ids: Ids, gradient: Array, n_rows: int) -> Array:
    """The table's gradient (V, C) from that of the rows looked up (N, C): one_hot(ids, V).T @ it.

    A row that was looked up twice gets both gradients, added in their order; one that was not gets
    exactly 0, and stays where it was. To be indexed by the ids that went in: not by those that
    should come out.
    """
    result = np.zeros((n_rows, gradient.shape[1]))
    np.add.at(result, _checked(ids, n_rows), gradient)
    return result


def _checked(ids: Ids, n_rows: int) -> Ids:
    # NumPy would take -1 for the last row, and booleans for a mask.
    if np.asarray(ids).dtype.kind not in "iu":
        raise TypeError(f"ids: expected whole numbers, got {np.asarray(ids).dtype}")
    if ids.size and not 0 <= ids.min() <= ids.max() < n_rows:
        raise IndexError(f"ids: expected 0 to {n_rows - 1}, got {ids.min()} to {ids.max()}")
    return ids
