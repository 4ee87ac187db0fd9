"""docs/traps.md quotes what lessons print, and names where the course has it right."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8")
ROWS = [row.split(" | ") for row in PAGE.splitlines() if re.match(r"\| *(\d+ )?\|", row)][1:]


def test_all_eighteen_are_there():
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == [*range(1, 19)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_what_is_quoted_is_there(row):
    _, _, lessons, printed, right = row
    shown = ""
    for path in re.findall(r"\]\(\.\./(.*?)\)", lessons):
        shown += (ROOT / path).read_text(encoding="utf-8")
    quoted = re.findall('"(.*?)"', printed)
    assert quoted
    assert [text for text in quoted if text not in shown] == []
    for place in right.rstrip("| ").split("; "):
        file, name = re.fullmatch("`(.*?)`: `(.*?)`", place).groups()
        found = [
            *(ROOT / "python/groundup").glob(f"reference/{file}"),
            ROOT / "python/groundup" / file,
        ]
        sources = "".join(path.read_text(encoding="utf-8") for path in found if path.exists())
        assert re.search(rf"(def|class) {name}\b", sources), place
