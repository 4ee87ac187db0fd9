"""Draws a terminal's text as an SVG: `groundup demo | python tools/picture.py docs/demo.svg`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def draw(lines: list[str], title: str) -> str:
    console = Console(record=True, width=max(map(len, lines)), file=io.StringIO())
    for line in lines:
        text = Text(line)
        if re.match(r"(\d  |Done|groundup \d)", line):
            text.stylize("bold cyan")
        text.highlight_regex(r"\d[\d.,]*x\b", "bold green")
        text.highlight_regex(r"better by.*", "bold green")
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title=title)
    # The picture must not fetch anything: the reader's own monospace font will do.
    return re.sub(r"\s*@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    shown = sys.stdin.read().rstrip().splitlines()
    Path(sys.argv[1]).write_text(draw(shown, "make demo"), encoding="utf-8")
