"""causal_attention_qkvpacked: attention on queries, keys and values that came out of one product.

No op of its own: `causal_attention` on three views, by whichever form that takes. What is saved is
around it. Autograd gathers the gradients of three views into one tensor by copying them, and turns
each of them; here the kernel, which takes any strides, writes all three where they belong.
"""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.attention import causal_attention, draw_dropout_key, options_of
from groundup.ops.attention_check import why_not_cpp
from groundup.ops.attention_cpp import attend_at, differentiate_at
from groundup.ops.attention_torch import Options


def causal_attention_qkvpacked(
    qkv: Tensor,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    window_size: tuple[int, int] | None = None,
    softcap: float | None = None,
) -> Tensor:
    """causal_attention of the three parts of one tensor.

    qkv      (B, T, 3, H, D)  queries, keys and values beside each other, as one linear layer from C
                              to 3 C = 3 H D leaves them under .view(B, T, 3, H, D); any strides
    returns  (B, T, H, D)     dtype of qkv; .flatten(2) to (B, T, C) is a view

    The other arguments, dtypes, devices and errors are causal_attention's, and so is the choice of
    implementation: groundup.use("causal_attention=...") is what forces one. The gradient is one
    contiguous (B, T, 3, H, D). Name and layout are flash-attn's.
    Raises ValueError or TypeError for another shape or dtype, RuntimeError for a second derivative.
    """
    if not isinstance(qkv, Tensor):
        raise TypeError(f"qkv: expected a torch.Tensor, got {type(qkv).__name__}")
    if qkv.dim() != 5 or qkv.shape[2] != 3:
        raise ValueError(
            f"qkv: expected 5 dimensions (B, T, 3, H, D), got shape {tuple(qkv.shape)}; split the "
            "last one of (B, T, 3 H D) with .unflatten(-1, (3, H, D))"
        )
    name = dispatch.forced.get("causal_attention")
    if (
        (name is None or name == "cpp")
        and gate.admit("causal_attention", ("qkv",), qkv)
        and qkv.requires_grad
        and torch.is_grad_enabled()
        and why_not_cpp(qkv, qkv, qkv) is None
        and not torch._C._is_any_autocast_enabled()
    ):
        options = options_of(
            qkv.shape[4], 0, scale, dropout_p, window_size, softcap, alignment="lower_right"
        )
        return _record(qkv, (draw_dropout_key(dropout_p), options))  # type: ignore[no-any-return]
    # Parted before they are turned: the gradients are then put side by side once.
    query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
    mixed = causal_attention(
        query,
        key,
        value,
        scale=scale,
        dropout_p=dropout_p,
        window_size=window_size,
        softcap=softcap,
    )
    return mixed.transpose(1, 2)


# Sizes and strides are worked out here, without views of the parts: each view costs as much as all
# of the arithmetic (docs/log.md).


def _parts(qkv: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(addresses of queries, keys and values; the strides of batch, head and time of each)."""
    batch, time, part, head, _ = qkv.stride()
    first = qkv.data_ptr() or gate.address("qkv", qkv)
    step = part * qkv.element_size()
    return (first, first + step, first + 2 * step), (batch, head, time) * 3


def _with_rows(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it, whose last dimension is contiguous: what the kernel reads."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _by_time(tensor: Tensor) -> tuple[int, int, int]:
    """The strides of batch, head and time of (B, T, H, D)."""
    batch, time, head, _ = tensor.stride()
    return batch, head, time


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rest: tuple[Tensor | None, Options]) -> Tensor:
        dropout_key, ctx.options = rest
        batch, length, _, heads, width = qkv.shape
        out = qkv.new_empty((batch, length, heads, width))
        statistics = qkv.new_empty((batch, heads, length, 2), dtype=torch.float32)
        rows = _with_rows(qkv)
        addresses, steps = _parts(rows)
        attend_at(
            (*addresses, out.data_ptr(), statistics.data_ptr()),
            qkv.dtype is torch.bfloat16,
            (batch, heads, heads, length, length, width, width),
            (*steps, *_by_time(out)),
            dropout_key,
            ctx.options,
        )
        ctx.save_for_backward(out, statistics, qkv, dropout_key)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            return _Backward.apply(dout, *ctx.saved_tensors, ctx.options), None  # type: ignore[no-untyped-call]
        out, statistics, qkv, dropout_key = ctx.saved_tensors
        return _backward(dout, out, statistics, qkv, dropout_key, ctx.options), None


def _backward(
    dout: Tensor,
    out: Tensor,
    statistics: Tensor,
    qkv: Tensor,
    dropout_key: Tensor | None,
    options: Options,
) -> Tensor:
    dqkv = qkv.new_empty(qkv.shape)
    batch, length, _, heads, width = qkv.shape
    rows, out, dout, statistics = (
        _with_rows(qkv),
        _with_rows(out),
        _with_rows(dout.resolve_neg()),
        statistics.contiguous(),
    )
    addresses, steps = _parts(rows)
    gradients, gradient_steps = _parts(dqkv)
    differentiate_at(
        (
            *addresses,
            out.data_ptr(),
            statistics.data_ptr(),
            dout.data_ptr() or gate.address("dout", dout),
            *gradients,
        ),
        qkv.dtype is torch.bfloat16,
        (batch, heads, heads, length, length, width, width),
        (*steps, *_by_time(out), *_by_time(dout), *gradient_steps),
        dropout_key,
        options,
    )
    return dqkv


_record = gate.recorder(_Packed)


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("causal_attention")
