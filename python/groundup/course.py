"""What a lesson is made of: figures that are checked, pictures that are kept, data or a stand-in.

A lesson is a script of cells (`# %%`) that runs from top to bottom, in a terminal or as a
notebook. It computes, says what it found beside what was published, and ends with `finish`.
"""

import fcntl
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from groundup._files import write_atomic
from groundup.data import catalogue
from groundup.data.stand_in import names_of_python as names_of_python
from groundup.data.stand_in import text_of_python as text_of_python

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = "figures.json"
MODES = ("fast", "usual", "full")
T = TypeVar("T")
Of = str | tuple[str, ...] | None  # the data that a published figure belongs to


@dataclass(frozen=True)
class Checked:
    """One line of a lesson's table: what was seen, what was expected, and whether it fits."""

    name: str
    seen: str
    expected: str
    passed: bool | None  # None: not compared, and `expected` says why


def label(of: int | str) -> str:
    """A lesson's name on the command line: a number, and a letter where a lecture takes several.

    >>> label(7), label("07b")
    ('7', '7b')

    Raises ValueError for anything else.
    """
    found = re.fullmatch(r"0*([0-9]{1,2})([a-z]?)", str(of))
    if found is None:
        raise ValueError(f'lesson: expected a number such as 7, or "7b", got {of!r}')
    return found[1] + found[2]


def file_label(of: int | str) -> str:
    """The same as files and folders have it, in their order: 07b."""
    return label(of).zfill(2 + label(of)[-1].isalpha())


def folder(lesson: int | str) -> Path:
    """Where a lesson keeps its figures and pictures, below the working folder."""
    return Path("runs", "lessons", file_label(lesson))


class Lesson:
    """A lesson at work.

    name    7, or "7b": what `groundup lesson` calls it
    title   what it shows, in a few words
    mode    "fast" (seconds, for tests), "usual" (under two minutes on two cores) or "full" (the
            published setting); by default of the command line: --fast, --full, or neither
    """

    def __init__(self, name: int | str, title: str, mode: str | None = None) -> None:
        if mode is None:
            mode = _mode_of(sys.argv)
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        self.label, self.title, self.mode = label(name), title, mode
        self.folder = folder(name)
        self.checked: list[Checked] = []
        self.pictures: list[str] = []
        self._stand_ins: list[str] = []
        self._take_folder()
        if _is_script(sys.argv):  # a reader who leaves (`| head`) ends it without a word
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            sys.excepthook = _interrupted_without_traceback
        self._began = time.perf_counter()
        print(f"Lesson {self.label}: {title} ({mode})\n")

    def _take_folder(self) -> None:
        """Find out now, not after the work, whether the folder can be written; a script ends here
        with a sentence. The last run's figures go: a run that is cut off has none. A script has the
        folder to itself: two would write over each other's figures."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if _is_script(sys.argv) and not _held(self.folder):
                sys.exit(
                    f"lesson {self.label}: another run of it is at work in {self.folder}; wait "
                    "until it has ended, or change to another folder"
                )
            (self.folder / FIGURES).unlink(missing_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            told = (
                f"lesson {self.label}: expected to keep figures and pictures in {self.folder} of "
                f"the working folder, and it cannot be written ({error.strerror}); change to a "
                "folder of your own and repeat"
            )
            _end(OSError(told))

    def choose(self, *, fast: T, usual: T, full: T) -> T:
        """One of three settings, by the lesson's mode."""
        return {"fast": fast, "usual": usual, "full": full}[self.mode]

    def file(self, path: str) -> Path | None:
        """Where a data set's file is, or None where this machine has it not, or another under its
        name, and says so.

        Published figures of that file are then shown and not compared.
        """
        found = catalogue.find(path)
        if found is None:
            looked_in = ", ".join(map(str, catalogue.folders()))
            lacking, remedy = f"{path} is not on this machine (looked in {looked_in})", ""
        elif other := catalogue.difference(path, found):
            lacking, remedy = other, "remove the other, and "
        else:
            return found
        self._stand_ins.append(path)
        name = path.partition("/")[0]
        known = name in catalogue.data_sets()
        remedy += f"run `groundup data get {name}`" if known else catalogue.by_hand(path)
        print(
            f"{lacking}; this run uses other text, and compares with no published figure. To have "
            f"it, {remedy}.\n"
        )
        return None

    def text(self, path: str, stand_in: Callable[[], str]) -> str:
        """The text of a data set's file; where this machine has it not, a stand-in, as `file`."""
        found = self.file(path)
        return stand_in() if found is None else found.read_text(encoding="utf-8")

    @property
    def has_stand_in(self) -> bool:
        """Whether some text is not the published one; what is kept for a later run says so."""
        return bool(self._stand_ins)

    def check(
        self,
        name: str,
        seen: float,
        expected: float,
        within: float = 1e-9,
        *,
        of: Of = None,
    ) -> None:
        """A figure beside the expected one; it passes no further than `within` away.

        of: the file or files that the expected figure belongs to. With a stand-in for one, not
        compared.
        """
        if lacking := self._lacking(of):
            self._add(name, _short(seen), f"{_short(expected)} on {lacking}", None)
            return
        difference = abs(seen - expected)
        passed = bool(math.isfinite(seen) and difference <= within * (1 + 1e-12))
        self._add(name, _short(seen), f"{_short(expected)} within {within:g}", passed)

    def check_band(self, name: str, seen: float, low: float, high: float, *, of: Of = None) -> None:
        """A figure that should lie between two others."""
        expected = f"{_short(low)} to {_short(high)}"
        if lacking := self._lacking(of):
            self._add(name, _short(seen), f"{expected} on {lacking}", None)
            return
        self._add(name, _short(seen), expected, bool(low <= seen <= high))

    def claim(self, name: str, holds: bool, *, of: Of = None) -> None:
        """A statement that is true or not."""
        lacking = self._lacking(of)
        expected = f"true on {lacking}" if lacking else "true"
        passed = None if lacking else bool(holds)
        self._add(name, "true" if holds else "false", expected, passed)

    def show(self, name: str, seen: float, published: float) -> None:
        """A figure beside a published one that it is not held to, as where one run says little."""
        self._add(name, _short(seen), f"{_short(published)} as published", None)

    def _lacking(self, of: Of) -> str | None:
        """The first of these files that this run uses a stand-in for."""
        files = (of,) if isinstance(of, str) else of or ()
        return next((file for file in files if file in self._stand_ins), None)

    def _add(self, name: str, seen: str, expected: str, passed: bool | None) -> None:
        self.checked.append(Checked(name, seen, expected, passed))
        print(f"  {name}: {seen} (expected {expected}) {_verdict(passed)}")

    def figure(self, name: str, width: float = 7.0, height: float = 4.0) -> "Figure | None":
        """An empty picture to draw on, or None without matplotlib, which is said once.

        Hand it to `keep` when it is drawn.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            if not any("matplotlib" in line for line in self.pictures):
                self.pictures.append("no pictures: matplotlib is in the extra groundup[lessons]")
                print(self.pictures[-1])
            return None
        picture = Figure(figsize=(width, height), layout="constrained")
        picture.set_label(name)
        return picture

    def keep(self, picture: "Figure | None") -> None:
        """Save a picture in the lesson's folder, as PNG, under the name it was asked for with."""
        if picture is None:
            return
        from io import BytesIO

        stream = BytesIO()
        picture.savefig(stream, format="png", dpi=110)
        self.keep_bytes(f"{picture.get_label()}.png", stream.getvalue())

    def keep_bytes(self, name: str, contents: bytes) -> None:
        """Save a file in the lesson's folder."""
        path = self.folder / name
        self._write(path, contents)
        self.pictures.append(str(path))
        print(f"  {path}")

    def _write(self, path: Path, contents: bytes) -> None:
        """As write_atomic; a script ends with a sentence where the disk takes no more."""
        try:
            write_atomic(path, contents)
        except OSError as error:
            told = f"lesson {self.label}: {path} could not be written ({error.strerror})"
            _end(OSError(f"{told}; make room, or change to a folder that has it, and repeat"))

    def finish(self) -> None:
        """Print the verdict and keep the figures; with a miss, a script ends with exit code 1."""
        seconds = time.perf_counter() - self._began
        missed = [line for line in self.checked if line.passed is False]
        record = {
            "label": self.label,
            "title": self.title,
            "mode": self.mode,
            "seconds": round(seconds, 1),
            "checked": [asdict(line) for line in self.checked],
        }
        text = json.dumps(record, indent=1, ensure_ascii=False)
        self._write(self.folder / FIGURES, text.encode() + b"\n")
        compared = sum(line.passed is not None for line in self.checked)
        rest = len(self.checked) - compared
        aside = f"; {rest} not compared" if rest else ""
        print(f"\n{compared - len(missed)} of {compared} figures pass{aside}; {seconds:.0f} s")
        for line in missed:
            print(f"MISS {line.name}: {line.seen}, expected {line.expected}")
        if missed and "ipykernel" not in sys.modules:
            sys.exit(1)


