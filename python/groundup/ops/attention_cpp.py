"""causal_attention on the native kernel: allocation, pointers, autograd, torch.compile.

Two ways lead to the kernel, as in cross_entropy_cpp: plain tensors in eager mode take a classic
autograd.Function, whatever traces or intercepts takes the registered operator. Both share _forward
and _backward.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from groundup.ops import dispatch, gate
from groundup.ops.attention_torch import Options
from groundup.ops.native import core

_OP = "causal_attention"

# Up to here one key after another is faster than the tiles, which take 16 queries side by side
# (docs/log.md, Attention).
_FEW_QUERIES = 4


def causal_attention_cpp(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    plain: bool,
) -> Tensor:
    """(B, H, T, Dv) in query's dtype; arguments were checked by the op.

    dropout_key  (2,) int64, from which the mask follows; needed when options.dropout_p is above 0
    plain        whether pointers may be taken right here, as the gate found
    """
    if not plain:
        out: Tensor = torch.ops.groundup.causal_attention(query, key, value, dropout_key, *options)[
            0
        ]
        return out
    needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
    if not (needs_grad and torch.is_grad_enabled()):
        return _forward(query, key, value, dropout_key, options, None)
    return _record(query, key, value, (dropout_key, options))  # type: ignore[no-any-return]


def _with_rows(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it, whose last dimension is contiguous: what the kernel reads."""
    return tensor if tensor.stride(3) == 1 or tensor.shape[3] == 1 else tensor.contiguous()


def _empty_by_time(like: Tensor, batch: int, heads: int, length: int, width: int) -> Tensor:
    """(B, H, T, width) whose memory is (B, T, H, width). Not a transposed view: torch forbids the
    caller to change the view that a Function returns."""
    row = heads * width
    return like.new_empty_strided((batch, heads, length, width), (length * row, width, row, 1))


def _empty_out(query: Tensor, value: Tensor) -> Tensor:
    """In memory as torch's own attention returns it: putting the heads side by side is free."""
    batch, heads, n_queries, _ = query.shape
    return _empty_by_time(query, batch, heads, n_queries, value.shape[3])


def _empty_gradient(tensor: Tensor) -> Tensor:
    """As the tensor in shape, and in the order of its heads and times in memory."""
    if tensor.stride(1) < tensor.stride(2):
        return _empty_by_time(tensor, *tensor.shape)
    return tensor.new_empty(tensor.shape)


def _sizes(query: Tensor, key: Tensor, value: Tensor) -> tuple[int, ...]:
    batch, heads, n_queries, width = query.shape
    return batch, heads, key.shape[1], n_queries, key.shape[2], width, value.shape[3]


def _numbers(dropout_key: Tensor | None, options: Options) -> tuple[Any, ...]:
    """The options as the kernel takes them."""
    seed = (0, 0) if dropout_key is None else dropout_key.tolist()
    scale, dropout_p, offset, left, softcap = options
    return (offset, left, scale, softcap, dropout_p, *seed)


def empty_statistics(query: Tensor) -> Tensor:
    """(B, H, T, 2) float32, what backward needs of forward: a query's largest score and its sum of
    exp(score - largest)."""
    return query.new_empty((*query.shape[:3], 2), dtype=torch.float32)


def _steps(*tensors: Tensor) -> list[int]:
    """The strides of batch, head and time of each, one after the other."""
    steps: list[int] = []
    for tensor in tensors:
        batch, head, time, _ = tensor.stride()
        steps += (batch, head, time)
    return steps


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    statistics: Tensor | None,
) -> Tensor:
    """out; fills `statistics`, of empty_statistics, where a backward may follow."""
    out = _empty_out(query, value)
    attend_into(out, query, key, value, dropout_key, options, statistics)
    return out


def attend_into(
    out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    statistics: Tensor | None,
) -> None:
    """Fill `out` (B, H, T, Dv), rows contiguous, and `statistics`."""
    query, key, value = _with_rows(query), _with_rows(key), _with_rows(value)
    attend_at(
        (
            query.data_ptr() or gate.address("query", query),
            key.data_ptr() or gate.address("key", key),
            value.data_ptr() or gate.address("value", value),
            out.data_ptr(),
            0 if statistics is None else statistics.data_ptr(),
        ),
        query.dtype is torch.bfloat16,
        _sizes(query, key, value),
        _steps(query, key, value, out),
        dropout_key,
        options,
    )


def attend_at(
    addresses: tuple[int, ...],
    is_bfloat16: bool,
    sizes: tuple[int, ...],
    steps: Sequence[int],
    dropout_key: Tensor | None,
    options: Options,
) -> None:
    """Forward on addresses of query, key, value, out and statistics (0 for none).

    sizes  B, H, key heads, T, S, D, Dv
    steps  of query, key, value and out: the strides of batch, head and time
    """
    dispatch.note(_OP, "cpp")
    numbers = _numbers(dropout_key, options)
    # Backward rebuilds the weights from these statistics, by the tiles' order of sums.
    few = sizes[3] <= _FEW_QUERIES and not addresses[4]
    if few and dropout_key is None:
        core.attention_decode_cpu(*addresses, is_bfloat16, sizes, steps, (), (), *numbers[:4])
    else:
        core.attention_forward_cpu(*addresses, is_bfloat16, sizes, steps, *numbers)


