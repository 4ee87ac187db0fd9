"""What the peers need that a machine may lack, each absence said in a sentence."""

import importlib
import shutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks.cases import Unavailable


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile(function). Raises Unavailable without a C++ compiler, which inductor needs."""
    import torch

    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise Unavailable("torch.compile needs a C++ compiler, and there is none")
    torch._dynamo.reset()
    return torch.compile(function)


def installed(package: str) -> ModuleType:
    """The package. Raises Unavailable where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise Unavailable(f"{package} is not installed: pip install 'groundup[test]'") from None
