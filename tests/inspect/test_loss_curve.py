"""The picture of a run: there, of the promised size, whole or not at all."""

import itertools
import math
import struct
import sys
from pathlib import Path

import pytest

from groundup.inspect.loss_curve import _running_mean, draw_loss_curve

TRAINING = [(float(step), 3 + 3 * math.exp(-step / 40)) for step in range(200)]
VALIDATION = [(50.0, 4.1), (100.0, 3.6), (199.0, 3.3)]


def test_it_writes_a_png_of_the_promised_size(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    draw_loss_curve(path, TRAINING, VALIDATION, {"interpolated bigram": 3.5}, title="a run")
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1600, 1000)
    assert [file.name for file in tmp_path.iterdir()] == ["loss.png"]


def test_a_run_that_ended_after_one_step_still_has_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_loss_curve(tmp_path / "loss.png", [(0.0, 6.2)], [])
    draw_loss_curve(tmp_path / "loss.png", [], [(0.0, 6.2)])
    assert (tmp_path / "loss.png").stat().st_size > 1_000


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="expected at least one point, got none"):
        draw_loss_curve(tmp_path / "loss.png", [], [])


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'groundup\[train\]'"):
        draw_loss_curve(tmp_path / "loss.png", TRAINING, VALIDATION)


def test_the_running_mean_starts_at_the_first_loss_and_keeps_a_constant() -> None:
    assert _running_mean([2.0] * 500) == pytest.approx([2.0] * 500)
    means = _running_mean([loss for _, loss in TRAINING])
    assert means[0] == pytest.approx(TRAINING[0][1])
    assert all(later < earlier for earlier, later in itertools.pairwise(means))