def _backward(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dquery, dkey, dvalue)."""
    gradients = _empty_gradient(query), _empty_gradient(key), _empty_gradient(value)
    differentiate_into(gradients, dout, out, statistics, query, key, value, dropout_key, options)
    return gradients


def differentiate_into(
    gradients: tuple[Tensor, ...],
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
) -> None:
    """Fill `gradients` of query, key and value, rows contiguous."""
    dquery, dkey, dvalue = gradients
    query, key, value = _with_rows(query), _with_rows(key), _with_rows(value)
    out, dout, statistics = _with_rows(out), _with_rows(dout.resolve_neg()), statistics.contiguous()
    differentiate_at(
        (
            query.data_ptr() or gate.address("query", query),
            key.data_ptr() or gate.address("key", key),
            value.data_ptr() or gate.address("value", value),
            out.data_ptr(),
            statistics.data_ptr(),
            dout.data_ptr() or gate.address("dout", dout),
            dquery.data_ptr(),
            dkey.data_ptr(),
            dvalue.data_ptr(),
        ),
        query.dtype is torch.bfloat16,
        _sizes(query, key, value),
        _steps(query, key, value, out, dout, dquery, dkey, dvalue),
        dropout_key,
        options,
    )


def differentiate_at(
    addresses: tuple[int, ...],
    is_bfloat16: bool,
    sizes: tuple[int, ...],
    steps: Sequence[int],
    dropout_key: Tensor | None,
    options: Options,
) -> None:
    """Backward on addresses of query, key, value, out, statistics, dout, dquery, dkey and dvalue;
    steps are those of the same, statistics left out, and else as attend_at's."""
    core.attention_backward_cpu(
        *addresses, is_bfloat16, sizes, steps, *_numbers(dropout_key, options)
    )


class _Attention(torch.autograd.Function):
    # What is not differentiated comes in one tuple: autograd looks at every argument by itself.
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rest: tuple[Tensor | None, Options]
    ) -> Tensor:
        dropout_key, options = rest
        statistics = empty_statistics(query)
        out = _forward(query, key, value, dropout_key, options, statistics)
        ctx.save_for_backward(out, statistics, query, key, value, dropout_key)
        ctx.options = options
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            apply = _Backward.apply
            gradients = apply(dout, *ctx.saved_tensors, ctx.options)  # type: ignore[no-untyped-call]
            return *gradients, None
        out, statistics, query, key, value, dropout_key = ctx.saved_tensors
        return (
            *_backward(dout, out, statistics, query, key, value, dropout_key, ctx.options),
            None,
        )


_record = gate.recorder(_Attention)


class _Backward(torch.autograd.Function):
    """The gradients as a node of the graph that create_graph=True asks for: they have no
    derivative, and say so where torch would take them for constants."""

    @staticmethod
    def forward(ctx: FunctionCtx, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative(_OP)


_ARGUMENTS = (
    "Tensor query, Tensor key, Tensor value, Tensor? dropout_key, float scale, float dropout_p, "
    "SymInt offset, int left, float softcap"
)
_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    f"causal_attention({_ARGUMENTS}) -> (Tensor out, Tensor statistics)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    f"causal_attention_backward(Tensor dout, Tensor out, Tensor statistics, {_ARGUMENTS}) -> "
    "(Tensor dquery, Tensor dkey, Tensor dvalue)",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _operator(
    query: Tensor, key: Tensor, value: Tensor, dropout_key: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor]:
    statistics = empty_statistics(query)
    out = _forward(query, key, value, dropout_key, Options(*options), statistics)
    return out, statistics


_library.impl("causal_attention", _operator, "CPU")
_library.impl(
    "causal_attention_backward",
    lambda dout, out, statistics, q, k, v, seed, *o: _backward(
        dout, out, statistics, q, k, v, seed, Options(*o)
    ),
    "CPU",
)


def _forward_fake(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _empty_out(query, value), empty_statistics(query)


def _backward_fake(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_gradient(query), _empty_gradient(key), _empty_gradient(value)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, dropout_key, *ctx.options = inputs
    out, statistics = output
    ctx.mark_non_differentiable(statistics)
    ctx.save_for_backward(out, statistics, query, key, value, dropout_key)


def _operator_backward(ctx: Any, dout: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.groundup.causal_attention_backward(dout, *ctx.saved_tensors, *ctx.options)
    return *gradients, *(None,) * 6


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative(_OP)


torch.library.register_fake("groundup::causal_attention", _forward_fake, lib=_library)
torch.library.register_fake("groundup::causal_attention_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    "groundup::causal_attention", _operator_backward, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::causal_attention_backward", _refuse, lib=_library)
