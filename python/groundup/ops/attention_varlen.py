"""causal_attention_varlen: many documents in one row of tokens, none of which sees another."""

import math

import torch
from torch import Tensor

from groundup.ops import dispatch, gate, native
from groundup.ops.attention_check import (
    autocast,
    check_heads,
    check_kind,
    check_options,
    why_not_cpp,
)
from groundup.ops.attention_varlen_cpp import causal_attention_varlen_cpp
from groundup.ops.attention_varlen_forms import (
    Options,
    causal_attention_varlen_reference,
    causal_attention_varlen_torch,
)

_OP = "causal_attention_varlen"
_NAMES = ("query", "key", "value", "cu_seqlens_q", "cu_seqlens_k")


def causal_attention_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    window_size: tuple[int, int] | None = None,
    softcap: float | None = None,
    alignment: str = "lower_right",
) -> Tensor:
    """causal_attention within each of several documents that lie one after another.

    query         (T, H, D)      the tokens of all documents; float32 | bfloat16 natively on the
                                 CPU, other dtypes and devices run on torch, a document at a time.
                                 Any strides; a last dimension that is not contiguous is copied
    key           (S, H, D)      with enable_gqa (S, H / n, D): n query heads share a key head
    value         (S, H, Dv)     as key
    cu_seqlens_q  (N + 1,) int64 | int32, from 0 and never falling: document d is rows
                                 [cu_seqlens_q[d], cu_seqlens_q[d + 1]) of query; it may be empty
    cu_seqlens_k  (N + 1,)       the same of key and value; None takes cu_seqlens_q
    returns       (T, H, Dv), dtype of query; zeros for tokens after the last document, which pass
                  zero gradient

    Layout and cu_seqlens as in flash-attn's and torch's varlen attention; the longest length is
    found here. The other options, rows without keys, dropout and errors are causal_attention's;
    alignment is within each document. All documents are one task list for the threads, and nothing
    is padded. Reading cu_seqlens waits for its device. Besides, raises ValueError or TypeError for
    cu_seqlens that are no such rows.
    """
    name = dispatch.forced.get(_OP)
    tensors = (query, key, value, cu_seqlens_q, cu_seqlens_k)
    gate.expect_tensors(_NAMES, *tensors, required=4)
    plain = False if name == "torch" else gate.admit(_OP, _NAMES, *tensors)
    if cu_seqlens_k is None:
        cu_seqlens_k = cu_seqlens_q
    _check_shapes(query, key, value, enable_gqa)
    for which, given in (("cu_seqlens_q", cu_seqlens_q), ("cu_seqlens_k", cu_seqlens_k)):
        _check_kind_of_rows(which, given)
    if cu_seqlens_q.shape != cu_seqlens_k.shape:
        raise ValueError(
            "cu_seqlens_k: expected as many documents as cu_seqlens_q has, "
            f"{cu_seqlens_q.shape[0] - 1}, got {cu_seqlens_k.shape[0] - 1}"
        )
    left = check_options(scale, dropout_p, window_size, softcap, alignment)
    width = query.shape[2]
    options = Options(
        (1.0 / math.sqrt(width) if width else math.inf) if scale is None else float(scale),
        dropout_p,
        alignment == "lower_right",
        -1 if left is None else left,
        softcap or 0.0,
    )
    query, key, value = autocast(query, key, value)
    reason = why_not_cpp(query, key, value)
    if name is None:
        name = "cpp" if reason is None else "torch"
        if native.missing is not None:
            native.warn_missing()
    elif name == "cpp" and reason is not None:
        raise dispatch.cannot(_OP, "cpp", reason)
    if name == "torch":
        return causal_attention_varlen_torch(query, key, value, cu_seqlens_q, cu_seqlens_k, options)
    dropout_key = None
    if dropout_p > 0.0:
        # From torch's generator: torch.manual_seed and checkpointing repeat the mask.
        dropout_key = torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64)
    form = causal_attention_varlen_cpp if name == "cpp" else causal_attention_varlen_reference
    return form(query, key, value, cu_seqlens_q, cu_seqlens_k, dropout_key, options, plain)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_kind(name, tensor, query)
        if tensor.dim() != 3:
            raise ValueError(
                f"{name}: expected 3 dimensions (T, H, D), tokens of all documents, got shape "
                f"{tuple(tensor.shape)}; one of (B, H, T, D) is for causal_attention"
            )
    if key.shape[:2] != value.shape[:2]:
        raise ValueError(
            "key and value: expected the same (S, H), got "
            f"{tuple(key.shape[:2])} and {tuple(value.shape[:2])}"
        )
    check_heads("key", query.shape[1], query.shape[2], key.shape[1], key.shape[2], enable_gqa)


def _check_kind_of_rows(name: str, given: Tensor) -> None:
    if given.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: expected int64 or int32, got {given.dtype}")
    if given.dim() != 1 or given.shape[0] == 0:
        raise ValueError(
            f"{name}: expected shape (N + 1,) for N documents, got {tuple(given.shape)}; "
            "begin with 0, then where each document ends"
        )
