"""causal_attention_varlen on torch and by the reference: a document at a time."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.ops import attention_torch as single
from groundup.ops import dispatch, gate
from groundup.ops.arrays import attention_arrays, expect_plain
from groundup.reference import attention_ragged as reference

_OP = "causal_attention_varlen"


class Options(NamedTuple):
    """What every implementation is called with, beside the tensors."""

    scale: float
    dropout_p: float
    lower_right: bool  # a document's last query stands at its last key; else the first at the first
    left: int  # a query sees its key and `left` before it; -1: all
    softcap: float  # 0.0: none


def rows_of(name: str, given: Tensor, n_rows: int) -> list[int]:
    """cu_seqlens as a list. Raises ValueError unless they rise from 0 to n_rows at most."""
    starts: list[int] = given.tolist()
    if starts[0] != 0:
        raise ValueError(
            f"{name}: expected 0 first, where the first document begins, got {starts[0]}"
        )
    for d, (begin, end) in enumerate(pairwise(starts)):
        if end < begin:
            raise ValueError(
                f"{name}: expected rows that never fall, got {end} after {begin} at document {d}"
            )
    if starts[-1] > n_rows:
        raise ValueError(
            f"{name}: expected documents within the {n_rows} rows there are, got an end at "
            f"{starts[-1]}"
        )
    return starts


def causal_attention_varlen_torch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    options: Options,
) -> Tensor:
    """(T, H, Dv); arguments were checked by the op."""
    starts_q = rows_of("cu_seqlens_q", cu_seqlens_q, query.shape[0])
    starts_k = rows_of("cu_seqlens_k", cu_seqlens_k, key.shape[0])
    if not torch.compiler.is_compiling():
        dispatch.note(_OP, "torch")
    outs = []
    for _, rows, keys in reference.documents(starts_q, starts_k):
        q, k, v = (
            each[where].transpose(0, 1)[None]
            for each, where in ((query, rows), (key, keys), (value, keys))
        )
        offset = k.shape[2] - q.shape[2] if options.lower_right else 0
        numbers = single.Options(
            options.scale, options.dropout_p, offset, options.left, options.softcap
        )
        outs.append(single.attention(q, k, v, numbers)[0].transpose(0, 1))
    rest = query.shape[0] - starts_q[-1]
    outs.append(query.new_zeros((rest, query.shape[1], value.shape[2])))
    return torch.cat(outs)


def causal_attention_varlen_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    plain: bool,
) -> Tensor:
    """In query's dtype, computed in float32 or better. Drops the weights that the kernel drops."""
    expect_plain(_OP, plain)
    starts = (
        rows_of("cu_seqlens_q", cu_seqlens_q, query.shape[0]),
        rows_of("cu_seqlens_k", cu_seqlens_k, key.shape[0]),
    )
    flags = {
        "scale": options.scale,
        "left": None if options.left < 0 else options.left,
        "softcap": options.softcap or None,
        "alignment": "lower_right" if options.lower_right else "upper_left",
        "dropout_p": options.dropout_p,
        "dropout_key": (0, 0) if dropout_key is None else tuple(dropout_key.tolist()),
    }
    apply = _Documents.apply
    out: Tensor = apply(query, key, value, starts, flags)  # type: ignore[no-untyped-call]
    return out


class _Documents(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, starts: Any, flags: Any
    ) -> Tensor:
        dispatch.note(_OP, "reference")
        ctx.save_for_backward(query, key, value)
        ctx.starts, ctx.flags = starts, flags
        out = reference.varlen(*attention_arrays(query, key, value), *starts, **flags)
        return torch.from_numpy(out).to(query.device, query.dtype)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _Backward.apply(dout, *ctx.saved_tensors, ctx.starts, ctx.flags)  # type: ignore[no-untyped-call]
        return *gradients, None, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(
        ctx: Any, dout: Tensor, query: Tensor, key: Tensor, value: Tensor, starts: Any, flags: Any
    ) -> tuple[Tensor, ...]:
        arrays = attention_arrays(dout, query, key, value)
        gradients = reference.varlen_backward(*arrays, *starts, **flags)
        return tuple(torch.from_numpy(each).to(query.device, query.dtype) for each in gradients)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative(_OP)
