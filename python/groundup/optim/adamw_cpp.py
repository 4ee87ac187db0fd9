"""AdamW on the native kernel: one call per step, on pointers that are read anew each time.

What costs time is Python, not arithmetic, once tensors are small; so what stays the same from one
step to the next is kept in a Table, and a step only asks whether it still is. Addresses are never
kept: a moved gradient, parameter or moment is found where it is now.
"""

from array import array
from itertools import chain, repeat
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops import dispatch
from groundup.ops.native import core

STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

_PLAIN = {Tensor, torch.nn.Parameter}
_FLOATS = (torch.float32, torch.bfloat16)
_dtype = torch._C.TensorBase.dtype.__get__  # type: ignore[attr-defined]
_is_cpu = torch._C.TensorBase.is_cpu.__get__  # type: ignore[attr-defined]


class Unfit(Exception):
    """Says what keeps the native kernel from these tensors; torch takes them."""


def step(optimizer: Any, params: list[Tensor], grads: list[Tensor], counts: list[int]) -> None:
    """Clip and update `params`, `counts` of them from each group, and leave grad_norm.

    Raises Unfit before anything is changed.
    """
    groups = optimizer.param_groups
    for group in groups:
        if group["capturable"] or group["differentiable"]:
            raise Unfit("it takes neither capturable=True nor differentiable=True")
    amsgrad = [group["amsgrad"] for group in groups]
    table: Table | None = optimizer._table
    locals_ = params
    if not _PLAIN.issuperset(map(type, params)) or not _PLAIN.issuperset(map(type, grads)):
        locals_, grads = _local_shards(optimizer, params, grads)
    if table is None or not table.still_holds(optimizer.state, params, locals_, counts, amsgrad):
        optimizer._table = table = None
        optimizer._table = table = Table(optimizer, params, locals_, counts)
    grads, copied = table.aligned(grads)

    max_grad_norm = optimizer.max_grad_norm or 0.0
    write_grads = max_grad_norm > 0.0 and not optimizer.zero_grad_after_step
    pointers = array("Q", map(Tensor.data_ptr, chain(locals_, grads, *table.moments)))
    if not table.any_amsgrad:
        pointers.extend(repeat(0, len(params)))
    pointers.extend(map(Tensor.data_ptr, table.steps))
    if write_grads and len(set(pointers[len(params) : 2 * len(params)])) < len(params):
        raise Unfit("two parameters share a gradient, and clipping would scale it in one place")
    if 0 in pointers:
        table.refuse_without_memory(pointers)
    options = array("d")
    for group in groups:
        beta1, beta2 = group["betas"]
        for number in (group["lr"], beta1, beta2, group["eps"], group["weight_decay"]):
            options.append(float(number))
        options.append(group["maximize"])

    dispatch.note("adamw", "cpp")
    norm = core.adamw_step_cpu(
        len(params),
        pointers.buffer_info()[0],
        table.sizes_array.ctypes.data,
        table.kinds.ctypes.data,
        table.groups_of.ctypes.data,
        len(groups),
        options.buffer_info()[0],
        max_grad_norm,
        write_grads,
    )
    # A graph that saved a parameter must notice, as it would after an operator of torch's.
    increment_version(params)
    if max_grad_norm > 0.0:
        optimizer.grad_norm = torch.tensor(norm, dtype=torch.float32)
        if write_grads:
            with torch.no_grad():
                for original, copy in copied:
                    original.copy_(copy)
            increment_version(grads)


