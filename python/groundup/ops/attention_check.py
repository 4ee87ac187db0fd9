"""What attention's ops may be given: dtypes, shapes and options that fit together."""

import math

import torch
from torch import Tensor

from groundup.ops import native

_FAR = 1 << 40  # farther back than any sequence goes, and what the kernels can add to


def why_not_cpp(query: Tensor, key: Tensor, value: Tensor) -> str | None:
    """What keeps the native kernel from these tensors; None if nothing does."""
    if native.missing is not None:
        return native.missing
    if not (query.is_cpu or query.is_meta):
        return f"it runs on the CPU, and query is on {query.device}"
    if query.dtype is not torch.float32 and query.dtype is not torch.bfloat16:
        return f"it takes float32 and bfloat16, and query is {query.dtype}"
    if key.dtype is not query.dtype or value.dtype is not query.dtype:
        return f"it takes one dtype, and got {query.dtype}, {key.dtype} and {value.dtype}"
    if query.shape[-1] == 0:
        return "it takes a width D of at least 1, and query has 0"
    return None


def _is_autocast_on(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In autocast's dtype where it is on, as torch's own attention, which leaves float64 alone."""
    device = tensors[0].device.type
    if not _is_autocast_on(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t.dtype is torch.float64 else t.to(dtype) for t in tensors)


def check_tensors(
    names: tuple[str, ...], query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool
) -> None:
    """Refuse (B, H, T, D), (B, H / n, S, D) and (B, H / n, S, Dv) that do not fit together; n may
    be more than 1 with enable_gqa."""
    if not _alike(query, key, value):
        for name, tensor in zip(names, (query, key, value), strict=True):
            check_kind(name, tensor, query)
            if tensor.dim() != 4:
                raise ValueError(
                    f"{name}: expected 4 dimensions (B, H, T, D), got shape {tuple(tensor.shape)}; "
                    "split the heads with .view(B, T, H, D).transpose(1, 2)"
                )
    batch, heads, _, width = query.shape
    key_batch, key_heads, n_keys, key_width = key.shape
    value_batch, value_heads, n_values, _ = value.shape
    if key_batch != batch or value_batch != batch:
        raise ValueError(
            f"expected one batch size in {names[0]}, {names[1]} and {names[2]}, got {batch}, "
            f"{key_batch} and {value_batch}"
        )
    if key_heads != value_heads or n_keys != n_values:
        raise ValueError(
            f"{names[1]} and {names[2]}: expected the same (B, H, S), got "
            f"{tuple(key.shape[:3])} and {tuple(value.shape[:3])}"
        )
    check_heads(names[1], heads, width, key_heads, key_width, enable_gqa)


def _alike(query: Tensor | None, key: Tensor | None, value: Tensor | None) -> bool:
    """Whether all three pass what check_kind, at a higher price, asks one by one."""
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


def check_kind(name: str, tensor: Tensor, query: Tensor) -> None:
    """Refuse what is no floating point tensor of query's device and dtype."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
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


def check_heads(
    name: str, heads: int, width: int, key_heads: int, key_width: int, enable_gqa: bool
) -> None:
    """Refuse keys of another width, or of heads that query's cannot share."""
    if key_width != width:
        raise ValueError(f"{name}: expected the width of query, D = {width}, got {key_width}")
    if enable_gqa:
        if key_heads == 0 or heads % key_heads:
            raise ValueError(
                f"enable_gqa: expected the {heads} query heads to be a multiple of the key heads, "
                f"got {key_heads}"
            )
    elif key_heads != heads:
        raise ValueError(
            f"{name}: expected the {heads} heads of query, got {key_heads}; pass enable_gqa=True "
            "to share each key head among several query heads"
        )


def check_options(
    scale: float | None,
    dropout_p: float,
    window_size: tuple[int, int] | None,
    softcap: float | None,
    alignment: str,
) -> int | None:
    """Refuse options out of range; return how far back a query sees, None for all the way."""
    for name, number in (("dropout_p", dropout_p), ("scale", scale), ("softcap", softcap)):
        if isinstance(number, str | bytes | list | tuple | dict):
            raise TypeError(f"{name}: expected a number, got {type(number).__name__}")
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
    return None if window_size[0] == -1 else min(window_size[0], _FAR)
