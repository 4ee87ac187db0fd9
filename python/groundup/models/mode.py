"""Dropout off for a while, and every module back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode while entered; afterwards, also after an error, each module has its own mode back.

    Each its own: a caller may keep a part of a model in training in eval mode.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
