"""What a run tells: a report after each step, and what it came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Report:
    """One step, told to whoever watches.

    step             how many are done
    last_step        at which the run ends, or None where time alone ends it
    fraction         of the run that is done, in [0, 1]
    loss             this step's mean over its tokens, nats
    validation_loss  the latest, nats per token, or None before the first
    evaluated        whether validation_loss is new with this step
    """

    step: int
    last_step: int | None
    fraction: float
    loss: float
    validation_loss: float | None
    evaluated: bool
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    elapsed_seconds: float


@dataclass(frozen=True)
class TrainResult:
    """What a run came to. `loss` is the mean of its last (up to 50) steps, nats per token."""

    step: int
    loss: float
    validation_loss: float
    elapsed_seconds: float
    tokens_per_second: float
    n_parameters: int
    checkpoint: Path
    stopped: Literal["finished", "interrupted"]


class DivergedError(ValueError):
    """The loss or the gradients are no longer numbers."""
