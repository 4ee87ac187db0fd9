"""AdamW on csrc/adamw.cu: one launch over all parameters, from a table copied to the device.

What fits is as on the CPU (adamw_cpp.py); the table is made anew each step. The step counts are the
host's, as torch's own default has them, so a step waits for nothing on the device; the norm stays
there too, as `grad_norm`.
"""

from array import array
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops import device, dispatch
from groundup.ops.device import DTYPES
from groundup.optim.adamw_cpp import Place, Table, Unfit, read, refuse_graphs


def _kind_of(param: torch.dtype, moment: torch.dtype | None, amsgrad: bool) -> int:
    return DTYPES[param] + 4 * (0 if moment is None else DTYPES[moment]) + 16 * amsgrad


CUDA = Place("a CUDA device", lambda tensor: tensor.is_cuda, tuple(DTYPES), _kind_of)


def step(optimizer: Any) -> None:
    """Clip and update the parameters that have a gradient, and leave grad_norm.

    Raises Unfit before anything is changed.
    """
    if device.missing is not None:
        raise Unfit(device.missing)
    refuse_graphs(optimizer.param_groups)
    for group in optimizer.param_groups:
        for param in group["params"]:
            if (reason := device.why_not_device(param, name="a parameter")) is not None:
                raise Unfit(reason)
    optimizer._table = None  # what the CPU's kernel kept
    table, grads, copied = read(optimizer, CUDA)
    if len({tensor.device for tensor in table.locals}) > 1:
        raise Unfit("it takes parameters on one device")
    max_grad_norm = optimizer.max_grad_norm or 0.0
    write_grads = max_grad_norm > 0.0 and not optimizer.zero_grad_after_step
    if write_grads and len({grad.data_ptr() for grad in grads if grad.numel()}) < sum(
        grad.numel() > 0 for grad in grads
    ):
        raise Unfit("two parameters share a gradient, and clipping would scale it in one place")

    dispatch.note("adamw", "cuda")
    if grads:
        norm = _launch(optimizer, table, max_grad_norm, write_grads)
    else:
        norm = torch.zeros(2, dtype=torch.float32, device="cpu")
    # A graph that saved a parameter must notice, as it would after an operator of torch's.
    increment_version(table.params)
    if max_grad_norm > 0.0:
        optimizer.grad_norm = norm[0]
        if write_grads:
            with torch.no_grad():
                for original, copy in copied:
                    original.copy_(copy)
            increment_version(grads)


def _launch(optimizer: Any, table: Table, max_grad_norm: float, write_grads: bool) -> Tensor:
    """(2,) on the device: the norm of all gradients before clipping, and the factor it gave."""
    core: Any = device.core
    options = array("d")
    for group in optimizer.param_groups:
        beta1, beta2 = group["betas"]
        for number in (group["lr"], beta1, beta2, group["eps"], group["weight_decay"]):
            options.append(float(number))
        options.append(group["maximize"])
    n_tensors, place = len(table.params), table.locals[0].device
    sizes = table.sizes.ctypes.data
    n_chunks = core.adamw_chunks(n_tensors, sizes)
    with device.launching(table.locals[0]) as where:
        # Fresh memory each step: the copy of the last one's may still be under way. torch gives
        # pinned memory back when its copy is done.
        chunks = _pinned(8 * n_chunks)
        tensors = _pinned(n_tensors * core.adamw_tensor_bytes)
        core.adamw_chunk_table(n_tensors, sizes, chunks.data_ptr())
        core.adamw_tensor_table(
            n_tensors,
            table.address,
            sizes,
            table.kinds.ctypes.data,
            table.groups_of.ctypes.data,
            len(optimizer.param_groups),
            options.buffer_info()[0],
            tensors.data_ptr(),
        )
        chunks = chunks.to(place, non_blocking=True)
        tensors = tensors.to(place, non_blocking=True)
        norm = torch.empty(2, dtype=torch.float32, device=place)
        squares = torch.empty(
            n_chunks if max_grad_norm > 0.0 else 0, dtype=torch.float64, device=place
        )
        core.adamw_step_cuda(
            *where,
            tensors.data_ptr(),
            chunks.data_ptr(),
            n_chunks,
            max_grad_norm,
            write_grads,
            squares.data_ptr(),
            norm.data_ptr(),
        )
    return norm


def _pinned(n_bytes: int) -> Tensor:
    return torch.empty(
        n_bytes, dtype=torch.uint8, device="cpu", pin_memory=torch.cuda.is_available()
    )
