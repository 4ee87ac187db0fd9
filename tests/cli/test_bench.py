"""`groundup bench`: what it lists, and where it refuses to run."""

from pathlib import Path

import pytest

import groundup
from groundup.cli import bench


def test_it_lists_the_ops_that_have_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list"]) == 0
    assert "cross_entropy" in capsys.readouterr().out.splitlines()


def test_an_unknown_op_and_too_few_rounds_have_their_sentences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.main(["flash"]) == 1
    assert "groundup bench: there is no benchmark of 'flash'; there are " in capsys.readouterr().err
    assert bench.main(["--rounds", "3"]) == 1
    assert "rounds: expected at least 7" in capsys.readouterr().err


def test_outside_a_checkout_it_says_that_it_needs_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "site-packages" / "groundup" / "__init__.py"
    monkeypatch.setattr(groundup, "__file__", str(copy))
    assert bench.main([]) == 1
    said = capsys.readouterr().err
    assert "benchmarks run from a source checkout, and this groundup is an installed copy" in said
