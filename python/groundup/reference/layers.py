"""Layers on tensor.py: a few numbers to learn, and how they meet the input. PyTorch's names.

Weights are drawn from the generator that each layer is given, in the order of construction, so a
seed fixes a model. NumPy only. Source: Zero to Hero, "makemore" parts 3 to 5.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from groundup.reference import tensor
from groundup.reference.tensor import Ids as Ids
from groundup.reference.tensor import Tensor, checked_ids


class Module:
    """Something with parameters and parts that may have some too: its attributes.

    Lists, tuples and dicts of them count; `results` names those that a call leaves behind, which
    are no parts.
    `training` tells apart what a layer does while it learns and when it is used.
    """

    training: bool = True
    results: tuple[str, ...] = ()

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        raise NotImplementedError

    def modules(self) -> Iterator["Module"]:
        """This and all parts of it, in the order of construction."""
        yield self
        for _, part in self._parts():
            if isinstance(part, Module):
                yield from part.modules()

    def named_parameters(self, prefix: str = "") -> dict[str, Tensor]:
        """Everything to learn, under the names of the attributes that lead to it.

        Raises ValueError where keys of dicts make two of one name, since one would be lost.

        >>> list(Sequential(Linear(1, 1, np.random.default_rng())).named_parameters())
        ['layers.0.weight', 'layers.0.bias']
        """
        found: dict[str, Tensor] = {}
        for path, part in self._parts(prefix):
            of_part: dict[str, Tensor] = {}
            if isinstance(part, Tensor):
                of_part = {path: part}
            elif isinstance(part, Module):
                of_part = part.named_parameters(path + ".")
            if twice := found.keys() & of_part.keys():
                raise ValueError(
                    f"{type(self).__name__}: expected a name for each parameter, got "
                    f"{min(twice)!r} twice; choose other keys"
                )
            found |= of_part
        return found

    def _parts(self, prefix: str = "") -> Iterator[tuple[str, object]]:
        for name, part in vars(self).items():
            if name not in self.results:
                yield from enumerate_parts(prefix + name, part)

    def parameters(self) -> list[Tensor]:
        """Everything to learn, each once however often it is used."""
        return list({id(t): t for t in self.named_parameters().values()}.values())

    def n_parameters(self) -> int:
        return sum(p.data.size for p in self.parameters())

    def zero_grad(self) -> None:
        """Forget the gradients: backward adds to what it finds."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, training: bool = True) -> "Module":
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> "Module":
        return self.train(False)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Eval mode inside a `with` block, and afterwards each part's mode of before, whatever
        happened: a part that was frozen stays so."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def to(self, dtype: DTypeLike) -> "Module":
        """Every parameter in another precision; float32 takes half the time of float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype)
        return self


def enumerate_parts(name: str, part: object) -> Iterator[tuple[str, object]]:
    """An attribute with its name; what a list, tuple or dict holds with its number or key."""
    if isinstance(part, list | tuple):
        part = dict(enumerate(part))
    if isinstance(part, dict):
        for key, one in part.items():
            yield from enumerate_parts(f"{name}.{key}", one)
    else:
        yield name, part


class Linear(Module):
    """x @ weight + bias; weight (n_in, n_out).

    A sum of n_in terms of variance 1 has variance n_in: weights are drawn with 1 / sqrt(n_in), so
    that the output is as wide as the input. `gain` makes up for a squashing that follows: 5/3 for
    tanh, sqrt(2) for relu (He et al. 2015).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        rng: np.random.Generator,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        self.weight = Tensor(rng.normal(size=(n_in, n_out)) * gain / math.sqrt(n_in))
        self.bias = Tensor(np.zeros(n_out)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        out = x @ self.weight
        return out if self.bias is None else out + self.bias


class Embedding(Module):
    """Row ids of a table: ids of any shape to that shape and n_features more."""

    def __init__(self, n_rows: int, n_features: int, rng: np.random.Generator) -> None:
        self.weight = Tensor(rng.normal(size=(n_rows, n_features)))

    def __call__(self, ids: Ids) -> Tensor:
        return self.weight[checked_ids(ids, len(self.weight), "Embedding")]


def _check_features(x: Tensor, weight: Tensor, name: str) -> None:
    """One feature alone would be stretched over all weights without a word."""
    if x.shape[-1:] != weight.shape:
        raise ValueError(f"{name}: expected shape (..., {len(weight)}), got {x.shape}")


class BatchNorm1d(Module):
    """Each feature of (..., C) brought to mean 0 and variance 1 over all examples, then scaled.

    While training, the batch's own statistics are used, and running ones follow them: a share of
    `momentum` each step. In eval mode the running ones are used, so that an answer does not depend
    on who else is in the batch, and a batch of one has one. As in PyTorch the variance inside is
    the biased one (divided by n) and the running one unbiased (by n - 1); eps is under the root.
    """

    def __init__(self, n_features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.weight = Tensor(np.ones(n_features))
        self.bias = Tensor(np.zeros(n_features))
        self.momentum, self.eps = momentum, eps
        self.running_mean = np.zeros(n_features)
        self.running_variance = np.ones(n_features)

    def __call__(self, x: Tensor) -> Tensor:
        _check_features(x, self.weight, "BatchNorm1d")
        if not self.training:
            scale = 1 / np.sqrt(self.running_variance + self.eps)
            centered = x - self.running_mean.astype(x.data.dtype)
            return centered * scale.astype(x.data.dtype) * self.weight + self.bias
        axes = tuple(range(x.data.ndim - 1))
        n = x.data.size // x.shape[-1]
        if n < 2:
            raise ValueError(
                "BatchNorm1d: expected at least two examples while training, got one, "
                "whose variance is 0; call .eval() to use a trained model"
            )
        self._follow(x.data.mean(axes), x.data.var(axes) * n / (n - 1))
        return tensor.batch_norm(x, self.weight, self.bias, self.eps)

    def _follow(self, mean: NDArray[np.floating], variance: NDArray[np.floating]) -> None:
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_variance = (
            1 - self.momentum
        ) * self.running_variance + self.momentum * variance


class LayerNorm(Module):
    """Each vector of (..., C) normalized by itself: the same in training and use."""

    def __init__(self, n_features: int, eps: float = 1e-5) -> None:
        self.weight = Tensor(np.ones(n_features))
        self.bias = Tensor(np.zeros(n_features))
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        _check_features(x, self.weight, "LayerNorm")
        return tensor.layer_norm(x, self.weight, self.bias, self.eps)


class Dropout(Module):
    """Elements set to 0 with probability p while training; nothing in eval mode."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        self.p, self.rng = p, rng

    def __call__(self, x: Tensor) -> Tensor:
        return tensor.dropout(x, self.p, self.rng) if self.training and self.p else x


class FlattenConsecutive(Module):
    """(B, T, C) to (B, T / n, n C): n neighbours side by side; one place left is dropped."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        if T % self.n:
            raise ValueError(
                f"FlattenConsecutive: expected a length divisible by {self.n}, got {T}"
            )
        return x.reshape(B, C * T) if self.n == T else x.reshape(B, T // self.n, C * self.n)


class Function(Module):
    """A function without parameters as a layer: Function(Tensor.tanh)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)


class Sequential(Module):
    """Layers one after the other. `outputs` keeps what each gave, for those who look inside."""

    results = ("outputs",)

    def __init__(self, *layers: Module) -> None:
        self.layers = list(layers)
        self.outputs: list[Tensor] = []

    def __call__(self, x: Any) -> Tensor:
        self.outputs = []
        for layer in self.layers:
            x = layer(x)
            self.outputs.append(x)
        out: Tensor = x
        return out
