"""What cross_entropy's arguments must be, in sentences."""

import math

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_tensors(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise a ValueError or TypeError unless shapes, dtypes and devices fit together."""
    if input is None or target is None:  # the gate lets None pass, which weight may be
        raise TypeError(
            f"{'input' if input is None else 'target'}: expected a torch.Tensor, got NoneType"
        )
    if input.dim() != 2:
        raise ValueError(
            f"input: expected shape (N, V), got {tuple(input.shape)}; use .view(-1, V)"
            + (f", that is input.view(-1, {input.shape[-1]})" if input.dim() > 2 else "")
        )
    if input.dtype not in _DTYPES:
        raise TypeError(
            "input: expected float32, bfloat16, float16 or float64, got "
            f"{input.dtype}; try input.float()"
        )
    n_rows, n_classes = input.shape
    if target.is_floating_point() and target.shape == input.shape:
        raise TypeError(
            "target: expected class indices, got class probabilities, which groundup does not "
            "take; torch.nn.functional.cross_entropy does"
        )
    if target.dtype is not torch.int64:
        raise TypeError(f"target: expected int64, got {target.dtype}; try target.long()")
    if target.dim() != 1 or target.shape[0] != n_rows:
        raise ValueError(
            f"target: expected shape (N,) = ({n_rows},), got {tuple(target.shape)}"
            + ("; try target.view(-1)" if target.numel() == n_rows else "")
        )
    if n_classes == 0:
        raise ValueError(f"input: expected at least one class, got shape {tuple(input.shape)}")
    if target.device != input.device:
        raise ValueError(
            f"target: expected the device of input, {input.device}, got {target.device}; try "
            "target.to(input.device)"
        )
    if weight is None:
        return
    if weight.dim() != 1 or weight.shape[0] != n_classes:
        raise ValueError(f"weight: expected shape (V,) = ({n_classes},), got {tuple(weight.shape)}")
    if weight.dtype is not torch.float32 and weight.dtype is not input.dtype:
        raise TypeError(
            f"weight: expected torch.float32 or the dtype of input, {input.dtype}, got "
            f"{weight.dtype}; try weight.to(input.dtype)"
        )
    if weight.device != input.device:
        raise ValueError(
            f"weight: expected the device of input, {input.device}, got {weight.device}; try "
            "weight.to(input.device)"
        )
    if weight.requires_grad and torch.is_grad_enabled():
        raise ValueError("weight: expected no gradient to be required; try weight.detach()")


def out_of_range(
    ignore_index: object, label_smoothing: float, lse_square_scale: float, softcap: float | None
) -> ValueError | TypeError:
    """The error for the first of the numbers that is not in its range."""
    if not isinstance(ignore_index, int):
        return TypeError(f"ignore_index: expected an int, got {type(ignore_index).__name__}")
    if not -(1 << 63) <= ignore_index < 1 << 63:
        return ValueError(f"ignore_index: expected a 64-bit integer, got {ignore_index}")
    if not 0.0 <= label_smoothing <= 1.0:
        return ValueError(f"label_smoothing: expected a number in [0, 1], got {label_smoothing}")
    if not 0.0 <= lse_square_scale < math.inf:
        return ValueError(
            f"lse_square_scale: expected a finite number of at least 0, got {lse_square_scale}"
        )
    return ValueError(f"softcap: expected a positive finite number or None, got {softcap}")
