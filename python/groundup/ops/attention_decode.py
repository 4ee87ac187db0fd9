"""decode_attention: the newest tokens of each sequence against its cache of keys and values."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

from groundup.ops import dispatch, gate, native
from groundup.ops.arrays import attention_arrays, expect_plain
from groundup.ops.attention_check import (
    autocast,
    check_options,
    check_tensors,
    why_not_cpp,
)
from groundup.reference import attention_ragged as reference

_OP = "decode_attention"
_NAMES = ("query", "key_cache", "value_cache", "lengths", "cache_leftpad")


class _Options(NamedTuple):
    scale: float
    left: int  # how many keys a query sees before its own; -1: all
    softcap: float  # 0.0: none


def decode_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    lengths: Tensor | int | None = None,
    *,
    cache_leftpad: Tensor | None = None,
    scale: float | None = None,
    window_size: tuple[int, int] | None = None,
    softcap: float | None = None,
) -> Tensor:
    """causal_attention of a sequence's last T tokens, with the keys of all of it in a cache.

    query          (B, H, T, D)      float32 | bfloat16 natively on the CPU, other dtypes and
                                     devices on torch; any strides; T is 1 for most decoders
    key_cache      (B, H / n, S, D)  room for S keys, those of the T tokens already stored; n query
                                     heads share a key head, and its keys are read once for them
    value_cache    (B, H / n, S, Dv)
    lengths        (B,) int64 | int32, one int for all, or None for S: how many keys each sequence
                   has, the T tokens' included; what lies behind them is never read
    cache_leftpad  (B,) int64 | int32: how many keys to leave out at the cache's beginning, as
                   flash-attn's flash_attn_with_kvcache has it; None for none
    returns        (B, H, T, Dv), dtype of query; query t stands at key length - T + t, and gives
                   zeros where that sees no key

    scale, window_size and softcap as in causal_attention. The cost is reading the keys and values
    in sight once from memory. A sequence's bits depend neither on the number of threads nor on
    the rest of the batch.

    For inference: raises RuntimeError where a gradient would be needed, ValueError or TypeError for
    shapes, dtypes, lengths and options that do not fit together.
    """
    name = dispatch.forced.get(_OP)
    spans = (lengths if isinstance(lengths, Tensor) else None, cache_leftpad)
    if name == "torch":
        gate.expect_tensors(_NAMES, query, key_cache, value_cache, *spans)
        plain = False
    else:
        plain = gate.admit(_OP, _NAMES, query, key_cache, value_cache, *spans)
    check_tensors(_NAMES[:3], query, key_cache, value_cache, enable_gqa=True)
    left = check_options(scale, 0.0, window_size, softcap, "lower_right")
    _check_spans(query, key_cache, lengths, cache_leftpad)
    tensors = (query, key_cache, value_cache)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise RuntimeError(
            "decode_attention has no gradient: call it under torch.no_grad(), or use "
            "causal_attention"
        )
    width = query.shape[3]
    options = _Options(
        (1.0 / math.sqrt(width) if width else math.inf) if scale is None else float(scale),
        -1 if left is None else left,
        softcap or 0.0,
    )
    query, key_cache, value_cache = autocast(query, key_cache, value_cache)
    reason = why_not_cpp(query, key_cache, value_cache)
    if name is None:
        name = "cpp" if reason is None else "torch"
        if native.missing is not None:
            native.warn_missing()
    elif name == "cpp" and reason is not None:
        raise dispatch.cannot(_OP, "cpp", reason)
    if name == "reference":
        expect_plain(_OP, plain)
        begin, end = _spans(key_cache, lengths, cache_leftpad)
        return _reference(query, key_cache, value_cache, begin, end, options)
    if name == "cpp" and plain:
        begin, end = _spans(key_cache, lengths, cache_leftpad)
        return _cpp(query, key_cache, value_cache, begin, end, options)
    if not torch.compiler.is_compiling() and all(
        span is None or isinstance(span, int) or (span.is_cpu and gate.is_untouched(span))
        for span in (lengths, cache_leftpad)
    ):
        _spans(key_cache, lengths, cache_leftpad)  # raises for what lies outside of the cache
    if not isinstance(lengths, Tensor):
        n_keys = key_cache.shape[2] if lengths is None else lengths
        lengths = torch.full((query.shape[0],), n_keys, dtype=torch.int64, device=query.device)
    if name == "cpp":
        out: Tensor = torch.ops.groundup.decode_attention(
            query, key_cache, value_cache, lengths, cache_leftpad, *options
        )
        return out
    return _torch(query, key_cache, value_cache, lengths, cache_leftpad, options)


def _check_spans(
    query: Tensor, key_cache: Tensor, lengths: Tensor | int | None, leftpad: Tensor | None
) -> None:
    batch, n_keys = query.shape[0], key_cache.shape[2]
    for name, given in (("lengths", lengths), ("cache_leftpad", leftpad)):
        if isinstance(given, Tensor):
            if given.dtype not in (torch.int64, torch.int32):
                raise TypeError(f"{name}: expected int64 or int32, got {given.dtype}")
            if given.shape != (batch,):
                raise ValueError(
                    f"{name}: expected one number a sequence, shape ({batch},), "
                    f"got {tuple(given.shape)}"
                )
            if given.device != query.device:
                raise ValueError(
                    f"{name}: expected the device of query, {query.device}, got {given.device}"
                )
        elif given is not None and type(given) is not int:
            raise TypeError(
                f"lengths: expected a tensor, an int or None, got {type(given).__name__}"
            )
    if type(lengths) is int and not 0 <= lengths <= n_keys:
        raise ValueError(f"lengths: expected up to the cache's {n_keys} keys, got {lengths}")


def _spans(
    key_cache: Tensor, lengths: Tensor | int | None, leftpad: Tensor | None
) -> tuple[list[int], list[int]]:
    """Each sequence's first key and the end of its keys, which lie within the cache."""
    batch, n_keys = key_cache.shape[0], key_cache.shape[2]
    if isinstance(lengths, Tensor):
        end = lengths.tolist()
    else:
        end = [n_keys if lengths is None else lengths] * batch
    begin = [0] * batch if leftpad is None else leftpad.tolist()
    for b, (first, stop) in enumerate(zip(begin, end, strict=True)):
        if not 0 <= stop <= n_keys:
            raise ValueError(
                f"lengths: expected up to the cache's {n_keys} keys, got {stop} for sequence {b}"
            )
        if not 0 <= first <= stop:
            raise ValueError(
                f"cache_leftpad: expected within the {stop} keys of sequence {b}, got {first}"
            )
    return begin, end