class Table:
    """The parameters of a step, their moments, and how each lies in memory."""

    def __init__(
        self, optimizer: Any, params: list[Tensor], locals_: list[Tensor], counts: list[int]
    ) -> None:
        groups = optimizer.param_groups
        self.params, self.locals, self.counts = params, locals_, counts
        self.amsgrad = [group["amsgrad"] for group in groups]
        self.groups_of = np.repeat(np.arange(len(groups), dtype=np.int64), counts)
        for local in locals_:
            _check(local)
        self.sizes = list(map(Tensor.numel, locals_))
        self.dtypes = list(map(_dtype, locals_))
        self.strides = list(map(Tensor.stride, locals_))
        self.contiguous = all(map(Tensor.is_contiguous, locals_))

        with torch.no_grad():
            self.states = [
                _prepared_state(optimizer, param, local, self.amsgrad[group])
                for param, local, group in zip(params, locals_, self.groups_of, strict=True)
            ]
        self.all_states = list(optimizer.state.values())
        self.any_amsgrad = any(self.amsgrad[group] for group in set(self.groups_of.tolist()))
        self.keys = STATE if self.any_amsgrad else STATE[:2]
        self.steps = [state["step"] for state in self.states]
        self.originals = [[state.get(key, _NOTHING) for state in self.states] for key in self.keys]
        self.moments = [list(map(_local, column)) for column in self.originals]
        self.sizes_array = np.array(self.sizes, dtype=np.int64)
        self.kinds = np.array(
            [
                (local.dtype is torch.bfloat16)
                + 2 * (moment.dtype is torch.bfloat16)
                + 4 * bool(self.amsgrad[group])
                for local, moment, group in zip(
                    locals_, self.moments[0], self.groups_of, strict=True
                )
            ],
            dtype=np.int64,
        )
        self._refuse_overlaps()

    def _refuse_overlaps(self) -> None:
        begins = np.array(list(map(Tensor.data_ptr, self.locals)), dtype=np.uint64)
        widths = np.array(list(map(Tensor.element_size, self.locals)), dtype=np.uint64)
        ends = begins + self.sizes_array.astype(np.uint64) * widths
        order = np.lexsort((ends, begins))
        order = order[self.sizes_array[order] > 0]
        if (ends[order][:-1] > begins[order][1:]).any():
            raise Unfit("two parameters share memory")

    def refuse_without_memory(self, pointers: "array[int]") -> None:
        """Unfit for an address of 0 under a tensor with elements: FSDP's, lazy zeros."""
        empty = self.sizes_array == 0
        columns = np.frombuffer(pointers, dtype=np.uint64).reshape(-1, len(self.sizes))
        unused = np.zeros_like(columns, dtype=bool)
        unused[4] = (self.kinds & 4) == 0
        if ((columns == 0) & ~empty & ~unused).any():
            raise Unfit("a parameter, a gradient or a moment has no memory behind it")

    def still_holds(
        self,
        state: dict[Tensor, dict[str, Any]],
        params: list[Tensor],
        locals_: list[Tensor],
        counts: list[int],
        amsgrad: list[bool],
    ) -> bool:
        """Whether parameters and moments are the same objects with the same memory layout."""
        return (
            counts == self.counts
            and amsgrad == self.amsgrad
            and all(map(is_, params, self.params))
            and len(state) == len(self.all_states)
            and all(map(is_, state.values(), self.all_states))
            and all(
                all(map(is_, _column(self.states, key), column))
                for key, column in zip(
                    ("step", *self.keys), (self.steps, *self.originals), strict=True
                )
            )
            and all(map(_is_cpu, locals_))
            and list(map(Tensor.numel, locals_)) == self.sizes
            and list(map(_dtype, locals_)) == self.dtypes
            and self._laid_out(locals_)
        )

    def _laid_out(self, tensors: list[Tensor]) -> bool:
        if self.contiguous:
            return all(map(Tensor.is_contiguous, tensors))
        return list(map(Tensor.stride, tensors)) == self.strides

    def aligned(self, grads: list[Tensor]) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Gradients in their parameters' memory layout, and the (gradient, copy) made for that."""
        if any(map(Tensor.is_neg, grads)) or not all(map(_is_cpu, grads)):
            raise Unfit("a gradient is not in the CPU's memory as its values")
        if list(map(_dtype, grads)) != self.dtypes or list(map(Tensor.numel, grads)) != self.sizes:
            raise Unfit("a gradient has another dtype or size than its parameter")
        if self._laid_out(grads):
            return grads, []
        copied = []
        grads = list(grads)
        for i, (grad, local) in enumerate(zip(grads, self.locals, strict=True)):
            if grad.stride() != self.strides[i]:
                copy = torch.empty_like(local).copy_(grad.detach())
                copied.append((grad, copy))
                grads[i] = copy
        return grads, copied


_NOTHING = torch.empty(0)


def _column(states: list[dict[str, Any]], key: str) -> Any:
    if key == "max_exp_avg_sq":
        return (state.get(key, _NOTHING) for state in states)
    return map(itemgetter(key), states)


def _check(local: Tensor) -> None:
    if not local.is_cpu:
        raise Unfit(f"it runs on the CPU, and a parameter is on {local.device}")
    if local.dtype not in _FLOATS:
        raise Unfit(f"it takes float32 and bfloat16, and a parameter is {local.dtype}")
    if local.is_neg() or local.is_inference():
        raise Unfit("a parameter is a lazily negated view or was made in inference mode")
    expected = 1
    for stride, size in sorted(zip(local.stride(), local.shape, strict=True)):
        if size != 1 and local.numel() and stride != expected:
            raise Unfit("a parameter has gaps or overlaps in memory")
        expected *= size


def _prepared_state(optimizer: Any, param: Tensor, local: Tensor, amsgrad: bool) -> dict[str, Any]:
    """The parameter's state as torch would make it, where it can be pointed at."""
    state: dict[str, Any] = optimizer.state[param]
    if not state:
        state["step"] = torch.tensor(0.0, dtype=torch.float32)
    step = state["step"]
    if type(step) is not Tensor or not step.is_cpu or step.dtype is not torch.float32:
        state["step"] = torch.tensor(float(step), dtype=torch.float32)
    dtype = optimizer.state_dtype
    for key in STATE if amsgrad else STATE[:2]:
        if key not in state:
            state[key] = torch.zeros_like(
                param, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False
            )
            continue
        moment = _local(state[key])
        if dtype is not None and moment.dtype is not dtype:
            state[key] = state[key].to(dtype)
            moment = _local(state[key])
        if not moment.is_cpu or moment.shape != local.shape:
            raise Unfit("a moment is not on the CPU in its parameter's shape")
        if moment.stride() != local.stride() or moment.is_neg():
            if type(state[key]) not in _PLAIN:
                raise Unfit("a moment lies otherwise in memory than its parameter")
            state[key] = torch.empty_like(local, dtype=moment.dtype).copy_(moment)
    first, second, *_ = kinds = [
        _local(state[key]).dtype for key in (STATE if amsgrad else STATE[:2])
    ]
    if first not in _FLOATS or any(kind is not first for kind in kinds):
        raise Unfit(f"it takes moments in float32 or bfloat16 alike, got {first} and {second}")
    return state


def _local(tensor: Tensor) -> Tensor:
    """The tensor itself, or a DTensor's part on this process."""
    if type(tensor) in _PLAIN:
        return tensor
    if type(tensor).__name__ != "DTensor":
        raise Unfit(f"it takes torch.Tensor itself, got its subclass {type(tensor).__name__}")
    with torch.no_grad():
        local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local


def _local_shards(
    optimizer: Any, params: list[Tensor], grads: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    if optimizer.max_grad_norm is not None:
        raise Unfit("the norm of sharded gradients needs the other processes")
    for param, grad in zip(params, grads, strict=True):
        if getattr(param, "placements", None) != getattr(grad, "placements", None):
            raise Unfit("a gradient is sharded otherwise than its parameter")
    return list(map(_local, params)), list(map(_local, grads))
