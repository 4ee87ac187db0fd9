"""cross_entropy on kernels/cross_entropy.py. Triton is imported when the form is used."""

import importlib
import importlib.util
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from groundup.ops import device, dispatch
from groundup.ops.cross_entropy_device import FORMS, N_SHARED, Kernels, flag
from groundup.ops.cross_entropy_inplace import Consumer
from groundup.ops.cross_entropy_torch import Options

_BLOCK_N = 1024
_LARGEST_BLOCK = 4096  # of classes; shorter rows take the power of two that holds them


def block_of(n_classes: int) -> tuple[int, int]:
    """(BLOCK_V, warps) for rows of that many classes."""
    block = min(_LARGEST_BLOCK, max(16, 1 << (n_classes - 1).bit_length()))
    return block, max(1, min(8, block // 256))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def missing() -> str | None:
    """Why Triton cannot be used here and what to do about it, or None; it is not imported."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'groundup[gpu]' installs it, on Linux"
    return None


def interpreted() -> bool:
    """Whether Triton runs kernels on tensors of the CPU, as TRITON_INTERPRET=1 asks of it."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not(input: Tensor) -> str | None:
    """What keeps the Triton kernels from this input; None if nothing does."""
    reason: str | None = missing()
    if reason is not None:
        return reason
    if input.is_cpu and interpreted():
        return None if input.dtype in device.DTYPES else f"it takes no {input.dtype}"
    return device.why_not_device(input)


@cache
def _kernels() -> Any:
    return importlib.import_module("groundup.kernels.cross_entropy")


def _flags(weight: Tensor | None, options: Options, n_classes: int) -> dict[str, Any]:
    block, warps = block_of(n_classes)
    return {
        "WEIGHTED": weight is not None,
        "SMOOTHED": options[2] > 0,
        "CAPPED": options[4] > 0,
        "BLOCK_V": block,
        "num_warps": warps,
    }


def _forward(
    input: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    dispatch.note("cross_entropy", "triton")
    kernels = _kernels()
    (n_rows, n_classes), place = input.shape, input.device
    ignore_index, reduction, label_smoothing, lse_square_scale, softcap = options
    statistics = torch.empty(2 * n_rows + N_SHARED, dtype=torch.float32, device=place)
    shared = statistics[2 * n_rows :]
    row_loss = torch.empty(
        n_rows, dtype=torch.float64 if reduction else torch.float32, device=place
    )
    weights = statistics if weight is None else weight  # some pointer, never read
    with _on(input):
        kernels.cross_entropy_totals_kernel[(1,)](
            target,
            weights,
            shared,
            flag(),
            n_rows,
            n_classes,
            ignore_index,
            MEAN=reduction == 1,
            WEIGHTED=weight is not None,
            BLOCK_N=_BLOCK_N,
        )
        if n_rows:
            kernels.cross_entropy_forward_kernel[(n_rows,)](
                input,
                target,
                weights,
                statistics,
                shared,
                row_loss,
                n_classes,
                input.stride(0),
                ignore_index,
                label_smoothing,
                lse_square_scale,
                softcap,
                **_flags(weight, options, n_classes),
            )
        if not reduction:
            return row_loss, statistics
        loss = torch.empty((), dtype=torch.float32, device=place)
        kernels.cross_entropy_sum_kernel[(1,)](row_loss, shared, loss, n_rows, BLOCK_N=_BLOCK_N)
    return loss, statistics


def _backward(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    dlogits = torch.empty_like(input, memory_format=torch.contiguous_format)
    _differentiate(dlogits, dloss, statistics, input, target, weight, options)
    return dlogits


def _differentiate(
    dlogits: Tensor,
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> None:
    """Into `dlogits`, which may be `input`."""
    n_rows, n_classes = input.shape
    ignore_index, _, label_smoothing, lse_square_scale, softcap = options
    if not n_rows:
        return
    with _on(input):
        _kernels().cross_entropy_backward_kernel[(n_rows,)](
            input,
            target,
            statistics if weight is None else weight,
            statistics,
            statistics[2 * n_rows :],
            dloss,
            dlogits,
            n_classes,
            input.stride(0),
            ignore_index,
            label_smoothing,
            lse_square_scale,
            softcap,
            PER_ROW=dloss.dim() == 1,
            INPLACE=dlogits is input,
            **_flags(weight, options, n_classes),
        )


def _consume(input: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    loss, statistics = _forward(input, target, weight, options)
    one = torch.ones((), dtype=torch.float32, device=input.device)
    _differentiate(input, one, statistics, input, target, weight, options)
    return loss


def _scale(dlogits: Tensor, dloss: Tensor) -> None:
    n_rows, n_classes = dlogits.shape
    if not n_rows:
        return
    block, warps = block_of(n_classes)
    with _on(dlogits):
        _kernels().cross_entropy_scale_kernel[(n_rows,)](
            dlogits,
            dloss.contiguous(),
            n_classes,
            PER_ROW=dloss.dim() == 1,
            BLOCK_V=block,
            num_warps=warps,
        )


def _on(input: Tensor) -> torch.cuda.device:
    """Triton launches on the current device; -1, for the interpreter's tensors, changes nothing."""
    return torch.cuda.device(input.device if input.is_cuda else -1)


FORMS["triton"] = Kernels(why_not, _forward, _backward, Consumer(_consume, _scale))
