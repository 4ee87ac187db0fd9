"""Is a gradient right? Nudge each input, see how far the result moves, compare.

The slope between x - h and x + h is off by about h^2 where the function bends, and by about
1e-16 / h because floats end: h = 1e-5 leaves some ten digits.
"""

from collections.abc import Callable, Sequence

from groundup.reference.micrograd.engine import Value


def numerical_gradient(
    function: Callable[..., Value], x: Sequence[float], h: float = 1e-5
) -> list[float]:
    """How fast function(*x) moves with each of x, from its values alone.

    >>> [round(g, 6) for g in numerical_gradient(lambda a, b: a * a * b, [3.0, 2.0])]
    [12.0, 9.0]
    """
    slopes = []
    for i in range(len(x)):
        below, above = ([*x[:i], x[i] + step, *x[i + 1 :]] for step in (-h, h))
        rise = function(*map(Value, above)).data - function(*map(Value, below)).data
        slopes.append(rise / (2 * h))
    return slopes


def gradient(function: Callable[..., Value], x: Sequence[float]) -> list[float]:
    """The same by the chain rule."""
    leaves = [Value(xi) for xi in x]
    function(*leaves).backward()
    return [leaf.grad for leaf in leaves]


def largest_difference(
    function: Callable[..., Value], x: Sequence[float], h: float = 1e-5
) -> float:
    """max |chain rule - nudging| over the inputs, relative where a slope is above 1."""
    pairs = zip(gradient(function, x), numerical_gradient(function, x, h), strict=True)
    return max((abs(a - b) / max(1.0, abs(a)) for a, b in pairs), default=0.0)
