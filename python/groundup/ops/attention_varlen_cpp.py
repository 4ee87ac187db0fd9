"""causal_attention_varlen on the native kernel: the two ways of attention_cpp.py, for documents."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from groundup.ops import dispatch, gate
from groundup.ops.attention_varlen_forms import Options, rows_of
from groundup.ops.native import core

_OP = "causal_attention_varlen"
_Starts = tuple[list[int], list[int]]


def causal_attention_varlen_cpp(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    plain: bool,
) -> Tensor:
    """(T, H, Dv) in query's dtype; arguments were checked by the op, but for the rows.

    dropout_key  (2,) int64, from which the mask follows; needed when options.dropout_p is above 0
    plain        whether pointers may be taken right here, as the gate found
    """
    if not plain:
        out: Tensor = torch.ops.groundup.causal_attention_varlen(
            query, key, value, cu_seqlens_q, cu_seqlens_k, dropout_key, *options
        )[0]
        return out
    starts = _starts(query, key, cu_seqlens_q, cu_seqlens_k)
    needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
    if not (needs_grad and torch.is_grad_enabled()):
        return _forward(query, key, value, starts, dropout_key, options)[0]
    return _Documents.apply(query, key, value, starts, dropout_key, options)  # type: ignore[no-any-return,no-untyped-call]


def _starts(query: Tensor, key: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> _Starts:
    return (
        rows_of("cu_seqlens_q", cu_seqlens_q, query.shape[0]),
        rows_of("cu_seqlens_k", cu_seqlens_k, key.shape[0]),
    )


def _with_rows(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it, whose last dimension is contiguous: what the kernel reads."""
    return tensor if tensor.stride(2) == 1 or tensor.shape[2] == 1 else tensor.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for t in tensors for stride in (0, t.stride(1), t.stride(0))]


def _arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: _Starts,
    dropout_key: Tensor | None,
    options: Options,
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """(sizes, options) as the kernel takes them."""
    n_queries, heads, width = query.shape
    n_documents = len(starts[0]) - 1
    sizes = (n_documents, heads, key.shape[1], n_queries, key.shape[0], width, value.shape[2])
    seed = (0, 0) if dropout_key is None else dropout_key.tolist()
    scale, dropout_p, lower_right, left, softcap = options
    return sizes, (*starts, lower_right, left, scale, softcap, dropout_p, *seed)


def _empty_results(query: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """(out, statistics): (T, H, Dv) and (H, T, 2) float32."""
    n_queries, heads, _ = query.shape
    return (
        query.new_empty((n_queries, heads, value.shape[2])),
        query.new_empty((heads, n_queries, 2), dtype=torch.float32),
    )


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: _Starts,
    dropout_key: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    dispatch.note(_OP, "cpp")
    query, key, value = _with_rows(query), _with_rows(key), _with_rows(value)
    out, statistics = _empty_results(query, value)
    out[starts[0][-1] :].zero_()
    statistics[:, starts[0][-1] :].zero_()
    sizes, numbers = _arguments(query, key, value, starts, dropout_key, options)
    core.attention_varlen_forward_cpu(
        gate.address("query", query),
        gate.address("key", key),
        gate.address("value", value),
        out.data_ptr(),
        statistics.data_ptr(),
        query.dtype is torch.bfloat16,
        sizes,
        _strides(query, key, value, out),
        *numbers,
    )
    return out, statistics


def _backward(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: _Starts,
    dropout_key: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dquery, dkey, dvalue), contiguous."""
    query, key, value = _with_rows(query), _with_rows(key), _with_rows(value)
    out, dout, statistics = _with_rows(out), _with_rows(dout.resolve_neg()), statistics.contiguous()
    dquery, dkey, dvalue = (each.new_empty(each.shape) for each in (query, key, value))
    dquery[starts[0][-1] :].zero_()
    dkey[starts[1][-1] :].zero_()
    dvalue[starts[1][-1] :].zero_()
    sizes, numbers = _arguments(query, key, value, starts, dropout_key, options)
    core.attention_varlen_backward_cpu(
        gate.address("query", query),
        gate.address("key", key),
        gate.address("value", value),
        out.data_ptr(),
        statistics.data_ptr(),
        gate.address("dout", dout),
        dquery.data_ptr(),
        dkey.data_ptr(),
        dvalue.data_ptr(),
        query.dtype is torch.bfloat16,
        sizes,
        _strides(query, key, value, out, dout, dquery, dkey, dvalue),
        *numbers,
    )
    return dquery, dkey, dvalue


class _Documents(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        starts: _Starts,
        dropout_key: Tensor | None,
        options: Options,
    ) -> Tensor:
        out, statistics = _forward(query, key, value, starts, dropout_key, options)
        ctx.save_for_backward(out, statistics, query, key, value)
        ctx.rest = (starts, dropout_key, options)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            gradients = _Backward.apply(dout, *ctx.saved_tensors, *ctx.rest)  # type: ignore[no-untyped-call]
        else:
            gradients = _backward(dout, *ctx.saved_tensors, *ctx.rest)
        return *gradients, None, None, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative(_OP)


_ARGUMENTS = (
    "Tensor query, Tensor key, Tensor value, Tensor cu_seqlens_q, Tensor cu_seqlens_k, "
    "Tensor? dropout_key, float scale, float dropout_p, bool lower_right, int left, float softcap"
)
_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    f"causal_attention_varlen({_ARGUMENTS}) -> (Tensor out, Tensor statistics)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    f"causal_attention_varlen_backward(Tensor dout, Tensor out, Tensor statistics, {_ARGUMENTS}) "
    "-> (Tensor dquery, Tensor dkey, Tensor dvalue)",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _operator(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, seed: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor]:
    return _forward(q, k, v, _starts(q, k, cu_q, cu_k), seed, Options(*options))


def _backward_operator(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    seed: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    starts = _starts(q, k, cu_q, cu_k)
    return _backward(dout, out, statistics, q, k, v, starts, seed, Options(*options))


def _fake(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _empty_results(query, value)


def _backward_fake(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
        value.new_empty(value.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.dropout_p, ctx.lower_right, ctx.left, ctx.softcap = inputs
    out, statistics = output
    ctx.mark_non_differentiable(statistics)
    ctx.save_for_backward(out, statistics, *tensors)


def _operator_gradient(ctx: Any, dout: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    options = (ctx.scale, ctx.dropout_p, ctx.lower_right, ctx.left, ctx.softcap)
    gradients = torch.ops.groundup.causal_attention_varlen_backward(
        dout, *ctx.saved_tensors, *options
    )
    return *gradients, *(None,) * 8


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative(_OP)


_library.impl("causal_attention_varlen", _operator, "CPU")
_library.impl("causal_attention_varlen_backward", _backward_operator, "CPU")
for _name, _shapes in ((_OP, _fake), (f"{_OP}_backward", _backward_fake)):
    torch.library.register_fake(f"groundup::{_name}", _shapes, lib=_library)
torch.library.register_autograd(
    f"groundup::{_OP}", _operator_gradient, setup_context=_save, lib=_library
)
torch.library.register_autograd(f"groundup::{_OP}_backward", _refuse, lib=_library)
