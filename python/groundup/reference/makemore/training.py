"""One loop for every model: batches, steps, the loss on held-out examples, new names.

A model is a Module with a `block_size` that takes ids (B, block_size) to logits (B, V).
NumPy only.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from groundup.reference.layers import Module
from groundup.reference.makemore.words import Ids, Vocabulary
from groundup.reference.tensor import Tensor, cross_entropy, softmax

Schedule = Callable[[int], float]  # step -> learning rate


class Steps(Protocol):
    """What changes parameters after a backward pass."""

    def __call__(self, parameters: list[Tensor], rate: float) -> None: ...


def descend(parameters: list[Tensor], rate: float) -> None:
    """Plain gradient descent, in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.data -= (rate * parameter.grad).astype(parameter.data.dtype)


def train(
    model: Module,
    contexts: Ids,
    targets: Ids,
    n_steps: int,
    batch_size: int,
    rate: Schedule,
    rng: np.random.Generator,
    step: Steps = descend,
) -> Iterator[float]:
    """Yields the batch's loss at each step, in nats; examples are drawn with replacement.

    A generator, so that whoever asks for the next loss may look at the model in between, plot,
    stop early, or save.
    """
    _check(contexts, targets, batch_size)
    model.train()
    parameters = model.parameters()
    for i in range(n_steps):
        chosen = rng.integers(0, len(targets), batch_size)
        loss = cross_entropy(model(contexts[chosen]), targets[chosen])
        model.zero_grad()
        loss.backward()
        step(parameters, rate(i))
        yield loss.item()


def evaluate(model: Module, contexts: Ids, targets: Ids, batch_size: int = 4096) -> float:
    """Mean loss in nats, in eval mode: with the statistics of training, one answer per example."""
    _check(contexts, targets, batch_size)
    total = 0.0
    with model.in_use():
        for first in range(0, len(targets), batch_size):
            part = slice(first, first + batch_size)
            loss = cross_entropy(model(contexts[part]), targets[part]).item()
            total += loss * len(targets[part])
    return total / len(targets)


def _check(contexts: Ids, targets: Ids, batch_size: int) -> None:
    if not 0 < len(contexts) == len(targets) or batch_size < 1:
        raise ValueError(
            "examples: expected at least one, as many contexts as targets, and batches of 1 or "
            f"more, got {len(contexts)} contexts, {len(targets)} targets, batch_size {batch_size}"
        )


def sample(
    model: Module,
    vocabulary: Vocabulary,
    block_size: int,
    rng: np.random.Generator,
    max_length: int = 100,
) -> str:
    """A new name: characters drawn one by one until the edge is drawn."""
    context, name = [0] * block_size, []
    with model.in_use():
        for _ in range(max_length):
            p = softmax(model(np.array([context]))).data[0]
            i = int(rng.choice(len(vocabulary), p=p / p.sum()))
            if i == 0:
                break
            name.append(i)
            context = [*context[1:], i]
    return vocabulary.decode(name)


def mean_by(losses: list[float], n: int = 1000) -> list[float]:
    """Means of n losses in a row: single batches are too noisy to see a trend in."""
    return [float(np.mean(losses[i : i + n])) for i in range(0, len(losses), n)]
