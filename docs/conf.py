"""Sphinx: the pages of docs/ as they are, and one for each lesson, made anew at every build."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import lesson_pages  # noqa: E402

lesson_pages.write(HERE.parent / "lessons", HERE.parent / "runs" / "lessons", HERE / "lessons")

project = "groundup"
extensions = ["myst_parser"]
myst_heading_anchors = 3
# Lessons carry examples of code that is wrong on purpose; a listing is shown as it is written.
highlight_language = "none"
html_theme = "furo"
html_title = "groundup"
html_show_copyright = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    app.connect("source-read", _lead_to_pages)


def _lead_to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a lesson's file, as a reader of the repository wants it, leads to its page here."""
    source[0] = re.sub(r"\]\(\.\./lessons/(\w+)\.py\)", r"](lessons/\1.md)", source[0])
