"""Time several ways to do the same work so that their ratio means something.

Clocks drift: a shared machine is 30% slower a minute later. So contenders take turns within each
round, each round starts with another of them, and what is reported is a median over rounds.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contender:
    """One way to do the work: `prepare` runs before each `run` and is not timed."""

    run: Callable[[], Any]
    prepare: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds that one contender took, one figure a round, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median: 0 for a machine that never wavers."""
        if len(self.seconds) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (third - first) / self.median if self.median else 0.0


def interleaved(
    contenders: Mapping[str, Contender],
    rounds: int = 7,
    *,
    least_seconds: float = 0.002,
    few_rounds: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Timing]:
    """Time the contenders in turns: one untimed call each, then `rounds` rounds.

    rounds         how often each is timed, at least 1
    least_seconds  a call shorter than this is repeated within its round, so that the clock's own
                   grain does not show; a contender with a `prepare` is called once a round
    few_rounds     how often some of them are timed instead, in the first rounds and without an
                   untimed call: for those that take many seconds
    progress       called with the number of rounds done

    Returns seconds per call. The garbage collector rests meanwhile, as in `timeit`.
    """
    if rounds < 1 or not contenders:
        raise ValueError(f"interleaved: expected contenders and rounds >= 1, got {rounds} rounds")
    few = few_rounds or {}
    names = list(contenders)
    repeats = {
        name: 1 if name in few else _repeats(contenders[name], least_seconds, clock)
        for name in names
    }
    seconds: dict[str, list[float]] = {name: [] for name in names}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for done in range(rounds):
            shift = done % len(names)
            for name in names[shift:] + names[:shift]:
                if done < few.get(name, rounds):
                    seconds[name].append(_timed(contenders[name], repeats[name], clock))
            if progress is not None:
                progress(done + 1)
    finally:
        if enabled:
            gc.enable()
    return {name: Timing(tuple(seconds[name])) for name in names}


def ratio(ours: Timing, theirs: Timing) -> float:
    """How many times faster `ours` is: the quotient of the medians."""
    return theirs.median / ours.median


def readable_seconds(seconds: float) -> str:
    """Three significant digits and a unit: 1.25 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def readable_ratio(value: float) -> str:
    """1.25x, 12.5x, 125x."""
    return f"{_three_digits(value)}x"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:.{max(0, 3 - len(str(int(rounded))))}f}"


def _repeats(contender: Contender, least_seconds: float, clock: Callable[[], float]) -> int:
    first = _timed(contender, 1, clock)
    if contender.prepare is not None or first >= least_seconds:
        return 1
    # The first call pays for caches and compilation; the second says how long a call takes.
    again = _timed(contender, 1, clock)
    return max(1, min(100_000, round(least_seconds / max(again, 1e-8))))


def _timed(contender: Contender, repeats: int, clock: Callable[[], float]) -> float:
    if contender.prepare is not None:
        contender.prepare()
    run = contender.run
    turns: Sequence[None] = [None] * repeats
    start = clock()
    for _ in turns:
        run()
    return (clock() - start) / repeats
