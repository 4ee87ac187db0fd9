"""An expression drawn: values as boxes, operations as circles, from the inputs to the result.

Graphviz places them best, and `to_dot` writes its source. `to_svg` hands that to the program
`dot`; where it is not installed, a plain layout of our own does: a column for each step of the
way. Standard library only.
"""

import re
import shutil
import subprocess
from html import escape

from groundup.reference.micrograd.engine import Value, history

_WIDTH, _HEIGHT = 190, 34  # of a box
_COLUMN, _ROW, _MARGIN = 260, 54, 20
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_dot(root: Value) -> str:
    """Graphviz source of all that `root` was made of; `dot -Tsvg` turns it into a picture."""
    lines = ["digraph {", '  rankdir="LR"', '  node [fontname="sans-serif", fontsize=11]']
    names = {value: f"v{i}" for i, value in enumerate(history(root))}
    for value, name in names.items():
        lines.append(f'  {name} [shape=record, label="{_dot_text(" | ".join(_cells(value)))}"]')
        if value.parents:
            lines.append(f'  {name}op [shape=circle, label="{_dot_text(value.op)}"]')
            lines.append(f"  {name}op -> {name}")
            lines.extend(f"  {names[parent]} -> {name}op" for parent in value.parents)
    return "\n".join([*lines, "}"]) + "\n"


def to_svg(root: Value) -> str:
    """The picture as SVG text: by Graphviz when `dot` is installed, else by the plain layout."""
    dot = shutil.which("dot")
    if dot is None:
        return plain_svg(root)
    done = subprocess.run(
        [dot, "-Tsvg"], input=to_dot(root), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(
            f"dot: expected a picture, got exit code {done.returncode}: {done.stderr}"
        )
    return done.stdout


def plain_svg(root: Value) -> str:
    """The picture without Graphviz: a value stands one column behind the last of its parents."""
    column: dict[Value, int] = {}
    place: dict[Value, tuple[int, int]] = {}
    filled: list[int] = []
    for value in history(root):
        column[value] = at = 1 + max((column[p] for p in value.parents), default=-1)
        filled.extend([0] * (at + 1 - len(filled)))
        place[value] = (_MARGIN + at * _COLUMN, _MARGIN + filled[at] * _ROW)
        filled[at] += 1
    lines, boxes = [], []
    for value, (x, y) in place.items():
        middle = y + _HEIGHT / 2
        boxes.append(f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}"/>')
        boxes.append(_text(x + _WIDTH / 2, middle, " | ".join(_cells(value))))
        if not value.parents:
            continue
        lines.append(f'<path d="M{x - 12} {middle}H{x}"/>')
        boxes.append(f'<circle cx="{x - 26}" cy="{middle}" r="14"/>')
        boxes.append(_text(x - 26, middle, value.op))
        for parent in value.parents:
            px, py = place[parent]
            lines.append(f'<path d="M{px + _WIDTH} {py + _HEIGHT / 2}L{x - 40} {middle}"/>')
    width = 2 * _MARGIN + (len(filled) - 1) * _COLUMN + _WIDTH
    height = 2 * _MARGIN + (max(filled) - 1) * _ROW + _HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="11" stroke="black" fill="white">',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _cells(value: Value) -> list[str]:
    label = [_NOT_XML.sub("\ufffd", value.label)] if value.label else []
    return [*label, f"{value.data:.4g}", f"grad {value.grad:.4g}"]


def _dot_text(text: str) -> str:
    """Text inside a record's label: braces, bars and angle brackets mean fields there."""
    parts = text.split(" | ")
    return " | ".join("".join(f"\\{c}" if c in '\\"{}|<> ' else c for c in p) for p in parts)


def _text(x: float, y: float, text: str) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="middle" dominant-baseline="central" '
        f'stroke="none" fill="black">{escape(text)}</text>'
    )
