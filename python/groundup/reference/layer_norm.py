"""Layer normalization: each row brought to mean 0 and variance 1, then scaled and shifted.

The backward pass by hand: the mean and the variance are made of the row itself, so moving one
element moves all others a little. What is left of a gradient is its part that neither shifts the
row (its mean is taken off) nor stretches it (its projection on the normalized row is taken off).
NumPy, in the arrays' precision. Source: Ba, Kiros and Hinton 2016. On paper: docs/layer_norm.md.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def normalized(x: Array, eps: float = 1e-5) -> tuple[Array, Array]:
    """Rows (N, C) with mean 0 and variance 1, and 1 / sqrt(variance + eps), (N, 1).

    >>> normalized(np.array([[1.0, 3.0]]), eps=0.0)
    (array([[-1.,  1.]]), array([[1.]]))
    """
    centered = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centered).mean(axis=1, keepdims=True) + eps)
    return centered * scale, scale


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """x (N, C) normalized along C, times weight (C,), plus bias (C,)."""
    y, _ = normalized(x, eps)
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def layer_norm_backward(
    dy: Array, x: Array, weight: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients of x (N, C), weight (C,) and bias (C,) from that of the output, dy (N, C)."""
    normal, scale = normalized(x, eps)
    g = dy if weight is None else dy * weight
    shift = g.mean(axis=1, keepdims=True)
    stretch = normal * (g * normal).mean(axis=1, keepdims=True)
    return (g - shift - stretch) * scale, (dy * normal).sum(axis=0), dy.sum(axis=0)
