"""What a run measured: JSON lines always, TensorBoard where asked for."""

import json
from pathlib import Path
from typing import Any

from groundup._files import write_atomic

FILE = "metrics.jsonl"


class Metrics:
    """One JSON object per line in `folder`/metrics.jsonl, each with its step.

    A run that begins at `step` continues the file there: lines of later steps, which a killed
    run may have written after its last checkpoint, are dropped, and half a line too.
    Raises ImportError naming the extra where TensorBoard is asked for and missing.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self._events: Any = None
        if tensorboard:
            self._events = event_writer()(str(folder / "tensorboard"), purge_step=step or None)
        path = folder / FILE
        kept = [line for line in read_metrics(path) if line["step"] <= step] if step else []
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._stream = open(path, "ab", buffering=0)  # noqa: SIM115, closed in close()

    def write(self, step: int, **values: float) -> None:
        """Add a line; it reaches the operating system at once."""
        line = memoryview((json.dumps({"step": step, **values}) + "\n").encode())
        try:
            while line:  # unbuffered, so that nothing is left for close() to fail on
                line = line[self._stream.write(line) :]
        except OSError as error:  # a full disk names no file
            raise OSError(error.errno, error.strerror, self._stream.name) from error
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._stream.close()
        if self._events is not None:
            self._events.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file, as far as they are whole; none where there is no file."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


def event_writer() -> Any:
    """TensorBoard's SummaryWriter; ImportError naming the extra where it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard is not installed: pip install 'groundup[train]', or leave tensorboard off"
        ) from error
    return SummaryWriter
