"""AdamW on csrc/adamw.cu: one launch over all parameters, from a table copied to the device.

What fits is as on the CPU, and what the host knows of the tensors is kept likewise
(adamw_table.py). The step counts are the host's, as torch's own default has them, so a step waits
for nothing on the device; the norm stays there too, as `grad_norm`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops import device, dispatch
from groundup.ops.device import DTYPES
from groundup.optim.adamw_table import (
    Place,
    Table,
    Unfit,
    leave_clipped,
    look,
    numbers_of,
    read,
    refuse_graphs,
)


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
    copied: list[tuple[Tensor, Tensor]] = []
    if (found := look(optimizer, CUDA)) is not None:
        table, grads = found
    else:
        optimizer._table = None
        table, grads, copied = _read(optimizer)
        optimizer._table = table
    max_grad_norm = optimizer.max_grad_norm or 0.0
    write_grads = max_grad_norm > 0.0 and not optimizer.zero_grad_after_step
    if write_grads:
        table.refuse_shared_gradients(copied)

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
            leave_clipped(grads, copied)


def _read(optimizer: Any) -> tuple[Table, list[Tensor], list[tuple[Tensor, Tensor]]]:
    for group in optimizer.param_groups:
        for param in group["params"]:
            if (reason := device.why_not_device(param, name="a parameter")) is not None:
                raise Unfit(reason)
    table, grads, copied = read(optimizer, CUDA)
    if len({tensor.device for tensor in table.locals}) > 1:
        raise Unfit("it takes parameters on one device")
    return table, grads, copied


def _launch(optimizer: Any, table: Table, max_grad_norm: float, write_grads: bool) -> Tensor:
    """(2,) on the device: the norm of all gradients before clipping, and the factor it gave."""
    core: Any = device.core
    numbers = numbers_of(optimizer.param_groups)
    n_tensors, place = len(table.params), table.locals[0].device
    with device.launching(table.locals[0]) as where:
        chunks = _chunks(table, where)
        # Fresh memory each step: the copy of the last one's may still be under way. torch gives
        # pinned memory back when its copy is done.
        tensors = _pinned(n_tensors * core.adamw_tensor_bytes)
        core.adamw_tensor_table(
            n_tensors,
            table.address,
            table.sizes.ctypes.data,
            table.kinds.ctypes.data,
            table.groups_of.ctypes.data,
            len(optimizer.param_groups),
            numbers.buffer_info()[0],
            tensors.data_ptr(),
        )
        tensors = tensors.to(place, non_blocking=True)
        norm = torch.empty(2, dtype=torch.float32, device=place)
        n_chunks = len(chunks)
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


def _chunks(table: Table, where: tuple[int, int]) -> Tensor:
    """(n_chunks,) of 8 bytes on the device: they follow from the sizes, which a table keeps.

    Copied once for each stream that the steps are on, since another may be ahead of the copy.
    """
    if table.chunks is not None and table.chunks[0] == where:
        return table.chunks[1]
    core: Any = device.core
    n_tensors, sizes = len(table.params), table.sizes.ctypes.data
    chunks = _pinned(8 * core.adamw_chunks(n_tensors, sizes))
    core.adamw_chunk_table(n_tensors, sizes, chunks.data_ptr())
    chunks = chunks.to(table.locals[0].device, non_blocking=True).view(torch.int64)
    table.chunks = where, chunks
    return chunks


def _pinned(n_bytes: int) -> Tensor:
    return torch.empty(
        n_bytes, dtype=torch.uint8, device="cpu", pin_memory=torch.cuda.is_available()
    )
