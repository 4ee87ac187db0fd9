"""Sphinx: the pages of docs/ as they are, and one for each lesson, made anew at every build."""

import sys
from pathlib import Path

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
