"""List the lessons, or run one, some or all of them."""

import ast
import json as json_format
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import groundup
from groundup import course
from groundup.cli._command import run


def main(args: list[str]) -> int:
    """`groundup lesson`."""
    return run(args, lesson, example="groundup lesson 1")


@dataclass(frozen=True)
class Script:
    """A lesson's file, its label and the first line of its text."""

    label: str
    title: str
    path: Path


def lesson(
    which: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    *,
    full: bool = False,
    fast: bool = False,
    check: bool = False,
    json: bool = False,
) -> int:
    """List the lessons, or run one, some or all of them.

    Each prints its figures beside the published ones and keeps its pictures below
    runs/lessons/. Exit code 1 when a figure misses.

    Args:
        which: labels such as 7 or 7b, or `all`; without one, the list
        full: the published setting, which may take long; otherwise under two minutes each
        fast: a few seconds each, as the tests run them
        check: print verdicts only, not what the lessons say
        json: print the list, or the verdicts, as one line of JSON on stdout
    """
    found = scripts()
    if full and fast:
        raise ValueError("lesson: expected --full or --fast, got both")
    if not which:
        return _list(found, json)
    named = [_of(word, found) for word in which if word != "all"]
    chosen = list(found.values()) if "all" in which else list(dict.fromkeys(named))
    mode = ["--full"] * full + ["--fast"] * fast
    verdicts = []
    for script in chosen:
        if check and not json:
            print(f"{script.label:>3}  {script.title}: ", end="", flush=True)
        exit_code, shown = _run(script, mode, quiet=check or json)
        figures = course.last_run(script.label) if exit_code in (0, 1) else None
        verdicts.append({"label": script.label, "exit_code": exit_code, "figures": figures})
        if check and not json:
            print(figures or "did not finish")
        if exit_code and shown:
            print(shown, file=sys.stderr)
    if json:
        print(json_format.dumps(verdicts))
    return int(any(verdict["exit_code"] for verdict in verdicts))


def _run(script: Script, mode: list[str], quiet: bool) -> tuple[int, str | None]:
    """A lesson in a process of its own: its exit code, and with `quiet` all that it printed.

    Ctrl-C is blocked there, and reaches this process alone, whatever the lesson is at: its imports,
    a long product. The lesson is then ended without a word of its own; files that it wrote stay.
    """
    # A lesson's matrices are small: two threads that share one gain nothing, and where another
    # process needs a core they wait for each other, ten times as long as the work takes.
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
    words = [sys.executable, "-u", str(script.path), *mode]  # -u: `| tee` shows it as it comes
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
    try:
        child = subprocess.Popen(
            words,
            env=environment,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        shown, _ = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if child.returncode == -signal.SIGPIPE:
        raise BrokenPipeError
    return child.returncode, shown


def _list(found: dict[str, Script], json: bool) -> int:
    if json:
        records = [
            {"label": s.label, "title": s.title, "last_run": course.last_run(s.label)}
            for s in found.values()
        ]
        print(json_format.dumps(records))
        return 0
    status = {label: str(course.last_run(label) or "not run here") for label in found}
    width = max(map(len, status.values()))
    for label, script in found.items():
        print(f"{label:>3}  {status[label]:<{width}}  {script.title}")
    print(
        "\n`groundup lesson 1` runs one, `groundup lesson all --check` all. Figures and pictures\n"
        "go to runs/lessons/ of the working folder. Published figures belong to texts that\n"
        "`groundup data list` names; without them a lesson uses others, and compares less."
    )
    return 0


def _of(word: str, found: dict[str, Script]) -> Script:
    plain = word.lower().lstrip("0")
    if plain not in found:
        raise ValueError(f"lesson: expected `all` or one of {', '.join(found)}, got {word!r}")
    return found[plain]


def scripts() -> dict[str, Script]:
    """The lessons of the source checkout, by label: "7", "7b".

    Raises FileNotFoundError for an installed copy: lessons live beside the sources, to be read.
    """
    place = Path(groundup.__file__).resolve().parents[2] / "lessons"
    found = {}
    for path in sorted([*place.glob("[0-9][0-9]_*.py"), *place.glob("[0-9][0-9][a-z]_*.py")]):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
        label = course.label(path.stem.partition("_")[0])
        found[label] = Script(label, text.partition("\n")[0].rstrip("."), path)
    if not found:
        raise FileNotFoundError(
            "lessons run from a source checkout, and this groundup is an installed copy; "
            "clone the repository, `pip install -e '.[lessons]'` there, and repeat"
        )
    return found
