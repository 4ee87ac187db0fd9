"""causal_attention on torch: the implementation that runs wherever torch does."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

from groundup.ops import dispatch


class Options(NamedTuple):
    """What every implementation is called with, beside the tensors."""

    scale: float
    dropout_p: float
    offset: int  # query i stands at key i + offset
    left: int  # it sees that key and `left` before it; -1: all
    softcap: float  # 0.0: none


def causal_attention_torch(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """(B, H, T, Dv); arguments were checked by the op."""
    if not torch.compiler.is_compiling():
        dispatch.note("causal_attention", "torch")
    return attention(query, key, value, options)


def attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """(B, H, T, Dv). Fewer key heads than query heads are shared.

    Through scaled_dot_product_attention, except with softcap, which holds the (B, H, T, S) scores.
    """
    scale, dropout_p, offset, left, softcap = options
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    shared = key.shape[1] != query.shape[1]

    # Only the rows in [first, last) see a key; computing those alone keeps softmax away from empty
    # rows, whose value and gradient would be NaN.
    first = min(max(0, -offset), n_queries)
    last = n_queries if left < 0 else min(n_queries, max(first, n_keys + left - offset))
    if n_keys == 0:
        last = first
    rows = query[:, :, first:last]
    offset += first
    if scale <= 0.0:
        # torch's causal kernel scales what it has masked: -inf times that is +inf or NaN.
        rows, scale = (-rows, -scale) if scale < 0.0 else (rows * 0.0, 1.0)

    if softcap > 0.0 or first == last:
        out = _explicit(rows, key, value, options._replace(scale=scale, offset=offset))
    elif left < 0 and offset == 0:
        out = torch_sdpa(rows, key, value, None, dropout_p, True, scale=scale, enable_gqa=shared)
    else:
        one_row_sees_all = left < 0 and rows.shape[-2] == 1 and offset >= n_keys - 1
        mask = None if one_row_sees_all else _visible(rows, n_keys, left, offset)
        out = torch_sdpa(rows, key, value, mask, dropout_p, False, scale=scale, enable_gqa=shared)
    if first or last < n_queries:
        out = F.pad(out, (0, 0, first, n_queries - last))
    return out


def _visible(rows: Tensor, n_keys: int, left: int, offset: int) -> Tensor:
    """(T, S) bool: True where the query may look."""
    shape = (rows.shape[-2], n_keys)
    visible = torch.ones(shape, dtype=torch.bool, device=rows.device).tril(offset)
    return visible if left < 0 else visible.triu(offset - left)


def _explicit(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """Attention with its scores written out; softmax in float32 for half precision."""
    scale, dropout_p, offset, left, softcap = options
    if key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    scores = query @ key.transpose(-2, -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * scale
    if softcap > 0.0:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~_visible(query, key.shape[-2], left, offset), -math.inf)
    weights = F.dropout(torch.softmax(scores, dim=-1), dropout_p, training=dropout_p > 0.0)
    return weights.to(value.dtype) @ value
