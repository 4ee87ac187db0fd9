"""Many runs, compared: which settings, when to stop, and a log that survives a crash.

Every finished run is one line of JSON, flushed to disk before the next begins. Whoever starts the
same search again gets the finished runs from the log and goes on with the rest. Standard library,
and NumPy for drawing settings.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

Settings = dict[str, Any]
Progress = Iterator[float]  # the held-out loss, each time it was measured


@dataclass(frozen=True)
class Run:
    """What came of one choice of settings: its best held-out loss in nats and when it was seen."""

    settings: Settings
    loss: float
    best_at: int  # which measurement was the best, from 1
    n_measured: int
    seconds: float


# What a line of a log holds.
_NUMBER = int | float
_FIELDS: dict[str, Any] = {
    "settings": dict,
    "loss": _NUMBER,
    "best_at": int,
    "n_measured": int,
    "seconds": _NUMBER,
}


def grid(**choices: Sequence[Any]) -> list[Settings]:
    """Every combination.

    >>> grid(rate=[0.1, 0.2], width=[64])
    [{'rate': 0.1, 'width': 64}, {'rate': 0.2, 'width': 64}]
    """
    return [
        dict(zip(choices, combination, strict=True)) for combination in product(*choices.values())
    ]


def random_search(
    n: int, rng: np.random.Generator, **choices: Sequence[Any] | tuple[float, float]
) -> list[Settings]:
    """n choices at random: of a list one entry, of a pair (low, high) of floats one between them.

    Between the two the draw is uniform in the logarithm: rates differ by factors. Where one
    setting matters much and others little, n random points try n values of it and a grid a few
    (Bergstra and Bengio 2012).
    """

    def draw(choice: Sequence[Any] | tuple[float, float]) -> Any:
        if isinstance(choice, tuple):
            low, high = choice
            if not 0 < low <= high:
                raise ValueError(f"random_search: expected 0 < low <= high, got {choice}")
            return float(math.exp(rng.uniform(math.log(low), math.log(high))))
        return choice[int(rng.integers(len(choice)))]

    return [{name: draw(choice) for name, choice in choices.items()} for _ in range(n)]


def stop_early(progress: Progress, patience: int) -> tuple[float, int, int]:
    """Follow held-out losses until `patience` in a row were no better than the best.

    Returns the best, its number, and how many were measured. A loss that is not a number ends the
    run: it will not come back.
    """
    best, best_at, n = math.inf, 0, 0
    for n, loss in enumerate(progress, start=1):
        if loss < best:
            best, best_at = loss, n
        if math.isnan(loss) or n - best_at >= patience:
            break
    return best, best_at, n


def search(
    candidates: Iterable[Settings],
    start: Callable[[Settings], Progress],
    log: Path,
    patience: int = 3,
    report: Callable[[Run], None] | None = None,
) -> list[Run]:
    """Run what the log does not hold yet; all runs, the best first.

    start(settings) yields a held-out loss whenever it has measured one. A line that was cut off by
    a crash is no run: its settings are run again. `report` is told of each new run. Raises
    ValueError where another search is at work on the log, which would do every run twice.
    """
    runs = []
    with _alone_with(log):
        finished = {_key(run.settings): run for run in read_log(log)}
        for settings in candidates:
            run = finished.get(_key(settings))
            if run is None:
                began = time.perf_counter()
                loss, best_at, n = stop_early(start(settings), patience)
                run = Run(settings, loss, best_at, n, time.perf_counter() - began)
                _append(log, run)
                if report is not None:
                    report(run)
            runs.append(run)
    return sorted(runs, key=lambda run: run.loss)


@contextmanager
def _alone_with(log: Path) -> Iterator[None]:
    """Hold the log; the system lets go of it with the process, however that ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{log}: another search is at work on this log; wait until it has ended, or name "
                "another log"
            ) from None
        yield


def read_log(log: Path) -> list[Run]:
    """The finished runs of a log; none if there is no such file."""
    if not log.exists():
        return []
    whole = [line for line in log.read_bytes().split(b"\n")[:-1] if line]
    runs = []
    for number, line in enumerate(whole, start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if (
            not isinstance(entry, dict)
            or entry.keys() != _FIELDS.keys()
            or not all(isinstance(entry[name], kind) for name, kind in _FIELDS.items())
        ):
            raise ValueError(
                f"{log}, line {number}: expected a run, got {line[:80]!r}; remove the line, and "
                "its run is done again"
            )
        runs.append(Run(**{**entry, "loss": float(entry["loss"])}))
    return runs


def table(runs: Sequence[Run]) -> str:
    """The runs as text, one a line, settings that all share left out."""
    varied = [
        name
        for name in dict.fromkeys(name for run in runs for name in run.settings)
        if len({json.dumps(run.settings.get(name)) for run in runs}) > 1
    ]
    rows = [["loss", "best at", "seconds", *varied]]
    for run in runs:
        values = [_short(run.settings.get(name)) for name in varied]
        rows.append([f"{run.loss:.4f}", f"{run.best_at}/{run.n_measured}", f"{run.seconds:.0f}"])
        rows[-1] += values
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _append(log: Path, run: Run) -> None:
    torn = log.exists() and log.read_bytes()[-1:] not in (b"", b"\n")
    with log.open("ab") as file:
        if torn:  # the rest of a line that a crash cut off
            file.truncate(log.read_bytes().rfind(b"\n") + 1)
        file.write(json.dumps(asdict(run)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
