"""causal_attention: each position looks at itself and what came before it."""

import math

import torch
from torch import Tensor

from groundup.ops import dispatch, gate, native
from groundup.ops.attention_cpp import causal_attention_cpp
from groundup.ops.attention_reference import causal_attention_reference
from groundup.ops.attention_torch import Options, causal_attention_torch

_NAMES = ("query", "key", "value")

# The kernel works on the queries of a head side by side, 16 at a time, and torch's products of
# single rows are faster than leaving most of those places empty (docs/log.md, Attention).
_FEW_QUERIES = 4


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

    query    (B, H, T, D)      float32 | bfloat16 natively on the CPU; other dtypes and devices, and
                               T up to 4, run on torch. Any strides; a last dimension that is not
                               contiguous is copied
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
    weights are never stored: backward rebuilds them from one number per row, and gives the same
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
    left = _check(query, key, value, scale, dropout_p, enable_gqa, window_size, softcap, alignment)
    width = query.shape[3]
    options = Options(
        (1.0 / math.sqrt(width) if width else math.inf) if scale is None else float(scale),
        dropout_p,
        key.shape[2] - query.shape[2] if alignment == "lower_right" else 0,
        -1 if left is None else left,
        softcap or 0.0,
    )
    if name == "torch":
        return causal_attention_torch(query, key, value, options)

    # Of plain tensors one cheap question is enough; a tracer has to see the whole of it.
    if not plain or torch._C._is_any_autocast_enabled():
        query, key, value = _autocast(query, key, value)
    if name is None:
        few = query.shape[2] <= _FEW_QUERIES
        name = "torch" if few or _why_not_cpp(query, key, value) is not None else "cpp"
        if native.missing is not None:
            native.warn_missing()
    elif name == "cpp" and (reason := _why_not_cpp(query, key, value)) is not None:
        raise dispatch.cannot("causal_attention", "cpp", reason)
    if name == "torch":
        return causal_attention_torch(query, key, value, options)
    dropout_key = None
    if dropout_p > 0.0:
        # From torch's generator: torch.manual_seed and checkpointing repeat the mask.
        dropout_key = torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64)
    if name == "cpp":
        return causal_attention_cpp(query, key, value, dropout_key, options, plain)
    return causal_attention_reference(query, key, value, dropout_key, options, plain)


def _why_not_cpp(query: Tensor, key: Tensor, value: Tensor) -> str | None:
    """What keeps the native kernel from these tensors; None if nothing does."""
    if native.missing is not None:
        return native.missing
    if not (query.is_cpu or query.is_meta):
        return f"it runs on the CPU, and query is on {query.device}"
    if query.dtype is not torch.float32 and query.dtype is not torch.bfloat16:
        return f"it takes float32 and bfloat16, and query is {query.dtype}"
    if key.dtype is not query.dtype or value.dtype is not query.dtype:
        return f"it takes one dtype, and got {query.dtype}, {key.dtype} and {value.dtype}"
    if query.shape[3] == 0:
        return "it takes a width D of at least 1, and query has 0"
    return None


def _is_autocast_on(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In autocast's dtype where it is on, as torch's own attention, which leaves float64 alone."""
    device = tensors[0].device.type
    if not _is_autocast_on(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t.dtype is torch.float64 else t.to(dtype) for t in tensors)


def _alike(query: Tensor | None, key: Tensor | None, value: Tensor | None) -> bool:
    """Whether all three pass what _check_each, at a higher price, asks one by one."""
    if query is None or key is None or value is None:
        return False
    dtype, device = query.dtype, query.device
    return (
        query.dim() == 4
        and key.dim() == 4
        and value.dim() == 4
        and dtype.is_floating_point
        and key.dtype is dtype
        and value.dtype is dtype
        and key.device == device
        and value.device == device
    )


def _check_each(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise for the first that is no tensor of four dimensions, or unlike query."""
    for name, tensor in zip(_NAMES, (query, key, value), strict=True):
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
        if tensor.dtype != query.dtype and not _is_autocast_on(query.device.type):
            raise TypeError(
                f"{name}: expected the dtype of query, {query.dtype}, got {tensor.dtype}; "
                f"try {name}.to({query.dtype})"
            )


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float | None,
    dropout_p: float,
    enable_gqa: bool,
    window_size: tuple[int, int] | None,
    softcap: float | None,
    alignment: str,
) -> int | None:
    """Refuse what does not fit together; return how far back a query sees, None for all the way."""
    if not _alike(query, key, value):
        _check_each(query, key, value)
    batch, heads, _, width = query.shape
    key_batch, key_heads, n_keys, key_width = key.shape
    value_batch, value_heads, n_values, _ = value.shape
    if key_batch != batch or value_batch != batch:
        raise ValueError(
            f"expected one batch size in query, key and value, got {batch}, {key_batch} and "
            f"{value_batch}"
        )
    if key_heads != value_heads or n_keys != n_values:
        raise ValueError(
            "key and value: expected the same (B, H, S), got "
            f"{tuple(key.shape[:3])} and {tuple(value.shape[:3])}"
        )
    if key_width != width:
        raise ValueError(f"key: expected the width of query, D = {width}, got {key_width}")
    if enable_gqa:
        if key_heads == 0 or heads % key_heads:
            raise ValueError(
                f"enable_gqa: expected the {heads} query heads to be a multiple of the key heads, "
                f"got {key_heads}"
            )
    elif key_heads != heads:
        raise ValueError(
            f"key: expected the {heads} heads of query, got {key_heads}; pass enable_gqa=True "
            "to share each key head among several query heads"
        )
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p: expected a probability in [0, 1), got {dropout_p}")
    if scale is not None and not -math.inf < scale < math.inf:
        raise ValueError(f"scale: expected a finite number or None, got {scale}")
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
