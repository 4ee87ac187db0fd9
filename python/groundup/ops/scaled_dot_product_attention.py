"""scaled_dot_product_attention: torch's call, on our kernel where that has what is asked for."""

import math

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

from groundup.ops import dispatch
from groundup.ops.attention import causal_attention

_ADMITTED = (Tensor, Parameter, FakeTensor, FunctionalTensor)  # by the gate; the rest is torch's


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention, argument for argument.

    query    (N..., H, T, D)   any number of leading dimensions, as in torch; also (T, D)
    key      (N..., H, S, D)   with enable_gqa (N..., H / n, S, D)
    value    (N..., H, S, Dv)
    returns  (N..., H, T, Dv)

    gu.causal_attention answers what has no mask and either is_causal, with torch's upper-left rule
    where T != S, or one query, T = 1, which sees every key. Everything else runs on torch at
    torch's speed, and raises what torch raises:

    - attn_mask, and T > 1 without is_causal: there is no kernel of ours for them
    - leading dimensions that broadcast, dtypes and devices that differ or that the kernel lacks
    - tensor subclasses, nested and sparse tensors, torch.func transforms, forward mode
    - a dropout_p or scale that causal_attention refuses

    groundup.use("causal_attention=torch") takes the rest there too. Dropout draws its mask from
    torch's generator, but not torch's mask. A second derivative raises.
    """
    if _is_ours(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
        four = query.dim() == 4
        out = causal_attention(
            query if four else _four_dimensions(query),
            key if four else _four_dimensions(key),
            value if four else _four_dimensions(value),
            scale=scale,
            dropout_p=dropout_p,
            enable_gqa=enable_gqa,
            alignment="upper_left" if is_causal else "lower_right",
        )
        return out if four else out.reshape(*query.shape[:-1], value.shape[-1])
    if not torch.compiler.is_compiling():
        dispatch.note("scaled_dot_product_attention", "torch")
    return torch_sdpa(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def _is_ours(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> bool:
    """Whether causal_attention takes these and gives what torch would."""
    if attn_mask is not None or not all(map(_is_plain, (query, key, value))):
        return False
    dims = query.dim()
    if dims < 2 or key.dim() != dims or value.dim() != dims:
        return False
    if not is_causal and query.shape[-2] != 1:
        return False
    # One batch, and heads that are equal or, with enable_gqa, shared; torch broadcasts the rest.
    shared = -3 if enable_gqa and dims > 2 else -2
    return (
        key.shape[:shared] == query.shape[:shared]
        and key.shape[:-1] == value.shape[:-1]
        and key.shape[-1] == query.shape[-1] > 0
        and (shared == -2 or (key.shape[-3] > 0 and query.shape[-3] % key.shape[-3] == 0))
        and query.is_floating_point()
        and key.dtype == query.dtype == value.dtype
        and key.device == query.device == value.device
        and 0.0 <= dropout_p < 1.0
        and (scale is None or -math.inf < scale < math.inf)
        and (torch.compiler.is_compiling() or not _is_transformed())
    )


def _is_plain(tensor: object) -> bool:
    """Whether the gate would admit it."""
    return (
        isinstance(tensor, Tensor)
        and type(tensor) in _ADMITTED
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and (torch.compiler.is_compiling() or not tensor.is_neg())
    )


def _is_transformed() -> bool:
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


def _four_dimensions(tensor: Tensor) -> Tensor:
    """(B, H, T, D): what stands before the heads as one batch, or a batch and a head of one."""
    if tensor.dim() > 4:
        return tensor.flatten(0, -4)
    while tensor.dim() < 4:
        tensor = tensor[None]
    return tensor
