"""A language model from the ground up: every part readable, every part fast.

Submodules load on first use, so `import groundup.tokenizer` never imports torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from groundup import _fork as _fork  # from now on it watches
from groundup._version import __version__

if TYPE_CHECKING:
    from groundup import optim as optim
    from groundup.models.patch import Patch as Patch
    from groundup.models.patch import patch as patch
    from groundup.ops.add_layer_norm import add_layer_norm as add_layer_norm
    from groundup.ops.attention import causal_attention as causal_attention
    from groundup.ops.attention_decode import decode_attention as decode_attention
    from groundup.ops.attention_qkvpacked import (
        causal_attention_qkvpacked as causal_attention_qkvpacked,
    )
    from groundup.ops.attention_varlen import causal_attention_varlen as causal_attention_varlen
    from groundup.ops.cross_entropy import cross_entropy as cross_entropy
    from groundup.ops.dispatch import use as use
    from groundup.ops.gelu import gelu as gelu
    from groundup.ops.layer_norm import layer_norm as layer_norm
    from groundup.ops.linear import linear as linear
    from groundup.ops.mlp import mlp as mlp
    from groundup.ops.scaled_dot_product_attention import (
        scaled_dot_product_attention as scaled_dot_product_attention,
    )

_OPS = (
    "add_layer_norm",
    "causal_attention",
    "causal_attention_qkvpacked",
    "causal_attention_varlen",
    "cross_entropy",
    "decode_attention",
    "gelu",
    "layer_norm",
    "linear",
    "mlp",
    "scaled_dot_product_attention",
    "use",
)
_PATCH = ("Patch", "patch")
_SUBMODULES = (
    "data",
    "evaluate",
    "generate",
    "inspect",
    "kernels",
    "models",
    "ops",
    "optim",
    "plugs",
    "reference",
    "tokenizer",
    "train",
)

__all__ = ["__version__", "optim", *_OPS, *_PATCH]


def __getattr__(name: str) -> Any:
    if name in _OPS:
        value = getattr(importlib.import_module("groundup.ops"), name)
    elif name in _PATCH:
        value = getattr(importlib.import_module("groundup.models.patch"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"groundup.{name}")
    else:
        raise AttributeError(f"module 'groundup' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OPS, *_PATCH, *_SUBMODULES})
