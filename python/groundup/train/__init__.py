"""From batches to weights: configuration, schedule, loop, checkpoints.

Names load on first use: a configuration is read and shown without importing torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groundup.train.config import TrainConfig as TrainConfig
    from groundup.train.loop import train as train
    from groundup.train.report import DivergedError as DivergedError
    from groundup.train.report import Report as Report
    from groundup.train.report import TrainResult as TrainResult

_HOME = {
    "DivergedError": "report",
    "Report": "report",
    "TrainConfig": "config",
    "TrainResult": "report",
    "train": "loop",
}

__all__ = ["DivergedError", "Report", "TrainConfig", "TrainResult", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'groundup.train' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"groundup.train.{_HOME[name]}"), name)
    globals()[name] = value
    return value
