"""cross_entropy on csrc/cross_entropy.cu: allocation, pointers, device and stream."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import device, dispatch, gate
from groundup.ops.cross_entropy_device import FORMS, N_SHARED, Kernels, flag
from groundup.ops.cross_entropy_inplace import Consumer
from groundup.ops.cross_entropy_torch import Options
from groundup.ops.device import DTYPES


def why_not(input: Tensor) -> str | None:
    """What keeps the CUDA kernels from this input; None if nothing does."""
    return device.why_not(input)


# Scratch and statistics may be freed when a call returns, though the device has not come to it:
# torch gives memory back to the stream it was taken on, in that stream's order.


def _loss(
    function: str, input: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    dispatch.note("cross_entropy", "cuda")
    core: Any = device.core
    n_rows, n_classes = input.shape
    loss = torch.empty(() if options[1] else (n_rows,), dtype=torch.float32, device=input.device)
    statistics = torch.empty(2 * n_rows + N_SHARED, dtype=torch.float32, device=input.device)
    scratch = torch.empty(
        core.cross_entropy_scratch(n_rows), dtype=torch.uint8, device=input.device
    )
    with device.launching(input) as where:
        getattr(core, function)(
            *where,
            gate.address("input", input),
            DTYPES[input.dtype],
            n_rows,
            n_classes,
            input.stride(0),
            gate.address("target", target),
            0 if weight is None else gate.address("weight", weight),
            *options,
            loss.data_ptr(),
            statistics.data_ptr(),
            scratch.data_ptr(),
            flag().data_ptr(),
        )
    return loss, statistics


def _forward(
    input: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    return _loss("cross_entropy_forward_cuda", input, target, weight, options)


def _backward(
    dloss: Tensor,
    statistics: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    n_rows, n_classes = input.shape
    dlogits = torch.empty_like(input, memory_format=torch.contiguous_format)
    with device.launching(input) as where:
        device.core.cross_entropy_backward_cuda(
            *where,
            gate.address("input", input),
            DTYPES[input.dtype],
            n_rows,
            n_classes,
            input.stride(0),
            gate.address("target", target),
            0 if weight is None else gate.address("weight", weight),
            *options,
            statistics.data_ptr(),
            gate.address("dloss", dloss),
            dlogits.data_ptr(),
            n_classes,
        )
    return dlogits


def _consume(input: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    return _loss("cross_entropy_inplace_cuda", input, target, weight, options)[0]


def _scale(dlogits: Tensor, dloss: Tensor) -> None:
    n_rows, n_classes = dlogits.shape
    dloss = dloss.contiguous()
    with device.launching(dlogits) as where:
        device.core.cross_entropy_scale_cuda(
            *where,
            gate.address("dlogits", dlogits),
            DTYPES[dlogits.dtype],
            n_rows,
            n_classes,
            n_classes,
            0 if dloss.dim() else 2,
            gate.address("dloss", dloss),
        )


FORMS["cuda"] = Kernels(why_not, _forward, _backward, Consumer(_consume, _scale))
