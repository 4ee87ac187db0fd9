"""Longer memories, joined step by step: characters to pairs, pairs to fours, fours to eights.

A flat network crushes all characters of the block in its first layer. A tree joins neighbours two
by two, as DeepMind's WaveNet does. WaveNet itself computes the tree for every position at once:
a convolution whose taps lie 1, 2, 4, 8 apart, with a gate that says how much passes, a residual
path, and a skip to the end. NumPy. Source: van den Oord et al. 2016; Zero to Hero, part 5.
"""

import numpy as np

from groundup.reference.layers import (
    BatchNorm1d,
    Embedding,
    FlattenConsecutive,
    Function,
    Ids,
    Linear,
    Module,
    Sequential,
)
from groundup.reference.makemore.mlp import of_any_length, of_block
from groundup.reference.tensor import Tensor, causal_convolution

TANH_GAIN = 5 / 3


class Tree(Module):
    """ids (B, block_size) to logits (B, V): `fan_in` neighbours joined in each of the layers.

    fan_in = (2, 2, 2) is the lecture's hierarchy for a block of 8; (8,) is the flat network.
    """

    def __init__(
        self,
        vocab_size: int,
        rng: np.random.Generator,
        fan_in: tuple[int, ...] = (2, 2, 2),
        n_features: int = 24,
        n_hidden: int = 128,
    ) -> None:
        self.block_size = int(np.prod(fan_in))
        layers: list[Module] = [Embedding(vocab_size, n_features, rng)]
        width = n_features
        for n in fan_in:
            layers += [
                FlattenConsecutive(n),
                Linear(n * width, n_hidden, rng, bias=False, gain=TANH_GAIN),
                BatchNorm1d(n_hidden),
                Function(Tensor.tanh),
            ]
            width = n_hidden
        last = Linear(n_hidden, vocab_size, rng)
        last.weight.data *= 0.1  # no opinion yet: the first loss is ln V
        self.net = Sequential(*layers, last)

    def __call__(self, ids: Ids) -> Tensor:
        return self.net(of_block(ids, self.block_size))


class BatchNormOfTheBug(BatchNorm1d):
    """The lecture's first version: statistics over the first axis only.

    On (B, T, C) each of the T places then has a mean of its own, from T times fewer numbers, and
    running statistics of shape (T, C). Nothing crashes.
    """

    def __call__(self, x: Tensor) -> Tensor:
        if x.data.ndim == 2:
            return super().__call__(x)
        B, T, C = x.shape
        self.widen(T * C)
        if self.training:
            mean, variance = x.data.mean(0).reshape(-1), x.data.var(0).reshape(-1) * B / (B - 1)
            self._follow(mean, variance)
            centered = x - x.mean(0, keepdims=True)
            scale = ((centered * centered).mean(0, keepdims=True) + self.eps) ** -0.5
            return centered * scale * self.weight + self.bias
        mean = self.running_mean.reshape(T, C).astype(x.data.dtype)
        scale_in_use = (self.running_variance + self.eps).reshape(T, C) ** -0.5
        return (x - mean) * scale_in_use.astype(x.data.dtype) * self.weight + self.bias

    def widen(self, n: int) -> None:
        """Running statistics for n features, T times as many as weights."""
        if len(self.running_mean) != n:
            self.running_mean, self.running_variance = np.zeros(n), np.ones(n)


class GatedBlock(Module):
    """tanh(filter) * sigmoid(gate), both dilated convolutions; added to the input, and a skip."""

    def __init__(self, n_channels: int, dilation: int, rng: np.random.Generator) -> None:
        self.dilation = dilation
        shape, spread = (2, n_channels, n_channels), (2 * n_channels) ** -0.5
        self.filter = Tensor(rng.normal(size=shape) * spread)
        self.gate = Tensor(rng.normal(size=shape) * spread)
        self.filter_bias = Tensor(np.zeros(n_channels))
        self.gate_bias = Tensor(np.zeros(n_channels))
        self.residual = Linear(n_channels, n_channels, rng)
        self.skip = Linear(n_channels, n_channels, rng)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, C) to the next block's input and the skip, both (B, T, C)."""
        filtered = causal_convolution(x, self.filter, self.dilation) + self.filter_bias
        gate = causal_convolution(x, self.gate, self.dilation) + self.gate_bias
        passed = filtered.tanh() * gate.sigmoid()
        return x + self.residual(passed), self.skip(passed)


class WaveNet(Module):
    """ids (B, block_size) to logits (B, V); dilations 1, 2, 4 ... see the whole block.

    `every_position` gives (B, T, V): what comes after each prefix, in one pass. That is the point
    of the convolution: the tree's inner results are shared between neighbouring positions.
    """

    def __init__(
        self,
        vocab_size: int,
        rng: np.random.Generator,
        block_size: int = 8,
        n_channels: int = 64,
    ) -> None:
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, n_channels, rng)
        n_blocks = max(1, (block_size - 1).bit_length())
        self.blocks = [GatedBlock(n_channels, 2**i, rng) for i in range(n_blocks)]
        self.hidden = Linear(n_channels, n_channels, rng)
        self.last = Linear(n_channels, vocab_size, rng)
        self.last.weight.data *= 0.1

    def every_position(self, ids: Ids) -> Tensor:
        x = self.embedding(of_any_length(ids))
        total: Tensor | None = None
        for block in self.blocks:
            x, skip = block.both(x)
            total = skip if total is None else total + skip
        assert total is not None
        return self.last(self.hidden(total.relu()).relu())

    def __call__(self, ids: Ids) -> Tensor:
        return self.every_position(ids)[:, -1]
