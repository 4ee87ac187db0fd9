"""What a kernel's step of AdamW works on: parameters, gradients and states, and where they lie.

What costs time once tensors are small is Python, not arithmetic. So the objects of a step, and how
they lie in memory, are kept in a Table, and the native core asks torch for all of it again at each
step: a Table says yes only while every tensor is where and what it was, gradients aside, which may
lie anywhere. Else a new one is made.
"""

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from groundup.ops.native import core

STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

_PLAIN = {Tensor, torch.nn.Parameter}


class Place(NamedTuple):
    """Where a kernel's tensors are, and what it takes."""

    name: str
    here: Callable[[Tensor], bool]
    floats: tuple[torch.dtype, ...]
    # (dtype of the parameter, of its moments or None, amsgrad) -> what the kernel knows them by
    kind_of: Callable[[torch.dtype, torch.dtype | None, bool], int]
    kept: bool = True  # whether the next step looks at this one's table


class Unfit(Exception):
    """Says what keeps the native kernel from these tensors; torch takes them."""


def refuse_graphs(groups: list[dict[str, Any]]) -> None:
    """Unfit for a step that is to be captured or differentiated."""
    for group in groups:
        if group["capturable"] or group["differentiable"]:
            raise Unfit("it takes neither capturable=True nor differentiable=True")


def look(optimizer: Any, place: Place) -> tuple["Table", list[Tensor]] | None:
    """The optimizer's table and this step's gradients, where the last step's still holds."""
    table: Table | None = optimizer._table
    if table is None or table.place is not place:
        return None
    grads = table.look(optimizer)
    return None if grads is None else (table, grads)


def read(optimizer: Any, place: Place) -> tuple["Table", list[Tensor], list[tuple[Tensor, Tensor]]]:
    """(table, gradients as the parameters lie, the (gradient, copy) made for that)."""
    params: list[Tensor] = []
    grads: list[Tensor] = []
    groups_of: list[int] = []
    for number, group in enumerate(optimizer.param_groups):
        for param in group["params"]:
            if param.grad is not None:
                params.append(param)
                grads.append(param.grad)
                groups_of.append(number)
    if any(grad.layout is not torch.strided for grad in grads):
        raise Unfit("a gradient is sparse")
    plain = _PLAIN.issuperset(map(type, params)) and _PLAIN.issuperset(map(type, grads))
    locals_ = params
    if not plain:
        locals_, grads = _local_shards(optimizer, params, grads)
    table = Table(optimizer, params, locals_, groups_of, place)
    grads, copied = _aligned(grads, locals_, place)
    table.fill(grads)
    return table, grads, copied


