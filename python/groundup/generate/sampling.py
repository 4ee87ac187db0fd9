"""Choosing the next token from its logits."""

import torch
from torch import Tensor


def next_ids(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one id per row: logits (B, V) to ids (B, 1), int64.

    temperature  > 0 divides the logits; 0 (below 1e-30) takes the likeliest token (the first,
                 on a tie)
    top_k        only the k likeliest tokens, and those that tie with the k-th
    top_p        in (0, 1]: only the fewest tokens whose probability reaches p, at least one;
                 it applies after top_k, as in transformers
    generator    on the logits' device; None is torch's global one
    Raises ValueError for settings outside these ranges or logits without a finite maximum.
    """
    check_settings(temperature, top_k, top_p)
    logits = logits.float()
    logits = logits - logits.amax(dim=-1, keepdim=True)
    if logits.isnan().any():
        raise ValueError("logits: expected finite numbers, got nan or inf; has training diverged?")
    if temperature < 1e-30:  # float32 can hardly divide by less
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None and top_k < logits.size(-1):
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if top_p is not None and top_p < 1:
        logits = _nucleus(logits, top_p)
    probabilities = torch.softmax(logits, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for settings that next_ids does not take."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(
            f"temperature: expected a number from 0 (greedy) up, got {temperature}; try 0.8"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected at least 1 token, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a probability in (0, 1], got {top_p}")


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    descending, order = logits.sort(dim=-1, descending=True)
    probabilities = torch.softmax(descending, dim=-1)
    # A token stays while those before it have not reached p: the first always does.
    before = probabilities.cumsum(dim=-1) - probabilities
    outside = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before >= top_p)
    return logits.masked_fill(outside, float("-inf"))
