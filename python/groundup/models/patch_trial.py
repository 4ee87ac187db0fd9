"""Whether a module computes what groundup has an op for, found by trying it."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from groundup.models.patch_modules import attention

_SHORT = 7
_LONG = 1024


@torch.no_grad()
def gelu_form(module: nn.Module) -> str | None:
    """Which gelu the module computes, "tanh" or "none", found by its values; None if neither."""
    x = torch.linspace(-30.0, 30.0, 1201, dtype=torch.float64)
    try:
        y = module.forward(x)
    except (TypeError, ValueError, RuntimeError):  # it takes something else: no plain activation
        return None
    for form in ("tanh", "none"):
        exact = nn.functional.gelu(x, approximate=form)
        if isinstance(y, Tensor) and y.shape == x.shape and torch.allclose(y, exact, 1e-7, 1e-7):
            return form
    return None


@torch.no_grad()
def is_causal_attention(module: Any) -> bool:
    """Whether `attention` gives what the module's own forward gives, whatever its weights become.

    Tried in float32 on random input and random weights: an adapter that begins at zero and a gate
    that begins at one show only then. Tried on a short sequence and on the longest that its mask
    has room for, at most 1024: a window is nothing to a sequence that fits into it.
    """
    width = next(
        (
            p.shape[0]
            for p in module.c_proj.parameters()
            if p.dim() == 2 and p.shape[0] == p.shape[1]
        ),
        None,
    )
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if width is None or any(each.is_meta for each in held.values()) or not _drops_plainly(module):
        return False
    generator = torch.Generator().manual_seed(0)
    tensors = {name: each.float() for name, each in held.items() if each.is_floating_point()}
    for name, parameter in module.named_parameters():
        if name in tensors:
            drawn = torch.randn(parameter.shape, generator=generator) * width**-0.5
            tensors[name] = drawn.to(parameter.device)
    lent = {f"inside.{name}": each for name, each in tensors.items()}
    device = next(iter(tensors.values())).device
    modes = [(each, each.training) for each in module.modules()]
    for each, _ in modes:
        each.training = False
    try:
        if _reads_numbers(module, width):
            return False
        for length in {min(_SHORT, _longest(module)), _longest(module)}:
            x = torch.randn(2 if length <= _SHORT else 1, length, width, generator=generator)
            theirs, ours = (
                functional_call(_Called(module, forward), lent, (x.to(device),))
                for forward in (type(module).forward, attention)
            )
            if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
                return False
            if not torch.allclose(ours, theirs, 1e-5, 1e-5 * theirs.abs().amax().item()):
                return False
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False  # it is called otherwise, or its parts are
    finally:
        for each, training in modes:
            each.training = training
    return True


def _drops_plainly(module: Any) -> bool:
    """Whether nothing is lost where the weights of attention never pass through attn_dropout."""
    dropout = module.attn_dropout
    hooks = dropout._forward_hooks or dropout._forward_pre_hooks or dropout._backward_hooks
    return type(dropout) in (nn.Dropout, nn.Identity) and not hooks


def names_read(kind: type[nn.Module]) -> set[str]:
    """The names that a class's own forward looks up."""
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return set(code.co_names) if code is not None else set()


def _reads_numbers(module: Any, width: int) -> bool:
    """Whether forward reads a number that a trial shows at its present value alone, such as a
    temperature. dropout's p and the scale of the scores, 1 / sqrt(width / n_head), are known."""
    numbers = [getattr(module, name, None) for name in names_read(type(module)) - {"dropout"}]
    return any(
        type(each) is float and not math.isclose(each * each * width, module.n_head)
        for each in numbers
    )


def _longest(module: nn.Module) -> int:
    rooms = [
        buffer.shape[-1]
        for buffer in module.buffers()
        if buffer.dim() >= 2 and buffer.shape[-1] == buffer.shape[-2]
    ]
    return min(_LONG, max(rooms, default=_LONG))


class _Called(nn.Module):
    """`module` through `forward`: functional_call lends tensors to what is inside of a module."""

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.inside, self.call = module, forward

    def forward(self, x: Tensor) -> Any:
        return self.call(self.inside, x)