class Table:
    """The parameters of a step, their states, and where each lies in memory."""

    def __init__(
        self,
        optimizer: Any,
        params: list[Tensor],
        locals_: list[Tensor],
        groups_of: list[int],
        place: Place,
    ) -> None:
        groups = optimizer.param_groups
        self.place, self.params, self.locals = place, params, locals_
        self.options = _options_of_state(optimizer)
        self.groups_of = np.array(groups_of, dtype=np.int64)
        for local in locals_:
            _check(local, place)
        with torch.no_grad():
            self.states = [
                _prepared_state(optimizer, param, local, groups[group]["amsgrad"], place)
                for param, local, group in zip(params, locals_, groups_of, strict=True)
            ]
        # A moment that the group does not use is left out, also where the state has one.
        moments: list[list[Tensor | None]] = [
            [
                _local(state[key]) if key != STATE[2] or groups[group]["amsgrad"] else None
                for state, group in zip(self.states, groups_of, strict=True)
            ]
            for key in STATE
        ]
        self.columns: list[list[Any]] = [
            locals_,
            *moments,
            [state["step"] for state in self.states],
        ]
        self.sizes = np.array([local.numel() for local in locals_], dtype=np.int64)
        self.kinds = np.array(
            [
                place.kind_of(
                    local.dtype, None if first is None else first.dtype, largest is not None
                )
                for local, first, largest in zip(locals_, moments[0], moments[2], strict=True)
            ],
            dtype=np.int64,
        )
        self.pointers = np.zeros((len(_COLUMNS) + 1, len(params)), dtype=np.uint64)
        self.address = self.pointers.ctypes.data
        self._refuse_overlaps()
        self.entries = list(optimizer.state.items())
        self.watch = None
        # What belongs to this table on a device: (device, stream), chunks (adamw_cuda.py).
        self.chunks: tuple[tuple[int, int], Tensor] | None = None
        kept = place.kept and core is not None and _EXCHANGE is not None
        if kept and locals_ is params and _all_plain(moments):
            self.watch = core.AdamWTensors(
                _EXCHANGE, tuple(_PLAIN), Tensor.is_neg, self.columns, groups_of
            )

    def look(self, optimizer: Any) -> list[Tensor] | None:
        """This step's gradients, or None where a new table is needed."""
        if self.watch is None or self.options != _options_of_state(optimizer):
            return None
        grads: list[Tensor] | None = self.watch.look(
            optimizer.param_groups,
            optimizer.state,
            self.address,
            self.columns,
            self.states,
            self.entries,
        )
        return grads

    def fill(self, grads: list[Tensor]) -> None:
        """Read every address; Unfit where there is no memory, as under FSDP or in lazy zeros."""
        for row, column in zip(_COLUMNS, self.columns, strict=True):
            self.pointers[row] = [0 if each is None else each.data_ptr() for each in column]
            held = np.array([each is not None and each.numel() > 0 for each in column], dtype=bool)
            if (self.pointers[row][held] == 0).any():
                raise Unfit("a parameter or a moment has no memory behind it")
        self.pointers[_GRAD] = [grad.data_ptr() for grad in grads]
        if (self.pointers[_GRAD][self.sizes > 0] == 0).any():
            raise Unfit("a gradient has no memory behind it")

    def refuse_shared_gradients(self, copied: list[tuple[Tensor, Tensor]]) -> None:
        """Unfit where clipping would scale one number in two places."""
        if any(0 in gradient.stride() for gradient, _ in copied):
            raise Unfit("a gradient is expanded: clipping cannot write what shares an address")
        addresses = self.pointers[_GRAD][self.sizes > 0]
        if np.unique(addresses).size < addresses.size:
            raise Unfit("two parameters share a gradient, and clipping would scale it in one place")

    def _refuse_overlaps(self) -> None:
        if _overlap(self.locals):
            raise Unfit("two parameters share memory")
        if _overlap([each for column in self.columns[:-1] for each in column if each is not None]):
            raise Unfit("a moment shares memory with another tensor of the step")


def numbers_of(groups: list[dict[str, Any]]) -> "array[float]":
    """What the kernels read of each group: lr, both betas, eps, weight_decay, maximize."""
    numbers = array("d")
    for group in groups:
        beta1, beta2 = group["betas"]
        for number in (group["lr"], beta1, beta2, group["eps"], group["weight_decay"]):
            numbers.append(float(number))
        numbers.append(group["maximize"])
    return numbers


def leave_clipped(grads: list[Tensor], copied: list[tuple[Tensor, Tensor]]) -> None:
    """Take what the kernel wrote for the gradients themselves."""
    with torch.no_grad():
        for original, copy in copied:
            original.copy_(copy)
    increment_version(grads)


# Rows of the table of pointers, in the order of a Table's columns, and the gradients'.
_COLUMNS, _GRAD = (0, 2, 3, 4, 5), 1
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)


def _options_of_state(optimizer: Any) -> tuple[Any, ...]:
    amsgrad = (bool(group["amsgrad"]) for group in optimizer.param_groups)
    return (optimizer.state_dtype, *amsgrad)