def _held(folder: Path) -> bool:
    """Whether this process now has a folder to itself, until it ends; or nobody can tell."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _end(error: Exception) -> NoReturn:
    """A script ends with the error's sentence; a notebook shows the error."""
    if "ipykernel" in sys.modules:
        raise error
    sys.exit(str(error))


class Run(NamedTuple):
    """What came of a lesson: figures that passed, of how many compared, in which mode."""

    passed: int
    compared: int
    mode: str
    not_compared: int

    def __str__(self) -> str:
        aside = f", {self.not_compared} not compared" if self.not_compared else ""
        return f"{self.passed} of {self.compared} figures pass{aside} ({self.mode})"


def last_run(lesson: int | str) -> Run | None:
    """What came of a lesson's last run; None where there was none."""
    try:
        record = json.loads((folder(lesson) / FIGURES).read_text(encoding="utf-8"))
        verdicts = [line["passed"] for line in record["checked"]]
        not_compared = verdicts.count(None)
        n_compared = len(verdicts) - not_compared
        return Run(verdicts.count(True), n_compared, str(record["mode"]), not_compared)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        path = folder(lesson) / FIGURES
        raise ValueError(f"{path}: expected a lesson's figures; remove it and repeat") from error


def _mode_of(argv: Sequence[str]) -> str:
    """The mode that a command line asks for; a lesson's script ends at any other word."""
    asked = [word for word in argv[1:] if word in ("--fast", "--full")]
    if _is_script(argv) and len(argv) > 1 + (len(asked) == 1):
        sys.exit(f"lesson: expected --fast, --full or neither, got {' '.join(argv[1:])}")
    return asked[0].removeprefix("--") if asked else "usual"


def _interrupted_without_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("\nlesson: interrupted; what it kept stays", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _is_script(argv: Sequence[str]) -> bool:
    """Whether this process runs a lesson's file, and not a notebook or a test."""
    return re.match(r"[0-9]{2}[a-z]?_", Path(argv[0]).name) is not None


def _short(value: float) -> str:
    if math.isfinite(value) and value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"


def _verdict(passed: bool | None) -> str:
    return {True: "pass", False: "MISS", None: "not compared"}[passed]
