"""A linear layer: every output is a weighted sum of all inputs, plus a bias.

Almost all of a transformer's arithmetic is this. Its backward is two more products of the same
size: a gradient flows back through the transposed weights, and a weight's own gradient sums what
came in times what flows back, over all rows. NumPy. On paper: docs/linear.md.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x (N, in) times weight (out, in) transposed, plus bias (out,): (N, out).

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([0.0, 5.0]))
    array([[11.,  7.]])
    """
    y = x @ weight.T
    return np.asarray(y if bias is None else y + bias)


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of x, weight and bias from that of the output, (N, out).

    dx[n, i] = sum over o of dy[n, o] weight[o, i];  dweight[o, i] = sum over n of dy[n, o] x[n, i];
    dbias[o] = sum over n of dy[n, o].
    """
    return dy @ weight, dy.T @ x, np.asarray(dy.sum(axis=0))
