"""Shards to weights within a wall-clock budget, and the picture of it."""

import importlib.util
from pathlib import Path

from groundup.inspect.loss_curve import draw_loss_curve
from groundup.train import TrainConfig
from groundup.train.metrics import FILE as METRICS_FILE
from groundup.train.metrics import read_metrics


def demo_config(out: Path, seconds: float, seed: int) -> TrainConfig:
    """Two layers of 256, 64 tokens at a time, 12 sequences a step.

    Within two minutes on two cores width and many small steps learn more than depth and large
    batches. A slow machine takes a few hundred steps only, and then a long rise of the learning
    rate is worth more than anything else: docs/log.md has the figures.
    """
    return TrainConfig(
        data=out / "data",
        out=out,
        n_layer=2,
        n_head=4,
        n_embd=256,
        block_size=64,
        batch_size=12,
        learning_rate=2e-3,
        warmup=0.1,
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