def _cpp(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    begin: list[int],
    end: list[int],
    options: _Options,
) -> Tensor:
    dispatch.note(_OP, "cpp")
    query, key, value = (
        each if each.stride(3) == 1 or each.shape[3] == 1 else each.contiguous()
        for each in (query, key, value)
    )
    batch, heads, n_queries, width = query.shape
    out = query.new_empty((batch, heads, n_queries, value.shape[3]))
    native.core.attention_decode_cpu(
        gate.address("query", query),
        gate.address("key_cache", key),
        gate.address("value_cache", value),
        out.data_ptr(),
        0,
        query.dtype is torch.bfloat16,
        (batch, heads, key.shape[1], n_queries, key.shape[2], width, value.shape[3]),
        (*query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3]),
        begin,
        end,
        0,
        options.left,
        options.scale,
        options.softcap,
    )
    return out


def _reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    begin: list[int],
    end: list[int],
    options: _Options,
) -> Tensor:
    dispatch.note(_OP, "reference")
    q, k, v = attention_arrays(query, key, value)
    out = reference.decode(
        q,
        k,
        v,
        end,
        begin,
        scale=options.scale,
        left=None if options.left < 0 else options.left,
        softcap=options.softcap or None,
    )
    return torch.from_numpy(out).to(query.device, query.dtype)


def _torch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Tensor,
    leftpad: Tensor | None,
    options: _Options,
) -> Tensor:
    """With a mask and a copy of the cache: what lies behind a sequence may be NaN, even times 0."""
    if not torch.compiler.is_compiling():
        dispatch.note(_OP, "torch")
    n_queries, n_keys = query.shape[2], key.shape[2]
    place = torch.arange(n_keys, device=query.device)
    own = lengths[:, None] - n_queries + torch.arange(n_queries, device=query.device)
    exists = place < lengths[:, None]
    if leftpad is not None:
        exists = exists & (place >= leftpad[:, None])
    seen = exists[:, None] & (place <= own[..., None])
    if options.left >= 0:
        seen = seen & (place >= own[..., None] - options.left)
    key = torch.where(exists[:, None, :, None], key, 0.0)
    value = torch.where(exists[:, None, :, None], value, 0.0)
    group = query.shape[1] // max(1, key.shape[1])
    mask = seen[:, None]
    if options.softcap > 0.0:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = (query @ key.mT).to(torch.promote_types(query.dtype, torch.float32))
        scores = options.softcap * torch.tanh(scores * options.scale / options.softcap)
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        out = weights.to(value.dtype) @ value
    else:
        scale = options.scale
        if scale <= 0.0:  # torch's kernel may scale what it has masked
            query, scale = query * scale, 1.0
        out = torch_sdpa(query, key, value, mask, scale=scale, enable_gqa=group != 1)
    return torch.where(mask.any(-1, keepdim=True), out, 0.0)


_library = torch.library.Library("groundup", "FRAGMENT")
_library.define(
    "decode_attention(Tensor query, Tensor key_cache, Tensor value_cache, Tensor lengths, "
    "Tensor? cache_leftpad, float scale, int left, float softcap) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Tensor,
    leftpad: Tensor | None,
    *options: float,
) -> Tensor:
    return _cpp(query, key, value, *_spans(key, lengths, leftpad), _Options(*options))  # type: ignore[arg-type]


def _fake(query: Tensor, key: Tensor, value: Tensor, *_: object) -> Tensor:
    return query.new_empty((*query.shape[:3], value.shape[3]))


_library.impl("decode_attention", _operator, "CPU")
torch.library.register_fake("groundup::decode_attention", _fake, lib=_library)
