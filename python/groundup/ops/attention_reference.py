"""causal_attention by the reference: groundup.reference, through NumPy."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.arrays import attention_arrays, expect_plain
from groundup.ops.attention_torch import Options
from groundup.reference import attention as reference

_OP = "causal_attention"


def causal_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_key: Tensor | None,
    options: Options,
    plain: bool,
) -> Tensor:
    """In query's dtype, computed in float32 or better. Drops the weights that the kernel drops."""
    expect_plain(_OP, plain)
    apply = _Attention.apply
    out: Tensor = apply(query, key, value, dropout_key, options)  # type: ignore[no-untyped-call]
    return out


def _flags(query: Tensor, key: Tensor, dropout_key: Tensor | None, options: Options) -> Any:
    aligned_left = options.offset == 0 and query.shape[2] != key.shape[2]
    return {
        "scale": options.scale,
        "left": None if options.left < 0 else options.left,
        "softcap": options.softcap or None,
        "alignment": "upper_left" if aligned_left else "lower_right",
        "dropout_p": options.dropout_p,
        "dropout_key": (0, 0) if dropout_key is None else tuple(dropout_key.tolist()),
    }


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout_key: Tensor | None,
        options: Options,
    ) -> Tensor:
        dispatch.note(_OP, "reference")
        ctx.save_for_backward(query, key, value, dropout_key)
        ctx.options = options
        flags = _flags(query, key, dropout_key, options)
        out = reference.attention(*attention_arrays(query, key, value), **flags)
        return torch.from_numpy(out).to(query.device, query.dtype)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _Backward.apply(dout, *ctx.saved_tensors, ctx.options)  # type: ignore[no-untyped-call]
        return *gradients, None, None


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(
        ctx: Any,
        dout: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout_key: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, ...]:
        flags = _flags(query, key, dropout_key, options)
        gradients = reference.attention_backward(
            *attention_arrays(dout, query, key, value), **flags
        )
        return tuple(torch.from_numpy(each).to(query.device, query.dtype) for each in gradients)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative(_OP)