def _all_plain(moments: list[list[Tensor | None]]) -> bool:
    return all(each is None or type(each) in _PLAIN for column in moments for each in column)


def _overlap(tensors: list[Tensor]) -> bool:
    tensors = [tensor for tensor in tensors if tensor.numel() > 0]
    begins = np.array([tensor.data_ptr() for tensor in tensors], dtype=np.uint64)
    ends = begins + np.array(
        [tensor.numel() * tensor.element_size() for tensor in tensors], dtype=np.uint64
    )
    order = np.lexsort((ends, begins))
    order = order[begins[order] > 0]
    return bool((ends[order][:-1] > begins[order][1:]).any())


def _aligned(
    grads: list[Tensor], locals_: list[Tensor], place: Place
) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Gradients in their parameters' memory layout, and the (gradient, copy) made for that."""
    aligned, copied = [], []
    for grad, local in zip(grads, locals_, strict=True):
        if grad.is_neg() or not place.here(grad):
            raise Unfit(f"a gradient is not in {place.name}'s memory as its values")
        if grad.dtype is not local.dtype or grad.shape != local.shape:
            raise Unfit("a gradient has another dtype or shape than its parameter")
        if grad.stride() != local.stride():
            copy = torch.empty_like(local).copy_(grad.detach())
            copied.append((grad, copy))
            grad = copy
        aligned.append(grad)
    return aligned, copied


def _check(local: Tensor, place: Place) -> None:
    if not place.here(local):
        raise Unfit(f"it runs on {place.name}, and a parameter is on {local.device}")
    if local.dtype not in place.floats:
        raise Unfit(f"it takes {_listed(place.floats)}, and a parameter is {local.dtype}")
    if local.is_neg() or local.is_inference():
        raise Unfit("a parameter is a lazily negated view or was made in inference mode")
    expected = 1
    for stride, size in sorted(zip(local.stride(), local.shape, strict=True)):
        if size != 1 and local.numel() and stride != expected:
            raise Unfit("a parameter has gaps or overlaps in memory")
        expected *= size


def _listed(dtypes: tuple[torch.dtype, ...]) -> str:
    *most, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
    return f"{', '.join(most)} and {last}"


def _prepared_state(
    optimizer: Any, param: Tensor, local: Tensor, amsgrad: bool, place: Place
) -> dict[str, Any]:
    """The parameter's state as torch would make it, where it can be pointed at."""
    state: dict[str, Any] = optimizer.state[param]
    if not state:
        state["step"] = torch.tensor(0.0, dtype=torch.float32)
    elif lost := [key for key in ("step", *STATE[:2]) if key not in state]:
        raise ValueError(
            f"state: expected step, exp_avg and exp_avg_sq of every parameter that has been "
            f"stepped, and one has no {' and no '.join(lost)}; load a state_dict that AdamW saved"
        )
    step = state["step"]
    if (
        type(step) is not Tensor
        or not step.is_cpu
        or step.dtype is not torch.float32
        or step.dim() > 0
        or step.is_neg()
    ):
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
        if moment.shape != local.shape:
            raise ValueError(
                f"state: expected {key} in its parameter's shape {tuple(local.shape)}, got "
                f"{tuple(moment.shape)}; load a state_dict of this model, or make a new optimizer "
                "where parameters were replaced"
            )
        if not place.here(moment):
            raise Unfit(f"a moment is not on {place.name}")
        if moment.stride() != local.stride() or moment.is_neg():
            if type(state[key]) not in _PLAIN:
                raise Unfit("a moment lies otherwise in memory than its parameter")
            state[key] = torch.empty_like(local, dtype=moment.dtype).copy_(moment)
    first, second, *_ = kinds = [
        _local(state[key]).dtype for key in (STATE if amsgrad else STATE[:2])
    ]
    if first not in place.floats or any(kind is not first for kind in kinds):
        raise Unfit(
            f"it takes moments of one dtype in {_listed(place.floats)}, got {first} and {second}"
        )
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
