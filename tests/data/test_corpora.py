"""What text groundup finds, in which order, and what it says when there is none."""

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.corpora import Document, read_documents, standard_library


def make_library(root: Path) -> Path:
    for name, content in {
        "json/decoder.py": b"def decode(): ...\n",
        "abc.py": b"class ABC: ...\n",
        "latin.py": "# -*- coding: latin-1 -*-\n# \xe9\n".encode("latin-1"),
        "blank.py": b"\n\n",
        "test/test_abc.py": b"assert True\n",
        "site-packages/torch/__init__.py": b"import torch\n",
        "encodings/cp037.py": b"table = 1\n",
        "_sysconfigdata__linux.py": b"build_time_vars = {}\n",
        "__pycache__/abc.cpython-311.pyc": b"\x00",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_this_interpreter_carries_megabytes_of_text_the_same_each_time() -> None:
    first, second = standard_library(2_000_000), standard_library(2_000_000)
    assert first == second
    assert 1_800_000 < sum(len(document.text.encode()) for document in first) <= 2_000_000
    names = [document.name for document in first]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert any(name.startswith("topic ") for name in names)
    assert any(name.endswith(".py") for name in names)


def test_tests_vendored_code_tables_and_other_encodings_are_left_out(tmp_path: Path) -> None:
    documents = standard_library(folder=make_library(tmp_path))
    assert [document.name for document in documents] == ["abc.py", "json/decoder.py"]


def test_a_bound_draws_whole_documents_from_all_over_the_alphabet() -> None:
    every, some = standard_library(10**9), standard_library(1_000_000)
    assert set(some) < set(every)
    middle = sorted(every)[len(every) // 2].name
    assert any(document.name > middle for document in some)


def test_an_installation_without_sources_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "os.pyc").write_bytes(b"\x00")
    with pytest.raises(FileNotFoundError, match=r"carries no library sources .*--text PATH"):
        standard_library(folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="carries no library sources"):
        standard_library(folder=tmp_path / "python311.zip")


def test_many_files_are_documents_in_sorted_order(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number}\n")
    (tmp_path / ".hidden").write_text("not read")
    (tmp_path / "empty.txt").touch()
    documents = read_documents([tmp_path])
    assert [document.text for document in documents] == [f"text {n}\n" for n in range(100)]


def test_a_single_file_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "play.txt"
    text = "\n\n".join(f"SPEAKER {n}:\n" + "words and words\n" * 7 for n in range(400))
    path.write_text(text)
    documents = read_documents([path])
    assert 20 <= len(documents) <= 50
    assert "".join(document.text for document in documents) == text
    assert all(document.text.endswith("\n\n") for document in documents[:-1])


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=300).filter(str.strip), limit=st.integers(1, 400))
def test_a_bound_keeps_a_prefix_of_whole_characters(
    tmp_path_factory: pytest.TempPathFactory, text: str, limit: int
) -> None:
    path = tmp_path_factory.mktemp("bound") / "text.txt"
    path.write_bytes(text.encode())
    whole = text.encode().decode("utf-8-sig")
    try:
        kept = "".join(document.text for document in read_documents([path], limit))
    except ValueError as error:
        assert "is empty" in str(error)  # noqa: PT017
        return
    assert whole.startswith(kept)
    assert len(kept.encode()) <= limit


def test_each_unusable_path_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*missing\.txt; name a UTF-8 text"):
        read_documents([tmp_path / "missing.txt"])
    (tmp_path / "latin.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8 \(byte 0xe9 at 3\); .*iconv"):
        read_documents([tmp_path / "latin.txt"])
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"empty\.txt is empty"):
        read_documents([tmp_path / "empty.txt"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"no UTF-8 text file in .*folder"):
        read_documents([tmp_path / "folder"])
    with pytest.raises(ValueError, match="expected at least one file or folder, got none"):
        read_documents([])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        read_documents([tmp_path / "pipe"])


def test_files_of_a_folder_that_are_not_text_are_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(UserWarning, match=r"left out 1 files that are not UTF-8 .*b\.bin"):
        documents = read_documents([tmp_path])
    assert documents == [Document(str(tmp_path / "a.txt"), "words")]


def test_reading_text_gives_no_warning_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words and words")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_documents([tmp_path / "a.txt"])
