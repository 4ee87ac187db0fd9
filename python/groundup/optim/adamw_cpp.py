"""AdamW on csrc/adamw.cpp: one native call per step, on addresses that are read anew each time."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops import dispatch
from groundup.ops.native import core
from groundup.optim.adamw_table import (
    Place,
    leave_clipped,
    look,
    numbers_of,
    read,
    refuse_graphs,
)


def _kind_of(param: torch.dtype, moment: torch.dtype | None, amsgrad: bool) -> int:
    return (param is torch.bfloat16) + 2 * (moment is torch.bfloat16) + 4 * amsgrad


CPU = Place("the CPU", lambda tensor: tensor.is_cpu, (torch.float32, torch.bfloat16), _kind_of)


def step(optimizer: Any) -> None:
    """Clip and update the parameters that have a gradient, and leave grad_norm.

    Raises Unfit before anything is changed.
    """
    groups = optimizer.param_groups
    refuse_graphs(groups)
    copied: list[tuple[Tensor, Tensor]] = []
    if (found := look(optimizer, CPU)) is not None:
        table, grads = found
    else:
        optimizer._table = None
        table, grads, copied = read(optimizer, CPU)
        optimizer._table = table

    max_grad_norm = optimizer.max_grad_norm or 0.0
    write_grads = max_grad_norm > 0.0 and not optimizer.zero_grad_after_step
    if write_grads:
        table.refuse_shared_gradients(copied)
    numbers = numbers_of(groups)

    dispatch.note("adamw", "cpp")
    norm = core.adamw_step_cpu(
        len(table.params),
        table.address,
        table.sizes.ctypes.data,
        table.kinds.ctypes.data,
        table.groups_of.ctypes.data,
        len(groups),
        numbers.buffer_info()[0],
        max_grad_norm,
        write_grads,
    )
    # A graph that saved a parameter must notice, as it would after an operator of torch's.
    increment_version(table.params)
    if max_grad_norm > 0.0:
        optimizer.grad_norm = torch.tensor(norm, dtype=torch.float32)
        if write_grads:
            leave_clipped(grads, copied)
