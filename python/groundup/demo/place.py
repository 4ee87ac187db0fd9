"""Where a run of the demo lands: beside the run that is there, and in its place once it is done.

    runs/demo/                  the last finished run, or the first one
    runs/demo/unfinished-1/     one that is under way, or was stopped

So whatever ends a run, nothing that an earlier one saved is lost to it.
"""

import json
import shutil
from itertools import count
from pathlib import Path

from groundup._files import write_atomic
from groundup._lock import LOCK
from groundup._version import __version__
from groundup.train import checkpoint

MARK = "demo.json"
_UNFINISHED = "unfinished-"
_FILES = (
    "loss.png",
    "sample.txt",
    "table.json",
    "tokenizer.json",
    "metrics.jsonl",
    "data/dataset.json",
    "data/*.tokens",
    "tensorboard/events.out.tfevents.*",
)


def check_place(out: Path) -> None:
    """Raise ValueError for a folder with files in it that no demo made."""
    if out.is_dir() and not _is_demo(out) and any(path.name != LOCK for path in out.iterdir()):
        raise ValueError(
            f"{out}: holds files, and not an earlier demo's; name another folder with --out"
        )


def claim(out: Path) -> Path:
    """The folder to run in: `out` itself where no demo was before, else a new one inside it.

    The caller holds `out` (only_run_in). A replacement that was killed halfway is completed first.
    """
    check_place(out)
    place = out
    if _is_demo(out):
        for finished in sorted(out.glob(f"{_UNFINISHED}*")):
            if _is_finished(finished):
                replace(out, finished)
        names = (f"{_UNFINISHED}{number}" for number in count(1))
        place = next(out / name for name in names if not (out / name).exists())
    place.mkdir(parents=True, exist_ok=True)
    mark = json.dumps({"groundup": __version__, "finished": False}) + "\n"
    write_atomic(place / MARK, mark.encode())
    return place


def replace(out: Path, finished: Path) -> None:
    """Put the finished run in the place of the one in `out`, and remove the unfinished ones.

    Only what a demo makes is removed. The earlier run's mark goes once the rest of it has gone, the
    new one's moves last: killed anywhere, the next claim completes what is left to do.
    """
    if (out / MARK).is_file():
        checkpoint.remove_all(out / "checkpoints")
        for pattern in _FILES:
            for stale in out.glob(pattern):
                stale.unlink()
        (out / MARK).unlink()
    for name in (*(p.name for p in sorted(finished.iterdir()) if p.name not in (MARK, LOCK)), MARK):
        _move(finished / name, out / name)
    for stopped in out.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(stopped)


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _move(entry, target / entry.name)
    else:
        shutil.move(source, target)  # `target` may be on another disk, through a link


def _is_demo(out: Path) -> bool:
    return (out / MARK).is_file() or any(out.glob(f"{_UNFINISHED}*/{MARK}"))


def _is_finished(place: Path) -> bool:
    try:
        return bool(json.loads((place / MARK).read_bytes())["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
