"""Loss on held-out tokens."""

import torch

from groundup.data.batches import even_windows, windows_at
from groundup.data.shards import Tokens
from groundup.models import GPT
from groundup.models.mode import evaluating


@torch.no_grad()
def validation_loss(
    model: GPT,
    tokens: Tokens,
    block_size: int,
    *,
    batch_size: int = 16,
    n_windows: int | None = None,
) -> float:
    """Mean cross-entropy in nats per token over windows spread evenly over `tokens`.

    The same windows every time; None takes all of them. Dropout is off meanwhile. Every window
    starts without context, so that its first tokens are the hardest. Raises ValueError for fewer
    than block_size + 1 tokens.
    """
    device = next(model.parameters()).device
    starts = even_windows(tokens, block_size, n_windows)
    total = 0.0
    with evaluating(model):
        for first in range(0, len(starts), batch_size):
            part = starts[first : first + batch_size]
            ids, targets = windows_at(tokens, part, block_size)
            total += model.loss(ids.to(device), targets.to(device)).item() * len(part)
    return total / len(starts)
