"""The loss curve of a run as a picture."""

import io
import itertools
from collections.abc import Mapping, Sequence
from os import PathLike

from groundup._files import write_atomic

Points = Sequence[tuple[float, float]]

_TRAINING, _VALIDATION, _LEVEL, _INK = "#9db4c8", "#1f5f99", "#c2571a", "#333333"


def draw_loss_curve(
    path: str | PathLike[str],
    training: Points,
    validation: Points,
    levels: Mapping[str, float] | None = None,
    *,
    x_label: str = "step",
    title: str = "",
) -> None:
    """Write a PNG of 1600 x 1000 pixels, whole or not at all.

    training    (x, loss in nats) of single batches, drawn pale with their running mean
    validation  (x, loss in nats) on held-out text, drawn as dots
    levels      name -> loss of what to compare with, drawn as dashed lines

    Raises ModuleNotFoundError without matplotlib, ValueError when there is no point.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the loss curve needs matplotlib: pip install 'groundup[train]'", name="matplotlib"
        ) from None
    if not training and not validation:
        raise ValueError("loss curve: expected at least one point, got none")
    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color=_TRAINING, linewidth=0.6, alpha=0.4)
        axes.plot(steps, _running_mean(losses), color=_TRAINING, linewidth=1.8, label="training")
    if validation:
        steps, losses = zip(*validation, strict=True)
        axes.plot(
            steps, losses, "o-", color=_VALIDATION, markersize=4, linewidth=1.5, label="validation"
        )
        axes.annotate(
            f"{losses[-1]:.2f}",
            (steps[-1], losses[-1]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="right",
            color=_VALIDATION,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
    for name, loss in (levels or {}).items():
        axes.axhline(loss, color=_LEVEL, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{name} {loss:.2f}",
            (0.99, loss),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=_LEVEL,
        )
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel("loss, nats a token", color=_INK)
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    if training or validation:
        axes.legend(frameon=False, loc="upper right")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomic(path, png.getvalue())


def _running_mean(losses: Sequence[float]) -> list[float]:
    """The mean of the losses around each, a fiftieth of the run wide; narrower at the ends."""
    reach = len(losses) // 100
    sums = [0.0, *itertools.accumulate(losses)]
    means = []
    for at in range(len(losses)):
        near = min(reach, at, len(losses) - 1 - at)
        means.append((sums[at + near + 1] - sums[at - near]) / (2 * near + 1))
    return means
