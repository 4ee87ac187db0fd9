"""A run on the terminal: one live line, or plain lines now and then where nobody watches."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from groundup.train.report import Report

_SECONDS_BETWEEN_LINES = 10.0


class TrainDisplay:
    """Shows reports: pass it to `train` as progress; a context manager.

    On a terminal a bar with loss, validation loss, tokens/s and time left, and a line that stays
    for every evaluation. Elsewhere the same as plain lines, at most one in ten seconds between
    evaluations.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("step {task.fields[steps]}"),
            BarColumn(bar_width=24),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]} tokens/s"),
            _TimeLeft(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task("", total=1.0, steps="0", loss="", rate="", left=None)
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, report: Report) -> None:
        """Show one report."""
        self._progress.update(
            self._task,
            completed=report.fraction,
            steps=steps(report),
            loss=f"{report.loss:.3f}",
            rate=f"{report.tokens_per_second:,.0f}",
            left=seconds_left(report),
        )
        now = time.monotonic()
        due = not self.console.is_terminal and now - self._last_line >= _SECONDS_BETWEEN_LINES
        if report.evaluated or due:
            self._last_line = now
            self.console.print(line(report), highlight=False)


def line(report: Report) -> str:
    """A report as one line of text."""
    parts = [f"step {steps(report)}", f"loss {report.loss:.4f}"]
    if report.evaluated:
        parts.append(f"validation {report.validation_loss:.4f}")
    parts.append(f"{report.tokens_per_second:,.0f} tokens/s")
    left = seconds_left(report)
    if left is not None:
        parts.append(f"{clock(left)} left")
    return "  ".join(parts)


def steps(report: Report) -> str:
    """ "120/1,000", or "120" where time alone ends the run."""
    done = f"{report.step:,}"
    return done if report.last_step is None else f"{done}/{report.last_step:,}"


def seconds_left(report: Report) -> float | None:
    """Seconds to the end at the pace so far, or None at the very start."""
    if report.fraction <= 0:
        return None
    return report.elapsed_seconds * (1 - report.fraction) / report.fraction


def clock(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        return Text("" if left is None else f"{clock(left)} left", style="progress.remaining")
