"""Bengio's network: an embedding of each of the last characters, a hidden layer, a guess.

And how it should start. Logits far apart say nothing and cost much: untrained, the loss should be
that of a uniform guess, ln V. A tanh far out is flat and lets no gradient through. BatchNorm keeps
both from going wrong later too. NumPy. Source: Bengio et al. 2003; Zero to Hero, parts 2 and 3.
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
from groundup.reference.tensor import Tensor

TANH_GAIN = 5 / 3
STARTS = ("naive", "calm logits", "calm")


class MLP(Module):
    """ids (B, block_size) to logits (B, vocab_size) through one hidden layer of tanh.

    start="naive"        weights and biases of variance 1: the lecture's first version
    start="calm logits"  the last weights by fan-in and a tenth of it, no last bias: the first loss
                         is near ln V, hidden units still saturate
    start="calm"         hidden weights by fan-in too: hidden units unsaturated
    batch_norm           between the hidden weights and tanh; the hidden bias, which it would take
                         off again, is left out
    """

    def __init__(
        self,
        vocab_size: int,
        rng: np.random.Generator,
        block_size: int = 3,
        n_features: int = 10,
        n_hidden: int = 200,
        start: str = "calm",
        batch_norm: bool = False,
    ) -> None:
        if start not in STARTS:
            raise ValueError(f"MLP: expected start to be one of {', '.join(STARTS)}; got {start!r}")
        self.block_size = block_size
        hidden = Linear(block_size * n_features, n_hidden, rng, not batch_norm, TANH_GAIN)
        last = Linear(n_hidden, vocab_size, rng)
        wide = {"naive": [hidden, last], "calm logits": [hidden], "calm": []}[start]
        for layer in wide:
            layer.weight.data *= np.sqrt(layer.weight.shape[0])
            if layer.bias is not None:
                layer.bias.data = rng.normal(size=layer.bias.shape)
        if hidden in wide:
            hidden.weight.data /= TANH_GAIN
        if last not in wide:
            last.weight.data *= 0.1
        self.net = Sequential(
            Embedding(vocab_size, n_features, rng),
            FlattenConsecutive(block_size),
            hidden,
            *([BatchNorm1d(n_hidden)] if batch_norm else []),
            Function(Tensor.tanh),
            last,
        )

    def __call__(self, ids: Ids) -> Tensor:
        return self.net(of_block(ids, self.block_size))


def of_block(ids: Ids, block_size: int) -> Ids:
    """Contexts (B, block_size) as they are: a multiple of it would be joined in separate groups."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.shape[1] != block_size:
        raise ValueError(f"ids: expected shape (B, block_size = {block_size}), got {ids.shape}")
    return ids


def of_any_length(ids: Ids) -> Ids:
    """Contexts (B, T) as they are, for networks that take any T of 1 or more."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.shape[1] < 1:
        raise ValueError(f"ids: expected shape (B, T) with T of 1 or more, got {ids.shape}")
    return ids


def saturation(activations: np.ndarray, edge: float = 0.97) -> float:
    """The share of tanh outputs so far out that their slope is below 6%: 1 - .97^2."""
    return float((np.abs(activations) > edge).mean())


def dead_units(activations: np.ndarray, edge: float = 0.99) -> int:
    """Units (columns of (B, H)) beyond the edge for every example: hardly a gradient passes."""
    return int((np.abs(activations) > edge).all(axis=0).sum())
