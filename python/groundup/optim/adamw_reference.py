"""AdamW by the reference: groundup.reference, through NumPy, one parameter after the other.

What fits is as on the native kernel (adamw_table.py), in every float dtype and on every device; the
table is made anew each step. Computed in float64 and rounded once, when parameter and moments are
written back: in float32 beta1 and 1 - beta1 do not add up to 1, and the plain average that the
reference takes drifts further than torch's (docs/adamw.md). A float64 tensor on the CPU is worked
on where it lies.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops import dispatch
from groundup.ops.arrays import computing_dtype, quietly
from groundup.optim.adamw_table import Place, leave_clipped, read, refuse_graphs
from groundup.reference import adamw as reference

ANYWHERE = Place(
    "devices that hold values",
    lambda tensor: not tensor.is_meta,
    (torch.float32, torch.bfloat16, torch.float16, torch.float64),
    lambda param, moment, amsgrad: 0,  # kinds are for kernels
    kept=False,
)


def step(optimizer: Any) -> None:
    """Clip and update the parameters that have a gradient, and leave grad_norm.

    Raises Unfit before anything is changed.
    """
    refuse_graphs(optimizer.param_groups)
    optimizer._table = None  # what a kernel kept
    table, tensors, copied = read(optimizer, ANYWHERE)
    max_grad_norm = optimizer.max_grad_norm
    write_grads = max_grad_norm is not None and not optimizer.zero_grad_after_step
    if write_grads:
        table.refuse_shared_gradients(copied)

    dispatch.note("adamw", "reference")
    grads = [_array(grad) for grad in tensors]
    with torch.no_grad(), quietly():
        if max_grad_norm is not None:
            # Copies: a gradient that two parameters share counts twice and is scaled once.
            grads = [grad.copy() for grad in grads]
            norm = reference.clip_grad_norm(grads, max_grad_norm)
            optimizer.grad_norm = torch.tensor(norm, dtype=computing_dtype(*tensors))
        for number, grad, *column in zip(table.groups_of, grads, *table.columns, strict=True):
            _update(optimizer.param_groups[number], grad, *column)
        increment_version(table.params)
        if write_grads:
            for tensor, grad in zip(tensors, grads, strict=True):
                tensor.copy_(torch.from_numpy(grad))
            leave_clipped(tensors, copied)


def _update(
    group: dict[str, Any],
    grad: NDArray[Any],
    local: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    step: Tensor,
) -> None:
    """The reference's step on a parameter, or on this process's part of it, and on its state."""
    param = _array(local)
    carried = reference.AdamWState(param)
    carried.step = int(step)
    carried.exp_avg = _array(exp_avg)
    carried.exp_avg_sq = _array(exp_avg_sq)
    if max_exp_avg_sq is not None:
        carried.max_exp_avg_sq = _array(max_exp_avg_sq)
    beta1, beta2 = group["betas"]
    reference.adamw_step(
        param,
        grad,
        carried,
        lr=float(group["lr"]),
        betas=(float(beta1), float(beta2)),
        eps=float(group["eps"]),
        weight_decay=float(group["weight_decay"]),
        amsgrad=group["amsgrad"],
        maximize=group["maximize"],
    )
    step.fill_(carried.step)
    _write(local, param)
    _write(exp_avg, carried.exp_avg)
    _write(exp_avg_sq, carried.exp_avg_sq)
    if max_exp_avg_sq is not None:
        _write(max_exp_avg_sq, carried.max_exp_avg_sq)


def _array(tensor: Tensor) -> NDArray[Any]:
    """The values. That there is memory behind them, the table has made sure."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def _write(tensor: Tensor, values: NDArray[Any]) -> None:
    """Back into a tensor, unless the array was its memory."""
    if values.ctypes.data != tensor.data_ptr():
        tensor.copy_(torch.from_numpy(values))
