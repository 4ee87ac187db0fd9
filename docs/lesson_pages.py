"""A page for every lesson, out of the lesson itself and of its last run.

A lesson is a script of cells. Its text becomes text, its code a listing, and where a cell draws a
picture, the one that the last run kept stands below it. Nothing is written twice, and nothing is
run: a page without a run says how to get its pictures. Standard library only; conf.py calls `write`
before the site is built.
"""

import ast
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PICTURES = (".png", ".svg")
MARK = re.compile(r"^# %%(?P<text> \[markdown\])?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A piece of a lesson: its text without the comment signs, or its code."""

    is_text: bool
    source: str


def cells(script: str) -> tuple[str, list[Cell]]:
    """A lesson's docstring and its cells, empty ones left out.

    Raises ValueError for a script without a docstring or without cells.
    """
    about = ast.get_docstring(ast.parse(script))
    marks = list(MARK.finditer(script))
    if about is None or not marks:
        raise ValueError("lesson: expected a docstring and cells that begin with # %%")
    ends = [mark.start() for mark in marks[1:]] + [len(script)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        source = script[mark.end() : end].strip("\n")
        if mark["text"]:
            # What follows the comment of a text cell is code, as notebooks read it.
            lines = source.split("\n")
            n = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
            text = "\n".join(line[1:].removeprefix(" ") for line in lines[:n])
            found += [Cell(True, text), Cell(False, "\n".join(lines[n:]).strip("\n"))]
        else:
            found.append(Cell(False, source))
    return about, [cell for cell in found if cell.source.strip()]


def drawn(code: str) -> list[str]:
    """Patterns of the files that a cell's code keeps, in the order of its lines."""
    patterns = []
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: call.lineno):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name in ("figure", "keep_bytes") and call.args:
            pattern = _pattern(call.args[0])
            patterns.append(f"{pattern}.png" if name == "figure" else pattern)
    return patterns


def page(script: Path, kept: Path) -> str:
    """The Markdown of one lesson. kept: the folder of its last run, which may not be there."""
    about, parts = cells(script.read_text(encoding="utf-8"))
    name = kept.name
    pictures = sorted(p.name for p in kept.glob("*") if p.suffix in PICTURES)
    lines: list[str] = []
    if parts[0].is_text and parts[0].source.startswith("# "):
        lines += [parts.pop(0).source, ""]
    else:
        lines += [f"# {script.stem}", ""]
    command = f"`groundup lesson {name.lstrip('0')}`"
    link = f"[lessons/{script.name}](../../lessons/{script.name})"
    lines += [about, "", f"{command} runs {link}.", ""]
    for cell in parts:
        if cell.is_text:
            lines += [cell.source, ""]
            continue
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", cell.source)), default=0))
        lines += [f"{fence}python", cell.source, fence, ""]
        for pattern in drawn(cell.source):
            here = [picture for picture in pictures if Path(picture).match(pattern)]
            pictures = [picture for picture in pictures if picture not in here]
            lines += [_shown(name, picture) for picture in here]
    lines += [_shown(name, picture) for picture in pictures]
    lines += _figures(kept, command)
    return "\n".join(lines).rstrip() + "\n"


def write(lessons: Path, runs: Path, out: Path) -> list[Path]:
    """Pages of all lessons and their pictures, into `out`, which holds nothing else.

    lessons  the folder of scripts, runs  that of their last runs, named 07, 07b and so on
    """
    scripts = sorted([*lessons.glob("[0-9][0-9]_*.py"), *lessons.glob("[0-9][0-9][a-z]_*.py")])
    if not scripts:
        raise FileNotFoundError(f"{lessons}: expected lessons such as 01_micrograd.py, found none")
    if out.exists():
        shutil.rmtree(out)
    pages = []
    for script in scripts:
        kept = runs / script.stem.partition("_")[0]
        pictures = out / "pictures" / kept.name
        pictures.mkdir(parents=True)
        for picture in kept.glob("*"):
            if picture.suffix in PICTURES:
                shutil.copyfile(picture, pictures / picture.name)
        pages.append(out / f"{script.stem}.md")
        pages[-1].write_text(page(script, kept), encoding="utf-8")
    return pages


def _pattern(name: ast.expr) -> str:
    """A string as it stands; a formatted one with * for what is filled in."""
    if isinstance(name, ast.Constant):
        return str(name.value)
    if isinstance(name, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in name.values)
    return "*"


def _shown(folder: str, picture: str) -> str:
    title = Path(picture).stem.replace("_", " ")
    return f"![{title}](pictures/{folder}/{picture})\n"


def _figures(kept: Path, command: str) -> list[str]:
    """What the last run found. Raises ValueError for figures that no lesson writes."""
    path = kept / "figures.json"
    try:
        return _table(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return [f"Not run where this page was made: {command} draws its pictures and figures.", ""]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{path}: expected a lesson's figures; remove it, and {command} makes it anew"
        ) from None


def _table(run: dict[str, Any]) -> list[str]:
    verdicts = {True: "pass", False: "**miss**", None: "not compared"}
    lines = [
        "## What the last run found",
        "",
        f"Mode {run['mode']}, {run['seconds']:.0f} s.",
        "",
        "| figure | seen | expected | |",
        "|---|---|---|---|",
    ]
    for line in run["checked"]:
        row = [line["name"], line["seen"], line["expected"], verdicts[line["passed"]]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return [*lines, ""]
