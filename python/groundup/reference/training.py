"""Batches of a long text, steps of AdamW, the loss on what was held out: for gpt.py and its kin.

makemore/training.py guesses one letter after each context; here every position is an example.
NumPy only. Source: Zero to Hero, "Let's build GPT".
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from groundup.reference.adamw import AdamW
from groundup.reference.layers import Ids, Module
from groundup.reference.tensor import Tensor


def batches(
    ids: Ids, block_size: int, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Ids, Ids]]:
    """Pieces of a long text, from anywhere, for ever: ids (B, T) and what follows each of them."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"text: expected whole numbers as ids, got {ids.dtype}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if len(ids) <= block_size:
        raise ValueError(f"text: expected more than block_size = {block_size} ids, got {len(ids)}")
    while True:
        first = rng.integers(0, len(ids) - block_size, (batch_size, 1))
        window = ids[first + np.arange(block_size + 1)].astype(np.int64)
        yield window[:, :-1], window[:, 1:]


def windows(ids: Ids, block_size: int) -> tuple[Ids, Ids]:
    """A whole text once, cut every block_size ids: (N, T) and what follows each; a rest is left."""
    n = (len(ids) - 1) // block_size * block_size
    return ids[:n].reshape(-1, block_size), ids[1 : n + 1].reshape(-1, block_size)


class Learner(Protocol):
    """A module with a loss of whatever its batches hold."""

    @property
    def loss(self) -> Callable[..., Tensor]: ...
    def parameters(self) -> list[Tensor]: ...
    def zero_grad(self) -> None: ...
    def train(self, training: bool = True) -> Module: ...
    def in_use(self) -> AbstractContextManager[None]: ...


def train(
    model: Learner, batches: Iterator[tuple[Ids, ...]], n_steps: int, lr: float
) -> Iterator[float]:
    """Yields the batch's loss at each of n_steps steps of AdamW; model.loss takes a batch's parts.

    A generator: whoever asks for the next loss may look at the model in between.
    """
    model.train()
    optimizer = AdamW(model.parameters())
    for _ in range(n_steps):
        loss = model.loss(*next(batches))
        model.zero_grad()
        loss.backward()
        optimizer.step(lr)
        yield loss.item()


def evaluate(model: Learner, *parts: Ids, batch_size: int = 512) -> float:
    """Mean loss in nats over all rows of `parts`, in eval mode: nothing is left to chance."""
    n = len(parts[0])
    if n < 1 or batch_size < 1:
        raise ValueError(
            f"evaluate: expected rows and a batch_size of 1 or more, got {n} rows and {batch_size}"
        )
    total = 0.0
    with model.in_use():
        for first in range(0, n, batch_size):
            rows = [part[first : first + batch_size] for part in parts]
            total += model.loss(*rows).item() * len(rows[0])
    return total / n
