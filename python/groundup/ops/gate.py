"""The one gate: what a kernel that works on bare pointers may be given.

A kernel called through data_ptr() bypasses torch's own safety: a wrapper subclass has no memory
of its own, a dual or vmapped tensor hides what it carries, a tensor of another layout is not the
array its sizes say. Everything of that kind is refused here, in a sentence.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad
from torch.nn import Parameter

_PLAIN = (Tensor, Parameter)
# Tensors that torch.compile, torch.export and make_fx trace with. They never reach a kernel:
# through torch.ops they meet the op's fake implementation.
_TRACED = (FakeTensor, FunctionalTensor)


def admit(op: str, names: tuple[str, ...], *tensors: Tensor | None) -> bool:
    """Raise a sentence unless every tensor is a dense strided one of torch's own, or None.

    Checked besides its class: layout, lazy negation, functorch transforms (vmap, grad, jvp) and
    forward-mode tangents. dtype, device and shape are the op's to check.

    Returns whether pointers may be taken right here. False for what has to go through torch.ops:
    traced tensors, the meta device, active dispatch modes (FakeTensorMode, counters of flops), and
    torch.jit.trace, which records what torch is called with and nothing else.
    """
    compiling = torch.compiler.is_compiling()
    here = True
    for position, tensor in enumerate(tensors):
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN:
            if type(tensor) not in _TRACED:
                raise TypeError(_why_not_class(op, names[position], tensor))
            here = False
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise TypeError(_why_not_layout(names[position], tensor))
        if compiling:
            continue
        if tensor.is_neg():
            raise ValueError(
                f"{names[position]}: expected a tensor whose memory holds its values, got a lazily "
                f"negated view; try {names[position]}.resolve_neg()"
            )
        if tensor.is_meta:
            here = False
    if compiling:
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            f"{op} does not run inside torch.func transforms (vmap, grad, jvp, functionalize); "
            f'groundup.use("{op}=torch") does'
        )
    if forward_ad._current_level >= 0:
        _refuse_tangents(op, names, tensors)
    return (
        here and not torch._C._len_torch_dispatch_stack() and torch._C._get_tracing_state() is None
    )


def admits_float32(*tensors: Tensor | None) -> bool:
    """Whether `admit` lets all of these through, and they are float32 on the CPU.

    What a training step asks again and again, in one look. False says nothing: `admit` has the
    sentences.
    """
    if torch.compiler.is_compiling():
        return False
    for tensor in tensors:
        if tensor is not None and (
            type(tensor) not in _PLAIN
            or tensor.dtype is not torch.float32
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
            or tensor.is_nested
            or tensor.is_neg()
        ):
            return False
    return (
        torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
    )


def address(name: str, tensor: Tensor) -> int:
    """Where the values of an admitted tensor lie.

    Raises ValueError for one that has elements and no memory: torch's lazy zeros, and tensors whose
    storage was released, as FSDP does.
    """
    pointer = tensor.data_ptr()
    if not pointer and tensor.numel():
        raise ValueError(
            f"{name}: expected a tensor with memory, got one of shape {tuple(tensor.shape)} "
            "without: its storage was released, or its zeros are lazy, which .clone() remedies"
        )
    return pointer


def recorder(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply` for calls whose tensors the gate has let through.

    apply itself is Python around this: it asks whether a functorch transform is on, which the gate
    has refused, and looks up defaults, at a third of what recording costs in all.
    """
    recorded: Callable[..., Any] = super(torch.autograd.Function, function).apply  # type: ignore[misc]
    return recorded


def expect_tensors(
    names: tuple[str, ...], *tensors: Tensor | None, required: int | None = None
) -> None:
    """Raise TypeError unless each is a tensor, of any kind: all that torch needs. None is one too,
    but for the first `required`."""
    for position, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        if tensor is None and (required is None or position >= required):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")


def is_untouched(tensor: Tensor) -> bool:
    """Whether a tensor that was not admitted can be read: plain, and no transform or mode on."""
    return (
        type(tensor) in _PLAIN
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def _refuse_tangents(op: str, names: tuple[str, ...], tensors: tuple[Tensor | None, ...]) -> None:
    for name, tensor in zip(names, tensors, strict=True):
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise RuntimeError(
                f"{op} has no forward-mode derivative and {name} carries a tangent; "
                f'groundup.use("{op}=torch") has one'
            )


def _why_not_layout(name: str, tensor: Tensor) -> str:
    if tensor.is_nested:
        return f"{name}: expected a dense tensor, got a nested one; try {name}.values()"
    return f"{name}: expected a dense tensor, got layout {tensor.layout}; try {name}.to_dense()"


def _why_not_class(op: str, name: str, tensor: object) -> str:
    kind = type(tensor)
    if not isinstance(tensor, Tensor):
        return f"{name}: expected a torch.Tensor, got {kind.__name__}"
    remedy = (
        f"try {name}.full_tensor(), or {name}.to_local() where the loss of a shard is meant"
        if kind.__name__ == "DTensor"
        else f"try {name}.as_subclass(torch.Tensor) if it wraps no other tensor"
    )
    return (
        f"{name}: expected a torch.Tensor itself, got its subclass {kind.__name__}; {remedy}, or "
        f'groundup.use("{op}=torch")'
    )


def refuse_second_derivative(op: str) -> RuntimeError:
    """The error that a backward of the backward raises."""
    return RuntimeError(
        f"{op} cannot be differentiated twice: its backward is a kernel without a derivative; "
        f'groundup.use("{op}=torch") can'
    )
