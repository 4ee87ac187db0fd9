"""Hugging Face models on groundup's attention, through transformers' own two registers.

A register of attention functions alone would be silently wrong: transformers gives a name without a
mask function no mask at all, and padding would be attended to. So both are registered.

The mask of a causal model is not made: what leaves the mask function is which keys exist, (B, S)
bool, for queries that stand at the last T of them. Every other mask is transformers' own, (B, 1, T,
S), and such a layer runs on torch.
"""

from typing import Any

import torch
from torch import Tensor, nn

import groundup as gu

NAME = "groundup"
_NO_SOFTCAP = (
    "groundup's attention has softcap for causal layers, padded on one side or not, and this one "
    'has another mask; use set_attn_implementation("eager")'
)


def transformers_attention() -> str:
    """Register "groundup" as an attention implementation of transformers, and return that name.

        model.set_attn_implementation(groundup.plugs.transformers_attention())
        AutoModelForCausalLM.from_pretrained(path, attn_implementation="groundup")

    On our kernels run causal layers, with shared key heads, softcap, dropout and padding on the
    left or on the right: its keys are packed, for causal_attention_varlen. A decoder's step goes
    through decode_attention. Other masks (gaps, sliding windows, packed sequences, prefixes, a mask
    of one's own), layers that are not causal, padding under torch.compile and position biases run
    as "sdpa" would. The output is that of "sdpa" at every position, padding included.
    Raises ModuleNotFoundError without transformers, and where a layer needs what neither has.
    """
    try:
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "plugs.transformers_attention needs transformers: pip install transformers"
        ) from None
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)
    return NAME


def mask(**given: Any) -> Tensor | None:
    """What `attention` is to know of a batch: None, (B, S) keys that exist, or (B, 1, T, S)."""
    from transformers import masking_utils

    keys = _existing_keys(given, masking_utils.causal_mask_function)
    if keys is not None:
        return keys
    # As for "sdpa", but never None for a causal mask that is not one of whole sequences.
    drawn: Tensor | None = masking_utils.sdpa_mask(**{**given, "allow_is_causal_skip": False})
    return drawn


def _existing_keys(given: dict[str, Any], causal: Any) -> Tensor | None:
    """(B, S) bool for a plain causal mask, the queries at the last of the S keys; else None."""
    n_queries, n_before = given.get("q_length"), given.get("q_offset")
    first = given.get("kv_offset", 0)
    if (
        given.get("mask_function") is not causal
        or type(n_queries) is not int
        or type(n_before) is not int
        or type(first) is not int
        or torch.compiler.is_compiling()
    ):
        return None
    n_keys = n_before + n_queries - first  # a static cache has room behind them
    if not n_queries <= n_keys <= given["kv_length"]:
        return None
    padding = given.get("attention_mask")
    if padding is None:
        device = given.get("device", "cpu")
        return torch.ones(1, 1, dtype=torch.bool, device=device).expand(given["batch_size"], n_keys)
    keys: Tensor = padding[:, first : first + n_keys].bool()
    return keys if keys.shape == (given["batch_size"], n_keys) else None


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query (B, H, T, D) and fewer heads of keys and values, to
    (B, T, H, D) and no weights."""
    if others.get("s_aux") is not None:
        raise ValueError(
            "groundup's attention has no sinks (s_aux), which this model adds to its scores; use "
            'set_attn_implementation("eager")'
        )
    unknown = others.get("position_bias") is not None or others.get("cache") is not None
    keys = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
    if keys is None or unknown:
        if softcap is not None:
            raise ValueError(_NO_SOFTCAP)
        if keys is not None:
            attention_mask = _drawn(keys, query.shape[2], sliding_window)
        return _as_sdpa(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, others
        )
    n_keys = keys.shape[1]
    key, value = key[:, :, :n_keys], value[:, :, :n_keys]
    options: dict[str, Any] = {"scale": scaling, "softcap": softcap}
    if sliding_window is not None:
        options["window_size"] = (sliding_window - 1, 0)
    if keys.all():
        out = gu.causal_attention(query, key, value, dropout_p=dropout, enable_gqa=True, **options)
        return out.transpose(1, 2), None
    padded = _padded(query, key, value, keys, dropout, options)
    if padded is not None:
        return padded, None
    if softcap is not None:
        raise ValueError(_NO_SOFTCAP)
    drawn = _drawn(keys, query.shape[2], sliding_window)
    return _as_sdpa(module, query, key, value, drawn, dropout, scaling, False, others)


def _padded(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, dropout: float, options: dict[str, Any]
) -> Tensor | None:
    """(B, T, H, D) where each sequence's keys are one run and all begin, or all end, with the
    batch; None elsewhere.

    A query at padding sees what it would under a mask: the keys of its sequence before it, or none.
    """
    batch, _, n_queries, _ = query.shape
    n_keys = keys.shape[1]
    place = torch.arange(n_keys, device=keys.device)
    first, end = keys.int().argmax(1), torch.where(keys, place + 1, 0).amax(1)
    counts = keys.sum(1)
    if not torch.equal(end - first, counts):
        return None
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    if n_queries == 1 and dropout == 0.0 and not needs_grad:
        out = gu.decode_attention(query, key, value, end, cache_leftpad=first, **options)
        return out.transpose(1, 2)
    if ((end == n_keys) | (counts == 0)).all():
        alignment = "lower_right"
    elif n_queries == n_keys and (first == 0).all():
        alignment = "upper_left"
    else:
        return None
    rows = keys.flatten().nonzero()[:, 0]
    packed = gu.causal_attention_varlen(
        query.transpose(1, 2).flatten(0, 1),
        key.transpose(1, 2).flatten(0, 1)[rows],
        value.transpose(1, 2).flatten(0, 1)[rows],
        torch.arange(batch + 1, device=keys.device) * n_queries,
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        dropout_p=dropout,
        enable_gqa=True,
        alignment=alignment,
        **options,
    )
    return packed.view(batch, n_queries, *packed.shape[1:])


def _drawn(keys: Tensor, n_queries: int, sliding_window: int | None) -> Tensor:
    """(B, 1, T, S) bool: the causal mask of queries at the last of the keys that exist."""
    n_keys = keys.shape[1]
    place = torch.arange(n_keys, device=keys.device)
    distance = place[-n_queries:, None] - place
    seen = distance >= 0
    if sliding_window is not None:
        seen = seen & (distance < sliding_window)
    return (seen & keys[:, None])[:, None]


def _as_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    is_causal: bool | None,
    others: dict[str, Any],
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    out, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
    )
    return out, None
