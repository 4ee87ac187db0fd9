"""Batches as a function of seed and number, so that a run resumes from its step alone."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.data.shards import Tokens


class Batches:
    """Random windows of `tokens`, each once per epoch, in an order fixed by `seed`.

    tokens      at least block_size + 1 of them
    batch_size  B
    block_size  T

    An epoch cuts the tokens into windows at a random offset and shuffles them; the windows of an
    epoch do not overlap, but for the target they share. A batch may span two epochs.
    Raises ValueError when there are too few tokens for one window.
    """

    def __init__(self, tokens: Tokens, batch_size: int, block_size: int, seed: int) -> None:
        if batch_size < 1 or block_size < 1:
            raise ValueError(
                f"batch_size and block_size: expected at least 1, got {batch_size}, {block_size}"
            )
        if len(tokens) < block_size + 1:
            raise ValueError(
                f"tokens: expected at least block_size + 1 = {block_size + 1}, got {len(tokens)}; "
                "prepare more text or shorten block_size"
            )
        self.tokens = tokens
        self.batch_size = batch_size
        self.block_size = block_size
        self.seed = seed
        # The offset may cost the last window: every epoch has the number that always fit.
        self.windows_per_epoch = max(1, (len(tokens) - 1) // block_size - 1)
        self._epoch = -1
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, T), int64, of batch `number` >= 0; targets are one token on."""
        first = number * self.batch_size
        rows = np.empty((self.batch_size, self.block_size + 1), np.int64)
        for row in range(self.batch_size):
            rows[row] = self._window(first + row)
        ids = torch.from_numpy(rows)
        return ids[:, :-1], ids[:, 1:]

    def _window(self, number: int) -> NDArray[np.int64]:
        epoch, place = divmod(number, self.windows_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._starts = epoch, self._shuffle(epoch)
        start = int(self._starts[place])
        return self.tokens.read(start, start + self.block_size + 1)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        # Keyed by the epoch, not drawn in turn: no epoch depends on those before it.
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        room = len(self.tokens) - 1 - self.windows_per_epoch * self.block_size
        offset = int(random.integers(min(room, self.block_size - 1) + 1))
        return offset + self.block_size * random.permutation(self.windows_per_epoch)


def even_windows(tokens: Tokens, block_size: int, n_windows: int | None) -> NDArray[np.int64]:
    """Starts (n,) of windows spread evenly over `tokens`: the same ones at every evaluation.

    None takes every window, side by side. Raises ValueError when there is not one.
    """
    n_all = (len(tokens) - 1) // block_size
    if n_all < 1:
        raise ValueError(
            f"tokens: expected at least block_size + 1 = {block_size + 1} for evaluation, got "
            f"{len(tokens)}; prepare more text or raise --validation-fraction"
        )
    n = n_all if n_windows is None else min(n_windows, n_all)
    return np.arange(n) * n_all // n * block_size


def windows_at(tokens: Tokens, starts: NDArray[np.int64], block_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (n, T), int64, of the windows at `starts` (n,)."""
    rows = np.stack([tokens.read(int(s), int(s) + block_size + 1) for s in starts])
    ids = torch.from_numpy(rows)
    return ids[:, :-1], ids[:, 1:]
