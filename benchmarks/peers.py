"""What the peers need that a machine may lack, each absence said in a sentence."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from benchmarks.cases import Unavailable
from groundup.demo.steps import can_compile


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile(function). Raises Unavailable without a C++ compiler, which inductor needs."""
    require_compiler()
    return torch.compile(function)


def require_compiler() -> None:
    """Raises Unavailable where torch.compile cannot work."""
    if not can_compile():
        raise Unavailable("torch.compile needs a C++ compiler, and there is none")


def installed(package: str) -> ModuleType:
    """The package. Raises Unavailable where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise Unavailable(f"{package} is not installed: pip install 'groundup[peers]'") from None
