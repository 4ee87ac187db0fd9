"""gelu: a number times the probability that a standard normal lies below it.

Far above zero that is the number, far below it is nothing, and in between a soft switch. The exact
form needs the error function; GPT-2 was trained with an approximation through tanh. Standard
library and NumPy. Source: Hendrycks and Gimpel 2016. On paper: docs/gelu.md.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

_ROOT = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def cdf(x: Array) -> Array:
    """The share of a standard normal below x. erfc keeps the digits of a small one; 1 + erf not.

    >>> cdf(np.array([0.0, -10.0]))
    array([5.00000000e-01, 7.61985302e-24])
    """
    return np.asarray(_erfc(x / -math.sqrt(2)) / 2)


def gelu(x: Array, approximate: str = "none") -> Array:
    """x * cdf(x), or GPT-2's x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3))) / 2."""
    if approximate == "none":
        return np.asarray(x * cdf(x))
    return np.asarray(x * (1 + np.tanh(_ROOT * (x + _CUBIC * x**3))) / 2)


def gelu_backward(dy: Array, x: Array, approximate: str = "none") -> Array:
    """The gradient of x from that of the output, by the product rule."""
    if approximate == "none":
        density = np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)
        return np.asarray(dy * (cdf(x) + x * density))
    t = np.tanh(_ROOT * (x + _CUBIC * x**3))
    slope = _ROOT * (1 + 3 * _CUBIC * x**2)
    return np.asarray(dy * ((1 + t) / 2 + x * (1 - t * t) * slope / 2))
