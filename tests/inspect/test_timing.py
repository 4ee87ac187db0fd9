"""Turns, medians and spreads, checked on a clock that only the contenders move."""

import gc
from collections import Counter

import pytest

from groundup.inspect.timing import (
    Contender,
    Timing,
    interleaved,
    ratio,
    readable_ratio,
    readable_seconds,
)


class Clock:
    """A clock that stands still except while work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> Contender:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return Contender(run)


def test_contenders_take_turns_and_each_round_starts_with_another() -> None:
    clock = Clock()
    contenders = {name: clock.work(name, 1.0) for name in "abc"}
    interleaved(contenders, rounds=3, clock=clock)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab"


def test_a_slow_minute_hits_every_contender_alike() -> None:
    clock = Clock()
    load = iter([1, 1] + [1, 1] * 3 + [5, 5] * 4)

    def loaded(seconds: float) -> Contender:
        def run() -> None:
            clock.now += seconds * next(load)

        return Contender(run)

    timings = interleaved({"fast": loaded(1.0), "slow": loaded(3.0)}, rounds=7, clock=clock)
    assert ratio(timings["fast"], timings["slow"]) == pytest.approx(3.0)
    assert timings["fast"].seconds == pytest.approx((1, 1, 1, 5, 5, 5, 5))


def test_short_calls_are_repeated_and_reported_per_call() -> None:
    clock = Clock()
    timings = interleaved({"a": clock.work("a", 1e-5)}, rounds=2, clock=clock, least_seconds=1e-3)
    assert timings["a"].median == pytest.approx(1e-5)
    assert len(clock.calls) == 2 + 2 * 100


def test_preparation_runs_before_every_call_and_is_not_timed() -> None:
    clock = Clock()
    prepared: list[int] = []

    def prepare() -> None:
        prepared.append(len(clock.calls))
        clock.now += 100.0

    run = clock.work("a", 1e-6).run
    timings = interleaved({"a": Contender(run, prepare)}, rounds=7, clock=clock)
    assert timings["a"].median == pytest.approx(1e-6)
    assert prepared == list(range(8)), "once before each call, the untimed first included"


def test_spread_is_the_interquartile_range_over_the_median() -> None:
    assert Timing((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(2 / 3)
    assert Timing((2.0,) * 7).spread == 0
    assert Timing((2.0,)).spread == 0


def test_the_garbage_collector_rests_meanwhile_and_wakes_after_an_error() -> None:
    states: list[bool] = []
    interleaved({"a": Contender(lambda: states.append(gc.isenabled()))}, rounds=1)
    assert not any(states[-1:])
    with pytest.raises(ZeroDivisionError):
        interleaved({"a": Contender(lambda: 1 // (len(states) - len(states)))}, rounds=1)
    assert gc.isenabled()


def test_progress_counts_rounds_and_nothing_to_time_is_refused() -> None:
    done: list[int] = []
    interleaved({"a": Contender(lambda: None)}, rounds=3, progress=done.append)
    assert done == [1, 2, 3]
    with pytest.raises(ValueError, match=r"expected contenders and rounds >= 1, got 0 rounds"):
        interleaved({"a": Contender(lambda: None)}, rounds=0)


def test_figures_are_read_at_a_glance() -> None:
    assert [readable_seconds(s) for s in (12.345, 0.0199, 4.2e-5, 3e-9)] == [
        "12.3 s",
        "19.9 ms",
        "42.0 µs",
        "3.00 ns",
    ]
    assert [readable_ratio(r) for r in (1.254, 14.27, 126.6, 0.5, 9.999)] == [
        "1.25x",
        "14.3x",
        "127x",
        "0.50x",
        "10.0x",
    ]


def test_slow_ones_get_fewer_rounds_and_no_call_that_is_not_timed():
    calls: Counter[str] = Counter()
    contenders = {name: Contender(lambda name=name: calls.update([name])) for name in ("a", "b")}
    timings = interleaved(contenders, rounds=7, few_rounds={"b": 2}, least_seconds=0)
    assert [len(timings[name].seconds) for name in ("a", "b")] == [7, 2]
    assert calls["b"] == 2
