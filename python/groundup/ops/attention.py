"""causal_attention: each position looks at itself and what came before it."""

import math

import torch
from torch import Tensor

from groundup.ops import dispatch, gate, native
from groundup.ops.attention_check import (
    autocast,
    check_options,
    check_tensors,
    why_not_cpp,
)
from groundup.ops.attention_cpp import causal_attention_cpp
from groundup.ops.attention_reference import causal_attention_reference
from groundup.ops.attention_torch import Options, causal_attention_torch

_NAMES = ("query", "key", "value")


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

    query    (B, H, T, D)      float32 | bfloat16 natively on the CPU; other dtypes and devices run
                               on torch. Any strides; a last dimension that is not contiguous is
                               copied
    key      (B, H, S, D)      with enable_gqa (B, H / n, S, D): n query heads share a key head
    value    (B, H, S, Dv)     as key
    returns  (B, H, T, Dv)     dtype of query

    scale        multiplies the scores, finite; None is 1 / sqrt(D)
    dropout_p    probability in [0, 1) of dropping a weight; applied whenever it is above 0, as
                 torch's scaled_dot_product_attention does: pass 0.0 in evaluation
    window_size  (left, right) as in flash-attn: a query at position p sees the keys in
                 [p - left, p + right]; -1 is unbounded; the future stays hidden whatever right is
    softcap      scores become softcap * tanh(scores / softcap), after scale
    alignment    which key a query stands at when T != S: "lower_right" puts the last query at the
                 last key (a cache), "upper_left" the first at the first (torch's is_causal)

    A query that sees no key gives a row of zeros and passes zero gradient. Natively the (T, S)
    weights are never stored: backward rebuilds them from two numbers per row, and gives the same
    bits whatever the number of threads. Which weights are dropped follows from two numbers drawn
    from torch's generator. Under autocast float32 is cast as torch's own attention casts it.

    Raises ValueError or TypeError for shapes, dtypes and options that do not fit together,
    RuntimeError for a second derivative, which groundup.use("causal_attention=torch") has.
    Source: Vaswani et al. 2017; Zero to Hero, lecture 7.
    """
    name = dispatch.forced.get("causal_attention")
    if name == "torch":
        gate.expect_tensors(_NAMES, query, key, value)
        plain = False
    else:
        plain = gate.admit("causal_attention", _NAMES, query, key, value)
    check_tensors(_NAMES, query, key, value, enable_gqa)
    options = options_of(
        query.shape[3],
        key.shape[2] - query.shape[2],
        scale,
        dropout_p,
        window_size,
        softcap,
        alignment,
    )
    if name == "torch":
        return causal_attention_torch(query, key, value, options)

    # Of plain tensors one cheap question is enough; a tracer has to see the whole of it.
    if not plain or torch._C._is_any_autocast_enabled():
        query, key, value = autocast(query, key, value)
    if name is None:
        name = "cpp" if why_not_cpp(query, key, value) is None else "torch"
        if native.missing is not None:
            native.warn_missing()
    elif name == "cpp" and (reason := why_not_cpp(query, key, value)) is not None:
        raise dispatch.cannot("causal_attention", "cpp", reason)
    if name == "torch":
        return causal_attention_torch(query, key, value, options)
    dropout_key = draw_dropout_key(dropout_p)
    if name == "cpp":
        return causal_attention_cpp(query, key, value, dropout_key, options, plain)
    return causal_attention_reference(query, key, value, dropout_key, options, plain)


def options_of(
    width: int,
    lead: int,
    scale: float | None,
    dropout_p: float,
    window_size: tuple[int, int] | None,
    softcap: float | None,
    alignment: str,
) -> Options:
    """The arguments, checked, as implementations take them; `lead` is how many keys there are more
    than queries."""
    left = check_options(scale, dropout_p, window_size, softcap, alignment)
    return Options(
        (1.0 / math.sqrt(width) if width else math.inf) if scale is None else float(scale),
        dropout_p,
        lead if alignment == "lower_right" else 0,
        -1 if left is None else left,
        softcap or 0.0,
    )


def draw_dropout_key(dropout_p: float) -> Tensor | None:
    """(2,) int64, from which a mask follows; None where nothing is dropped."""
    if dropout_p <= 0.0:
        return None
    # From torch's generator: torch.manual_seed and checkpointing repeat the mask.
    return torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64)
