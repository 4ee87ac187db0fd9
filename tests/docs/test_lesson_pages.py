"""Pages out of lessons: text as text, code as listings, pictures where they are drawn, figures."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''"""What it shows.

How.
"""

# %% [markdown]
# # 3. A title
#
# Text with `code`.

# %%
picture = lesson.figure("curve", 3)
note = "```"
lesson.keep_bytes("tree.svg", b"")

# %% [markdown]
# ## More
x = 1

# %%
for name in "ab":
    lesson.keep(lesson.figure(f"map_{name}"))
'''


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("lesson_pages", ROOT / "docs/lesson_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(folder, *pictures):
    folder.mkdir(parents=True)
    for name in pictures:
        (folder / name).write_bytes(b"picture")
    record = {
        "label": "3b",
        "title": "t",
        "mode": "usual",
        "seconds": 12.3,
        "checked": [
            {"name": "a|b", "seen": "1", "expected": "2", "passed": False},
            {"name": "c", "seen": "1", "expected": "2 on a file", "passed": None},
        ],
    }
    (folder / "figures.json").write_text(json.dumps(record))


def test_a_lesson_becomes_a_page_with_its_pictures_in_place(pages, tmp_path):
    lessons, runs, out = (tmp_path / name for name in ("lessons", "runs", "out"))
    lessons.mkdir()
    (lessons / "03b_more.py").write_text(SCRIPT)
    run_of(runs / "03b", "curve.png", "tree.svg", "map_b.png", "map_a.png", "other.png", "log.txt")
    (page,) = pages.write(lessons, runs, out)
    text = page.read_text()
    assert page.name == "03b_more.md"
    assert text.startswith("# 3. A title\n\nText with `code`.\n\nWhat it shows.\n\nHow.\n")
    assert "`groundup lesson 3b` runs [lessons/03b_more.py](../../lessons/03b_more.py)." in text
    assert text.count("# ") == 3
    assert '````python\npicture = lesson.figure("curve", 3)\nnote = "```"\n' in text
    assert "## More\n\n```python\nx = 1\n```" in text
    shown = re.findall(r"!\[(.*)\]\((.*)\)", text)
    assert [title for title, _ in shown] == ["curve", "tree", "map a", "map b", "other"]
    for _, path in shown:
        assert (out / path).read_bytes() == b"picture"
    assert not list(out.rglob("log.txt"))
    assert text.index("(pictures/03b/tree.svg)") < text.index("## More") < text.index("map_a.png")
    assert "Mode usual, 12 s." in text
    assert "| a\\|b | 1 | 2 | **miss** |" in text
    assert "| c | 1 | 2 on a file | not compared |" in text


def test_a_page_without_a_run_says_how_to_get_one(pages, tmp_path):
    (tmp_path / "03b_more.py").write_text(SCRIPT)
    stale = tmp_path / "out/old.md"
    stale.parent.mkdir()
    stale.write_text("gone")
    (page,) = pages.write(tmp_path, tmp_path / "runs", tmp_path / "out")
    assert not stale.exists()
    assert "![" not in page.read_text()
    assert "Not run where this page was made: `groundup lesson 3b` draws" in page.read_text()


def test_every_lesson_has_a_page(pages, tmp_path):
    written = pages.write(ROOT / "lessons", tmp_path / "none", tmp_path / "out")
    assert [page.stem for page in written] == [
        path.stem for path in sorted((ROOT / "lessons").glob("[0-9]*.py"))
    ]
    for page in written:
        script = (ROOT / "lessons" / f"{page.stem}.py").read_text(encoding="utf-8")
        text = page.read_text(encoding="utf-8")
        number = page.stem.partition("_")[0].lstrip("0")
        assert text.startswith(f"# {number}. "), page
        code = [line for line in script.splitlines() if line and not line.startswith(("#", '"""'))]
        assert all(line in text for line in code)


def test_what_is_no_lesson_is_refused(pages, tmp_path):
    with pytest.raises(ValueError, match="expected a docstring and cells"):
        pages.cells("x = 1\n")
    with pytest.raises(FileNotFoundError, match="expected lessons such as 01_micrograd"):
        pages.write(tmp_path, tmp_path, tmp_path / "out")
    assert pages.drawn("lesson.figure(name); lesson.figure('a'); picture()") == ["*.png", "a.png"]


def test_every_derivation_is_in_the_index():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8").splitlines()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.stem in index or path.stem == "index", f"{path.name}: add it to docs/index.md"


@pytest.mark.parametrize("torn", ["", '{"mode": "usu', "{}", "[]", '{"mode": "", "seconds": "x"}'])
def test_torn_figures_are_told_with_their_file(pages, tmp_path, torn):
    (tmp_path / "03").mkdir()
    (tmp_path / "03" / "figures.json").write_text(torn)
    (tmp_path / "03_x.py").write_text(SCRIPT)
    with pytest.raises(
        ValueError, match=r"03/figures.json: expected a lesson's figures; remove it"
    ):
        pages.page(tmp_path / "03_x.py", tmp_path / "03")
