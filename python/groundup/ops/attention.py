"""causal_attention: each position looks at itself and what came before it."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    window_size: tuple[int, int] | None = None,
    softcap: float | None = None,
    alignment: str = "lower_right",
) -> Tensor:
    """softmax(query @ key^T * scale) @ value over the keys that are not in the future.

    query    (B, H, T, D)      float, any strides
    key      (B, H, S, D)      with enable_gqa (B, H / n, S, D): n query heads share a key head
    value    (B, H, S, Dv)     as key
    returns  (B, H, T, Dv)     dtype of query

    scale        multiplies the scores; None is 1 / sqrt(D)
    dropout_p    probability in [0, 1) of dropping a weight; applied whenever it is above 0, as
                 torch's scaled_dot_product_attention does: pass 0.0 in evaluation
    window_size  (left, right) as in flash-attn: a query at position p sees the keys in
                 [p - left, p + right]; -1 is unbounded; the future stays hidden whatever right is
    softcap      scores become softcap * tanh(scores / softcap), after scale
    alignment    which key a query stands at when T != S: "lower_right" puts the last query at the
                 last key (a cache), "upper_left" the first at the first (torch's is_causal)

    A query that sees no key gives a row of zeros and passes zero gradient. Runs on torch: through
    scaled_dot_product_attention, except with softcap, which holds the (B, H, T, S) scores.
    Raises ValueError or TypeError for shapes, dtypes and options that do not fit together.
    Source: Vaswani et al. 2017; Zero to Hero, lecture 7.
    """
    dispatch.note("causal_attention", "torch")
    left = _check(query, key, value, dropout_p, enable_gqa, window_size, softcap, alignment)
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    offset = n_keys - n_queries if alignment == "lower_right" else 0

    # Query i stands at key i + offset. Only the rows in [first, last) see a key; computing those
    # alone keeps softmax away from empty rows, whose value and gradient would be NaN.
    first = min(max(0, -offset), n_queries)
    last = n_queries if left is None else min(n_queries, max(first, n_keys + left - offset))
    if n_keys == 0:
        last = first
    rows = query[:, :, first:last]
    offset += first

    if softcap is not None or first == last:
        out = _explicit(rows, key, value, scale, dropout_p, enable_gqa, left, softcap, offset)
    elif left is None and offset == 0:
        out = F.scaled_dot_product_attention(
            rows, key, value, None, dropout_p, True, scale=scale, enable_gqa=enable_gqa
        )
    else:
        one_row_sees_all = left is None and rows.shape[-2] == 1 and offset >= n_keys - 1
        mask = None if one_row_sees_all else _visible(rows, n_keys, left, offset)
        out = F.scaled_dot_product_attention(
            rows, key, value, mask, dropout_p, False, scale=scale, enable_gqa=enable_gqa
        )
    if first or last < n_queries:
        out = F.pad(out, (0, 0, first, n_queries - last))
    return out


def _visible(rows: Tensor, n_keys: int, left: int | None, offset: int) -> Tensor:
    """(T, S) bool: True where the query may look."""
    shape = (rows.shape[-2], n_keys)
    visible = torch.ones(shape, dtype=torch.bool, device=rows.device).tril(offset)
    return visible if left is None else visible.triu(offset - left)


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float | None,
    dropout_p: float,
    enable_gqa: bool,
    left: int | None,
    softcap: float | None,
    offset: int,
) -> Tensor:
    """Attention with its scores written out; softmax in float32 for half precision."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.transpose(-2, -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * factor
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~_visible(query, key.shape[-2], left, offset), -math.inf)
    weights = F.dropout(torch.softmax(scores, dim=-1), dropout_p, training=dropout_p > 0.0)
    return weights.to(value.dtype) @ value


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float,
    enable_gqa: bool,
    window_size: tuple[int, int] | None,
    softcap: float | None,
    alignment: str,
) -> int | None:
    """Refuse what does not fit together; return how far back a query sees, None for all the way."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        if tensor.dim() != 4:
            raise ValueError(
                f"{name}: expected 4 dimensions (B, H, T, D), got shape {tuple(tensor.shape)}; "
                "split the heads with .view(B, T, H, D).transpose(1, 2)"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name}: expected a floating point dtype, got {tensor.dtype}")
        if tensor.device != query.device:
            raise ValueError(
                f"{name}: expected the device of query, {query.device}, got {tensor.device}"
            )
        if tensor.dtype != query.dtype and not torch.is_autocast_enabled(query.device.type):
            raise TypeError(
                f"{name}: expected the dtype of query, {query.dtype}, got {tensor.dtype}; "
                f"try {name}.to({query.dtype})"
            )
    batch, heads, _, width = query.shape
    if key.shape[0] != batch or value.shape[0] != batch:
        raise ValueError(
            f"expected one batch size in query, key and value, got {batch}, {key.shape[0]} and "
            f"{value.shape[0]}"
        )
    if key.shape[:3] != value.shape[:3]:
        raise ValueError(
            "key and value: expected the same (B, H, S), got "
            f"{tuple(key.shape[:3])} and {tuple(value.shape[:3])}"
        )
    if key.shape[3] != width:
        raise ValueError(f"key: expected the width of query, D = {width}, got {key.shape[3]}")
    if enable_gqa:
        if key.shape[1] == 0 or heads % key.shape[1]:
            raise ValueError(
                f"enable_gqa: expected the {heads} query heads to be a multiple of the key heads, "
                f"got {key.shape[1]}"
            )
    elif key.shape[1] != heads:
        raise ValueError(
            f"key: expected the {heads} heads of query, got {key.shape[1]}; pass enable_gqa=True "
            "to share each key head among several query heads"
        )
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p: expected a probability in [0, 1), got {dropout_p}")
    if softcap is not None and not 0.0 < softcap < math.inf:
        raise ValueError(f"softcap: expected a positive finite number or None, got {softcap}")
    if alignment not in ("lower_right", "upper_left"):
        raise ValueError(f'alignment: expected "lower_right" or "upper_left", got {alignment!r}')
    if window_size is None:
        return None
    if (
        not isinstance(window_size, tuple | list)
        or len(window_size) != 2
        or any(type(side) is not int or side < -1 for side in window_size)
    ):
        raise ValueError(
            "window_size: expected (left, right), integers of at least -1 where -1 is unbounded, "
            f"got {window_size!r}"
        )
    return None if window_size[0] == -1 else window_size[0]
