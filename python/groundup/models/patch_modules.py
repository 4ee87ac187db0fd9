"""A module on groundup's ops: the same object, parameters and hooks, with another forward.

A module changes by its class: to a subclass of its own class that differs in `forward` alone. So
isinstance, state_dict, deepcopy, pickle and everything that holds the module go on as before, and
to change back is to assign the old class.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

import groundup as gu
from groundup.models.redirect import Redirect

Forward = Callable[..., Any]


def swap(module: nn.Module, recipe: str) -> None:
    """Let `module` run as `recipe` says, one of those of `_forward`."""
    module.__class__ = _subclass(type(module), recipe)


def swapped_from(module: nn.Module) -> type[nn.Module] | None:
    """The class that `module` had before, or None if it was never swapped."""
    return getattr(type(module), "_groundup_base", None)


_subclasses: dict[tuple[type[nn.Module], str], type[nn.Module]] = {}


def _subclass(base: type[nn.Module], recipe: str) -> type[nn.Module]:
    # One class for all modules of a kind: torch.compile guards on it.
    if (known := _subclasses.get((base, recipe))) is not None:
        return known

    def reduce(self: nn.Module, protocol: Any) -> Any:
        # By base and recipe: pickle finds classes by their names, and this one's is its base's.
        parts: Any = nn.Module.__reduce_ex__(self, protocol)
        return _rebuild, (base, recipe), *parts[2:]

    made = type(
        base.__name__,
        (base,),
        {
            "forward": _forward(base, recipe),
            "__reduce_ex__": reduce,
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "_groundup_base": base,
        },
    )
    return _subclasses.setdefault((base, recipe), made)


def _rebuild(base: type[nn.Module], recipe: str) -> nn.Module:
    kind = _subclass(base, recipe)
    return kind.__new__(kind)


def _forward(base: type[nn.Module], recipe: str) -> Forward:
    kind, _, detail = recipe.partition(":")
    if kind == "layer_norm":
        return _layer_norm
    if kind == "gelu":
        return _gelu_tanh if detail == "tanh" else _gelu
    if kind == "causal_attention":
        return attention
    return _redirected(base, tuple(detail.split(",")))


def _layer_norm(self: Any, input: Tensor) -> Tensor:
    return gu.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


def _gelu(self: nn.Module, input: Tensor) -> Tensor:
    return gu.gelu(input)


def _gelu_tanh(self: nn.Module, input: Tensor) -> Tensor:
    return gu.gelu(input, approximate="tanh")


def attention(self: Any, x: Tensor) -> Tensor:
    # (B, T, 3C) -> (B, T, 3, H, D), a view. Not unflatten: its super() cannot be traced under the
    # Redirect of a module above.
    qkv = self.c_attn(x).view(*x.shape[:2], 3, self.n_head, -1)
    dropout = self.attn_dropout
    dropout_p = dropout.p if dropout.training and type(dropout) is nn.Dropout else 0.0
    mixed = gu.causal_attention_qkvpacked(qkv, dropout_p=dropout_p)
    out: Tensor = self.resid_dropout(self.c_proj(mixed.flatten(2)))
    return out


def _redirected(base: type[nn.Module], names: tuple[str, ...]) -> Forward:
    original = base.forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with Redirect(names):
            return original(self, *args, **kwargs)

    return forward
