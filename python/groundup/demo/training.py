"""Shards to weights within a wall-clock budget, and the picture of it."""

import importlib.util
from pathlib import Path

from groundup.inspect.loss_curve import draw_loss_curve
from groundup.train import TrainConfig
from groundup.train.metrics import FILE as METRICS_FILE
from groundup.train.metrics import read_metrics


def demo_config(out: Path, seconds: float, seed: int) -> TrainConfig:
    """A run's own defaults: they are chosen for a few minutes on two cores."""
    return TrainConfig(
        data=out / "data",
        out=out,
        budget_seconds=seconds,
        seed=seed,
        tensorboard=importlib.util.find_spec("tensorboard") is not None,
    )


def draw_curve(out: Path, bigram_loss: float, title: str) -> Path | None:
    """loss.png with the bigram as a line, or None without matplotlib, which only draws it."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    lines = read_metrics(out / METRICS_FILE)
    draw_loss_curve(
        out / "loss.png",
        [(line["step"], line["loss"]) for line in lines if "loss" in line],
        [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line],
        {"interpolated bigram": bigram_loss},
        title=title,
    )
    return out / "loss.png"
