"""From scalars to arrays: the same autograd, on NumPy.

Everything is as in micrograd: a result remembers what it was made of, and the walk back multiplies
and adds. Two things are new. A slope from one array to another would be a huge table, so each
operation keeps instead, for each parent, the function that takes the result's gradient back to the
parent's: its pull. And arrays broadcast: an element that was read by many results moves them all,
so its gradient is the sum of theirs. NumPy only. Source: Zero to Hero, lectures 1 to 7.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.reference.micrograd.engine import history

Array = NDArray[np.floating]
Ids = NDArray[np.integer]
Pull = Callable[[Array], ArrayLike]
Axis = int | tuple[int, ...] | None


class Tensor:
    """An array of floats with a gradient of its shape.

    `grad` is None until a `backward` reaches the tensor, and adds up over several. Arrays and
    numbers in an expression are constants: they get none. Integers become float64.

    >>> x = Tensor([1.0, 2.0, 3.0])
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __array_ufunc__ = None  # an array on the left leaves the operation to __radd__ and so on

    def __init__(
        self,
        data: ArrayLike,
        parents: Sequence["Tensor"] = (),
        pulls: Sequence[Pull] = (),
        requires_grad: bool = True,
    ) -> None:
        array = np.asarray(data)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: expected numbers, got {array.dtype} from {data!r:.80}")
        self.data: Array = array if array.dtype.kind == "f" else array.astype(np.float64)
        self.grad: Array | None = None
        self.requires_grad: bool = requires_grad
        if parents:
            self.requires_grad = any(parent.requires_grad for parent in parents)
        # What needs no gradient needs no history.
        self.parents = tuple(parents) if self.requires_grad else ()
        self.pulls = tuple(pulls) if self.requires_grad else ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data})"

    def item(self) -> float:
        """The number of a tensor that holds one."""
        return float(self.data.item())

    def backward(self) -> None:
        """Add dself/dt to the gradient of every leaf t below this tensor, which holds one number.

        Gradients of what lies between are worked out anew each time, and kept for the curious.
        Operations keep their operands and no copies: change `data` in place after the walk, not
        between an expression and its walk, or the slopes are those of the changed numbers.
        """
        if self.data.size != 1:
            raise ValueError(
                f"backward: expected a tensor of one number, got shape {self.shape}; "
                "take the .sum() or .mean() first"
            )
        order = history(self)
        for tensor in order:
            if tensor.parents:
                tensor.grad = None
        self._receive(np.ones_like(self.data))
        for tensor in reversed(order):
            if tensor.grad is None:
                continue
            for parent, pull in zip(tensor.parents, tensor.pulls, strict=True):
                if parent.requires_grad:
                    parent._receive(np.asarray(pull(tensor.grad)))

    def _receive(self, gradient: Array) -> None:
        gradient = unbroadcast(gradient, self.shape)
        self.grad = gradient.copy() if self.grad is None else self.grad + gradient

    def _operand(self, other: "Tensor | ArrayLike") -> "Tensor":
        """A plain number takes this tensor's dtype: float32 times 2.0 stays float32."""
        operand = as_tensor(other)
        if np.isscalar(other):
            operand.data = operand.data.astype(self.data.dtype)
        return operand

    # Arithmetic: micrograd's slopes, element by element

    def __add__(self, other: "Tensor | ArrayLike") -> "Tensor":
        other = self._operand(other)
        return Tensor(self.data + other.data, (self, other), (lambda g: g, lambda g: g))

    def __mul__(self, other: "Tensor | ArrayLike") -> "Tensor":
        a, b = self, self._operand(other)
        return Tensor(a.data * b.data, (a, b), (lambda g: g * b.data, lambda g: g * a.data))

    def __pow__(self, exponent: "float | Tensor") -> "Tensor":
        if not isinstance(exponent, int | float | np.number):
            raise TypeError(
                f"**: expected a number as exponent, got {type(exponent).__name__}; a ** b is "
                "(b * a.log()).exp()"
            )
        x, n = self.data, exponent
        lower = n - 1 if n else 0  # x**0 is flat, also at 0, where x**-1 is infinite
        return Tensor(x**n, (self,), (lambda g: g * n * x**lower,))

    def __matmul__(self, other: "Tensor | ArrayLike") -> "Tensor":
        """(..., n, k) @ (..., k, m), the leading sizes broadcast.

        out[i, j] moves by b[k, j] per unit of a[i, k]: summed over j that is g @ b transposed.
        """
        a, b = self, self._operand(other)
        if min(a.data.ndim, b.data.ndim) < 2:
            raise ValueError(
                f"@: expected two matrices, got shapes {a.shape} and {b.shape}; "
                "make a vector a row by .reshape(1, -1)"
            )
        pulls = (
            lambda g: g @ np.swapaxes(b.data, -1, -2),
            lambda g: np.swapaxes(a.data, -1, -2) @ g,
        )
        return Tensor(a.data @ b.data, (a, b), pulls)

    def __neg__(self) -> "Tensor":
        return self * -1.0

    def __sub__(self, other: "Tensor | ArrayLike") -> "Tensor":
        return self + -self._operand(other)

    def __truediv__(self, other: "Tensor | ArrayLike") -> "Tensor":
        return self * self._operand(other) ** -1.0

    def __radd__(self, other: ArrayLike) -> "Tensor":
        return self._operand(other) + self

    def __rmul__(self, other: ArrayLike) -> "Tensor":
        return self._operand(other) * self

    def __rsub__(self, other: ArrayLike) -> "Tensor":
        return self._operand(other) - self

    def __rtruediv__(self, other: ArrayLike) -> "Tensor":
        return self._operand(other) / self

    def __rmatmul__(self, other: ArrayLike) -> "Tensor":
        return self._operand(other) @ self

    # Functions of one element

    def exp(self) -> "Tensor":
        out = np.exp(self.data)
        return Tensor(out, (self,), (lambda g: g * out,))

    def log(self) -> "Tensor":
        return Tensor(np.log(self.data), (self,), (lambda g: g / self.data,))

    def tanh(self) -> "Tensor":
        out = np.tanh(self.data)
        return Tensor(out, (self,), (lambda g: g * (1 - out * out),))

    def sigmoid(self) -> "Tensor":
        """1 / (1 + e^-x), by way of tanh, which does not overflow."""
        return (self * 0.5).tanh() * 0.5 + 0.5

    def relu(self) -> "Tensor":
        """Where it is positive, itself; nan stays nan. A product with 0 would make nan of inf."""
        flat = self.data <= 0
        out = np.where(flat, 0.0, self.data)
        return Tensor(out, (self,), (lambda g: np.where(flat, 0.0, g),))

    def gelu(self) -> "Tensor":
        """GPT-2's soft switch: x times about the share of a standard normal below x."""
        cube = self * self * self  # NumPy's powers take many times as long
        inner = (self + cube * 0.044715) * math.sqrt(2 / math.pi)
        return self * (inner.tanh() + 1.0) * 0.5

    # Sums, shapes, pieces

    def sum(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        """Every element moves its sum one for one: the gradient is spread over the axes again."""

        def pull(g: Array) -> Array:
            if axis is not None and not keepdims:
                g = np.expand_dims(g, axis)
            return np.broadcast_to(g, self.shape)

        return Tensor(self.data.sum(axis=axis, keepdims=keepdims), (self,), (pull,))

    def mean(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        if not self.data.size:
            raise ValueError(f"mean: expected at least one number, got shape {self.shape}")
        total = self.sum(axis, keepdims)
        return total * (total.data.size / self.data.size)

    def reshape(self, *shape: int) -> "Tensor":
        return Tensor(self.data.reshape(shape), (self,), (lambda g: g.reshape(self.shape),))

    def transpose(self, axis1: int = -1, axis2: int = -2) -> "Tensor":
        """Two axes exchanged, by default the last ones."""
        out = np.swapaxes(self.data, axis1, axis2)
        return Tensor(out, (self,), (lambda g: np.swapaxes(g, axis1, axis2),))

    def __getitem__(self, index: Any) -> "Tensor":
        """Any of NumPy's indices; a table of rows by an array of ids is an embedding.

        A row that was read twice gets both gradients: add.at, because += would keep one.
        """

        def pull(g: Array) -> Array:
            out = np.zeros_like(self.data)
            np.add.at(out, index, g)
            return out

        return Tensor(self.data[index], (self,), (pull,))


def as_tensor(x: Tensor | ArrayLike) -> Tensor:
    """Numbers and arrays as constants; a Tensor as it is."""
    return x if isinstance(x, Tensor) else Tensor(x, requires_grad=False)


def checked_ids(ids: ArrayLike, n: int, name: str) -> Ids:
    """Ids as an array, each in [0, n). NumPy would take -1 for the last, and true for a mask."""
    array = np.asarray(ids)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected whole numbers as ids, got {array.dtype}")
    if array.size and not 0 <= array.min() <= array.max() < n:
        raise IndexError(f"{name}: expected ids in [0, {n}), got {array.min()} to {array.max()}")
    return array


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """`gradient` summed over the axes along which an array of `shape` was repeated.

    >>> unbroadcast(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    """
    added = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(added)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return np.asarray(gradient.sum(axis=stretched, keepdims=True))


# What networks are made of, in terms of the above


def concat(parts: Sequence[Tensor | ArrayLike], axis: int = -1) -> Tensor:
    """Tensors side by side along an axis; each takes its part of the gradient."""
    tensors = [as_tensor(part) for part in parts]
    ends = np.cumsum([t.shape[axis] for t in tensors])
    pulls = [lambda g, i=i: np.split(g, ends[:-1], axis)[i] for i in range(len(tensors))]
    return Tensor(np.concatenate([t.data for t in tensors], axis), tensors, pulls)


def peak(x: Tensor, axis: int) -> Array:
    """The largest along an axis, as a constant: what is taken off everywhere moves nothing."""
    return np.asarray(x.data.max(axis=axis, keepdims=True))


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Positive, with sum 1 along an axis. The largest is taken off first: e^1000 is no float."""
    powers = (x - peak(x, axis)).exp()
    return powers / powers.sum(axis, keepdims=True)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log(softmax(x)) without the logarithm of a probability that rounded to 0."""
    shifted = x - peak(x, axis)
    return shifted - shifted.exp().sum(axis, keepdims=True).log()


def cross_entropy(logits: Tensor, targets: Ids) -> Tensor:
    """Mean surprise of `targets` (N,) under softmax(logits), logits (N, V), in nats."""
    if logits.data.ndim != 2 or np.shape(targets) != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy: expected logits (N, V) and targets (N,), got {logits.shape} and "
            f"{np.shape(targets)}; make them so by .reshape(-1, V) and .reshape(-1)"
        )
    n, V = logits.shape
    return -log_softmax(logits)[np.arange(n), checked_ids(targets, V, "targets")].mean()


def masked(x: Tensor, mask: NDArray[np.bool_], value: float) -> Tensor:
    """x with `value` where the mask is true; what was replaced gets no gradient."""
    out = np.where(mask, np.asarray(value, x.data.dtype), x.data)
    return Tensor(out, (x,), (lambda g: np.where(mask, 0.0, g),))


def normalize(x: Tensor, axis: Axis, eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 along the axes: the core of layer norm (-1) and batch norm (0)."""
    centered = x - x.mean(axis, keepdims=True)
    variance = (centered * centered).mean(axis, keepdims=True)
    return centered * (variance + eps) ** -0.5


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Each vector along the last axis normalized by itself, then gain and bias (C,)."""
    return normalize(x, -1, eps) * gain + bias


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Each feature (..., C) normalized over all examples, then gain and bias (C,)."""
    return normalize(x, tuple(range(x.data.ndim - 1)), eps) * gain + bias


def dropout(x: Tensor, p: float, rng: np.random.Generator) -> Tensor:
    """Each element 0 with probability p, else 1 / (1 - p) of itself: the mean stays."""
    if not 0 <= p < 1:
        raise ValueError(f"dropout: expected 0 <= p < 1, got {p}")
    return x * ((rng.random(x.shape) >= p) / (1 - p)).astype(x.data.dtype)


def causal_convolution(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """x (B, T, C_in) to (B, T, C_out): each place sees itself and those `dilation` apart before it.

    weight (K, C_in, C_out); its last slice meets the place itself. Before the text stand zeros.
    """
    B, T, C = x.shape
    reach = (len(weight) - 1) * dilation
    padded = concat([as_tensor(np.zeros((B, reach, C), x.data.dtype)), x], axis=1)
    taps = [padded[:, k * dilation : k * dilation + T] @ weight[k] for k in range(len(weight))]
    return sum(taps[1:], taps[0])
