"""Token by token: the model reads its own output."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from groundup.generate.cache import KeyValueCache
from groundup.generate.sampling import check_settings, next_ids
from groundup.models.mode import evaluating

if TYPE_CHECKING:
    from groundup.models.gpt import GPT


def stream(
    model: "GPT",
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    generator: torch.Generator | None = None,
    vocab_size: int | None = None,
) -> Iterator[Tensor]:
    """Yield max_new_tokens times the next ids (B, 1) after `ids` (B, T), T >= 1.

    Within n_positions tokens a step costs one token, thanks to a cache of keys and values. Past
    them the window slides: positions are absolute, so that every token's keys change and a step
    costs n_positions tokens. Ids from vocab_size on, which no tokenizer knows where a model's table
    is padded, are never drawn. Sampling settings as in next_ids; dropout is off meanwhile.
    Raises ValueError at the call, not at the first step.
    """
    check_settings(temperature, top_k, top_p)
    if ids.dim() != 2 or ids.size(1) == 0:
        raise ValueError(
            f"ids: expected shape (B, T) with at least one token, got {tuple(ids.shape)}; begin "
            "with the end-of-text token where there is no prompt"
        )
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens: expected 0 or more, got {max_new_tokens}")
    return _steps(model, ids, max_new_tokens, temperature, top_k, top_p, generator, vocab_size)


def _steps(
    model: "GPT",
    ids: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
    vocab_size: int | None,
) -> Iterator[Tensor]:
    window = model.config.n_positions
    seen = ids[:, -window:]
    unread, cache = seen, None
    weights = model.lm_head.weight
    for _ in range(max_new_tokens):
        if cache is None or cache.length + unread.size(1) > window:
            cache = KeyValueCache(model.config, ids.size(0), weights.device, weights.dtype)
            unread = seen
        # Entered anew for each step: between them, and once nobody asks for more, the caller's own
        # settings hold.
        with torch.no_grad(), evaluating(model):
            logits = model(unread, cache)[:, -1, :vocab_size]
        unread = next_ids(logits, temperature, top_k, top_p, generator=generator)
        yield unread
        seen = torch.cat([seen, unread], dim=1)[:, -window:]
