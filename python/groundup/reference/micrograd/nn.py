"""Neurons out of Values: a weighted sum, a bias, a squashing. Layers of them, and layers on layers.

Weights and biases start uniform in [-1, 1]. Standard library only. Source: Zero to Hero, lecture 1.
"""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from groundup.reference.micrograd.engine import Number, Value

Activation = Callable[[Value], Value]


class Module:
    """Something with parameters."""

    def parameters(self) -> list[Value]:
        """Every weight and bias, always in the same order."""
        return []

    def zero_grad(self) -> None:
        """Forget the gradients: backward adds to what it finds."""
        for parameter in self.parameters():
            parameter.grad = 0.0


class Neuron(Module):
    """activation(w . x + b) of n_inputs numbers; with None the sum stays as it is."""

    def __init__(
        self,
        n_inputs: int,
        activation: Activation | None = Value.tanh,
        rng: random.Random | None = None,
    ) -> None:
        draw = (rng or random).uniform
        self.weights = [Value(draw(-1, 1)) for _ in range(n_inputs)]
        self.bias = Value(draw(-1, 1))
        self.activation = activation

    def __call__(self, x: Sequence[Value | Number]) -> Value:
        if len(x) != len(self.weights):
            raise ValueError(f"Neuron: expected {len(self.weights)} inputs, got {len(x)}")
        out = sum((w * xi for w, xi in zip(self.weights, x, strict=True)), self.bias)
        return out if self.activation is None else self.activation(out)

    def parameters(self) -> list[Value]:
        return [*self.weights, self.bias]


class Layer(Module):
    """Neurons side by side: n_inputs numbers to a list of n_outputs."""

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        activation: Activation | None = Value.tanh,
        rng: random.Random | None = None,
    ) -> None:
        self.neurons = [Neuron(n_inputs, activation, rng) for _ in range(n_outputs)]

    def __call__(self, x: Sequence[Value | Number]) -> list[Value]:
        return [neuron(x) for neuron in self.neurons]

    def parameters(self) -> list[Value]:
        return [p for neuron in self.neurons for p in neuron.parameters()]


class MLP(Module):
    """Layers one after the other, sizes[i] neurons in layer i; a seed fixes the weights.

    A last layer of one neuron gives its Value and not a list of one, so that a loss can subtract
    it.

    >>> len(MLP(3, [4, 4, 1]).parameters())
    41
    """

    def __init__(
        self,
        n_inputs: int,
        sizes: Sequence[int],
        activation: Activation | None = Value.tanh,
        seed: int | None = None,
    ) -> None:
        if not sizes:
            raise ValueError("MLP: expected at least one layer, got sizes = []")
        rng = random.Random(seed)
        self.layers = [
            Layer(n_in, n_out, activation, rng) for n_in, n_out in pairwise([n_inputs, *sizes])
        ]

    def __call__(self, x: Sequence[Value | Number]) -> Value | list[Value]:
        first, *others = self.layers
        out = first(x)
        for layer in others:
            out = layer(out)
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for p in layer.parameters()]
