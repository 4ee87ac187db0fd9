"""A number that remembers how it was made, and so can say how anything depends on it.

Every operation notes two things: what it was made of, and by how much the result moves when one
of these moves, its slope. The chain rule is then one line: walk from the result back to the
inputs and multiply slopes along the way; where a number was used twice, add. Standard library
only. Source: Zero to Hero, "The spelled-out intro to neural networks and backpropagation".
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Protocol, TypeVar

Number = int | float


class Value:
    """A scalar with a gradient.

    `data` is the number. After `y.backward()`, `grad` is dy/dself: how much y grows per unit of
    this value. Operands are Values or plain numbers, on either side.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> y = a * b + a
    >>> y.backward()
    >>> y.data, a.grad, b.grad
    (-4.0, -2.0, 2.0)
    """

    __slots__ = ("data", "grad", "label", "op", "parents", "slopes")
    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to __radd__ and so on

    def __init__(
        self,
        data: Number,
        parents: Sequence["Value"] = (),
        slopes: Sequence[float] = (),
        op: str = "",
        label: str = "",
    ) -> None:
        if not isinstance(data, int | float | Real):
            raise TypeError(f"Value: expected a number, got {type(data).__name__} {data!r}")
        self.data = float(data)
        self.grad = 0.0
        self.parents = tuple(parents)
        self.slopes = tuple(slopes)  # dself/dparent, one each
        self.op = op
        self.label = label

    # What is computed, with its slopes

    def __add__(self, other: "Value | Number") -> "Value":
        other = as_value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other: "Value | Number") -> "Value":
        other = as_value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data), "*")

    def __pow__(self, exponent: "Value | Number") -> "Value":
        x, n = self.data, as_value(exponent).data
        out = _power(x, n)
        if not isinstance(exponent, Value):
            return Value(out, (self,), (_slope_of_power(x, n),), f"**{n:g}")
        # A number below 0 has no real power a little off a whole one: nan there, as in PyTorch.
        by_exponent = out * math.log(x) if x > 0 else 0.0 if x == 0 <= n else math.nan
        return Value(out, (self, exponent), (_slope_of_power(x, n), by_exponent), "**")

    def exp(self) -> "Value":
        """e to this. Raises OverflowError above 709.78, where a float ends."""
        try:
            out = math.exp(self.data)
        except OverflowError:
            raise OverflowError(
                f"exp: expected at most 709.78, where a float ends, got {self.data:g}; "
                "in a softmax, take the largest logit off first"
            ) from None
        return Value(out, (self,), (out,), "exp")

    def log(self) -> "Value":
        """The natural logarithm. Raises ValueError for what is not above 0."""
        if self.data <= 0:
            raise ValueError(f"log: expected a number above 0, got {self.data:g}")
        return Value(math.log(self.data), (self,), (1 / self.data,), "log")

    def tanh(self) -> "Value":
        """Squashed between -1 and 1. The slope is made of the output, not of the input."""
        out = math.tanh(self.data)  # (e^2x - 1) / (e^2x + 1) would overflow at 355
        return Value(out, (self,), (1 - out * out,), "tanh")

    def relu(self) -> "Value":
        """This where it is positive, 0 where not; the slope at 0 is 0, as in PyTorch.

        nan is neither, and stays nan: what went wrong before is still to be seen.
        """
        flat = self.data <= 0
        return Value(0.0 if flat else self.data, (self,), (0.0 if flat else 1.0,), "relu")

    # The rest of arithmetic, in these terms: no slope is worked out twice

    def __neg__(self) -> "Value":
        return self * -1

    def __sub__(self, other: "Value | Number") -> "Value":
        return self + -as_value(other)

    def __truediv__(self, other: "Value | Number") -> "Value":
        return self * as_value(other) ** -1

    # Python asks these when the left side is a plain number. sum(values) begins with 0 + values[0].

    def __radd__(self, other: Number) -> "Value":
        return as_value(other) + self

    def __rmul__(self, other: Number) -> "Value":
        return as_value(other) * self

    def __rsub__(self, other: Number) -> "Value":
        return as_value(other) - self

    def __rtruediv__(self, other: Number) -> "Value":
        return as_value(other) / self

    def __rpow__(self, base: Number) -> "Value":
        return as_value(base) ** self

    # The chain rule

    def backward(self) -> None:
        """Add dself/dv to the gradient of every leaf v that this was made of, in O(operations).

        Leaves are what nothing made: inputs and weights. Theirs add up over several calls, as in
        PyTorch, until somebody sets them to 0; those in between are worked out anew.
        """
        order = history(self)
        for value in order:
            if value.parents:
                value.grad = 0.0
        self.grad += 1.0
        for value in reversed(order):
            for parent, slope in zip(value.parents, value.slopes, strict=True):
                parent.grad += slope * value.grad

    def __repr__(self) -> str:
        return f"Value(data={self.data:g}, grad={self.grad:g})"


class Made(Protocol):
    """Anything that remembers what it was made of."""

    parents: tuple[Any, ...]


T = TypeVar("T", bound=Made)


def history(root: T) -> list[T]:
    """All that `root` was made of and itself at the end, each after its own parents.

    With a stack of its own: Python's ends at a depth of about a thousand.
    """
    order: list[T] = []
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, parents_are_done = stack.pop()
        if parents_are_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order


def as_value(number: Value | Number) -> Value:
    """A plain number as a leaf; a Value as it is."""
    return number if isinstance(number, Value) else Value(number)


def _power(base: float, exponent: float) -> float:
    """base ** exponent, where that is a real number within a float's range."""
    try:
        out = base**exponent
    except OverflowError:
        raise OverflowError(f"**: {base:g} ** {exponent:g} is beyond a float's range") from None
    except ZeroDivisionError:
        raise ZeroDivisionError(f"**: 0 cannot be raised to {exponent:g}, nor divided by") from None
    if isinstance(out, complex):
        raise ValueError(f"**: {base:g} ** {exponent:g} is no real number; its root is complex")
    return float(out)


def _slope_of_power(base: float, exponent: float) -> float:
    """How fast base ** exponent, a float, moves with its base."""
    if exponent == 0:
        return 0.0
    if base == 0 and exponent < 1:
        return math.inf  # a root rises vertically from 0
    try:
        return exponent * _power(base, exponent - 1)
    except OverflowError:  # the slope alone is beyond a float's range: infinite, of the right sign
        return exponent * _power(base, exponent) / base
