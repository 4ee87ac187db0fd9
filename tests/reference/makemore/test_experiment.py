"""The harness: choices, early stopping, and a log that a crash cannot spoil."""

import doctest
import math

import numpy as np
import pytest

from groundup.reference.makemore import experiment


def falling_then_rising(settings):
    yield from (abs(i - settings["turn"]) + 1.0 for i in range(20))


def test_a_search_stops_early_and_sorts_by_the_best_loss(tmp_path):
    told = []
    candidates = experiment.grid(turn=[3, 25, 1])
    runs = experiment.search(
        candidates, falling_then_rising, tmp_path / "log.jsonl", 3, told.append
    )
    assert [(r.settings["turn"], r.loss, r.best_at, r.n_measured) for r in runs] == [
        (3, 1.0, 4, 7),
        (1, 1.0, 2, 5),
        (25, 7.0, 20, 20),
    ]
    assert len(told) == 3


def test_a_second_search_takes_finished_runs_from_the_log(tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    first = experiment.search(experiment.grid(turn=[3]), falling_then_rising, log)

    def only_new(settings):
        assert settings == {"turn": 5}
        return falling_then_rising(settings)

    runs = experiment.search(experiment.grid(turn=[3, 5]), only_new, log)
    assert first[0] in runs
    assert len(experiment.read_log(log)) == 2


def test_a_line_cut_off_by_a_crash_is_run_again_and_does_not_spoil_the_next(tmp_path):
    log = tmp_path / "log.jsonl"
    experiment.search(experiment.grid(turn=[3, 4]), falling_then_rising, log)
    whole = log.read_bytes()
    for cut in range(len(whole) // 2 + 2, len(whole), 9):
        log.write_bytes(whole[:cut])
        runs = experiment.search(experiment.grid(turn=[3, 4]), falling_then_rising, log)
        assert sorted(r.settings["turn"] for r in runs) == [3, 4]
        assert len(experiment.read_log(log)) == 2


def test_a_run_that_becomes_nan_ends_there(tmp_path):
    def diverges(settings):
        yield from (2.0, math.nan, 1.0)

    (run,) = experiment.search([{}], diverges, tmp_path / "log.jsonl")
    assert (run.loss, run.n_measured) == (2.0, 2)

    def never_a_number(settings):
        yield math.nan

    (run,) = experiment.search([{"a": 1}], never_a_number, tmp_path / "log.jsonl")
    assert run.loss == math.inf
    assert math.inf in [r.loss for r in experiment.read_log(tmp_path / "log.jsonl")]


def test_random_settings_are_spread_over_factors():
    drawn = experiment.random_search(
        300, np.random.default_rng(0), rate=(1e-4, 1.0), width=[64, 128]
    )
    rates = [s["rate"] for s in drawn]
    assert 0.4 < np.mean([r < 1e-2 for r in rates]) < 0.6
    assert {s["width"] for s in drawn} == {64, 128}
    with pytest.raises(ValueError, match="expected 0 < low <= high"):
        experiment.random_search(1, np.random.default_rng(0), rate=(0.0, 1.0))


def test_the_table_shows_what_differs(tmp_path):
    candidates = experiment.grid(turn=[3, 4], width=[8])
    runs = experiment.search(candidates, falling_then_rising, tmp_path / "log.jsonl")
    lines = experiment.table(runs).splitlines()
    assert lines[0].split() == ["loss", "best", "at", "seconds", "turn"]
    assert len({len(line) for line in lines}) == 1


RUN = '{"settings": %s, "loss": 1.5, "best_at": %s, "n_measured": 2, "seconds": 3}'


@pytest.mark.parametrize("line", ["{}", "[]", "null", "hello", RUN % (3, 1), RUN % ("{}", '"q"')])
def test_a_log_that_is_none_is_said_to_be_none(tmp_path, line):
    log = tmp_path / "log.jsonl"
    log.write_text(f"{RUN % ('{}', 1)}\n{line}\n")
    with pytest.raises(ValueError, match=r"log.jsonl, line 2: expected a run.*; remove") as told:
        experiment.read_log(log)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__ or told.value.__context__ is None


def test_a_second_search_on_a_log_at_work_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"

    def searches_again(settings):
        yield 1.0
        with pytest.raises(ValueError, match=r"log.jsonl: another search .* name another log"):
            experiment.search([{}], falling_then_rising, log)

    experiment.search([{}], searches_again, log)
    assert len(experiment.search([{}], falling_then_rising, log)) == 1


def test_examples_in_the_text_are_true():
    assert not doctest.testmod(experiment).failed
