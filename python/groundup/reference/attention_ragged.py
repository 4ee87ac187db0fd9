"""Attention where sequences differ in length: packed documents, and a decoder's cache.

Both are attention.py on one sequence after another; what is here is where each begins and ends.

1. documents            the rows of each, from cu_seqlens
2. varlen, ..._backward documents one after another in one array, none of which sees another
3. decode               a few new queries per sequence against the keys cached so far

Source of the layout: flash-attn's varlen and kvcache interfaces (Dao et al. 2022).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from groundup.reference.attention import Array, attention, attention_backward


def documents(
    starts_q: Sequence[int], starts_k: Sequence[int]
) -> Iterator[tuple[int, slice, slice]]:
    """(number, rows of its queries, rows of its keys) of each document.

    >>> list(documents([0, 2, 5], [0, 2, 5]))
    [(0, slice(0, 2, None), slice(0, 2, None)), (1, slice(2, 5, None), slice(2, 5, None))]
    """
    if len(starts_q) != len(starts_k):
        raise ValueError(
            f"expected as many documents of keys as of queries, got {len(starts_k) - 1} and "
            f"{len(starts_q) - 1}"
        )
    for d in range(len(starts_q) - 1):
        yield d, slice(starts_q[d], starts_q[d + 1]), slice(starts_k[d], starts_k[d + 1])


def varlen(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: Sequence[int],
    cu_seqlens_k: Sequence[int],
    **options: Any,
) -> Array:
    """Attention within each document: query (T, H, D) and key, value (S, H / n, D) hold documents
    one after another, document d in rows cu_seqlens[d] to cu_seqlens[d + 1].

    Returns (T, H, Dv), zeros for rows after the last document. Options as in attention().
    """
    q, k, v = np.asarray(query), np.asarray(key), np.asarray(value)
    out = np.zeros((*q.shape[:2], v.shape[2]), q.dtype)
    for d, rows, keys in documents(cu_seqlens_q, cu_seqlens_k):
        one = attention(_head_first(q[rows]), _head_first(k[keys]), _head_first(v[keys]),
                        first_head=d * q.shape[1], **options)  # fmt: skip
        out[rows] = one[0].swapaxes(0, 1)
    return out


def varlen_backward(
    dout: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: Sequence[int],
    cu_seqlens_k: Sequence[int],
    **options: Any,
) -> tuple[Array, Array, Array]:
    """d (dout . varlen) / d (query, key, value): each document's own, zeros elsewhere."""
    q, k, v = np.asarray(query), np.asarray(key), np.asarray(value)
    upstream = np.asarray(dout, q.dtype)
    dquery, dkey, dvalue = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for d, rows, keys in documents(cu_seqlens_q, cu_seqlens_k):
        tensors = (upstream[rows], q[rows], k[keys], v[keys])
        gradients = attention_backward(
            *(_head_first(each) for each in tensors), first_head=d * q.shape[1], **options
        )
        for whole, part, where in zip(
            (dquery, dkey, dvalue), gradients, (rows, keys, keys), strict=True
        ):
            whole[where] = part[0].swapaxes(0, 1)
    return dquery, dkey, dvalue


def decode(
    query: ArrayLike,
    key_cache: ArrayLike,
    value_cache: ArrayLike,
    lengths: Sequence[int],
    leftpad: Sequence[int] | None = None,
    **options: Any,
) -> Array:
    """The last T tokens of each sequence against the keys cached so far.

    query        (B, H, T, D)      the new tokens, whose keys are in the cache already
    key_cache    (B, H / n, S, D)  sequence b's keys are those in [leftpad[b], lengths[b])
    value_cache  (B, H / n, S, Dv)
    returns      (B, H, T, Dv)     query T - 1 stands at key lengths[b] - 1

    >>> rng = np.random.default_rng(0)
    >>> q, k, v = rng.normal(size=(3, 1, 1, 5, 2))
    >>> step = decode(q[:, :, 2:3], k, v, lengths=[3])  # what the third row of the whole is
    >>> bool(np.allclose(step, attention(q, k, v)[:, :, 2:3]))
    True
    """
    q, k, v = np.asarray(query), np.asarray(key_cache), np.asarray(value_cache)
    first = [0] * len(lengths) if leftpad is None else leftpad
    rows = [
        attention(q[b : b + 1], k[b : b + 1, :, begin:end], v[b : b + 1, :, begin:end], **options)
        for b, (begin, end) in enumerate(zip(first, lengths, strict=True))
    ]
    return np.concatenate(rows) if rows else np.zeros((*q.shape[:3], v.shape[3]), q.dtype)


def _head_first(rows: Array) -> Array:
    """(T, H, D) as a batch of one, (1, H, T, D)."""
    return rows.swapaxes(0, 1)[None]
