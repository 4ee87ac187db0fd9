"""Files in parts give the ids of their whole text, wherever blocks end."""

import os

import numpy as np
import pytest

from groundup.tokenizer import Tokenizer, encoding_files, stream

SPECIAL = "<| end of text |>"


@pytest.fixture(scope="module")
def text(mixed_text, library_text):
    return (mixed_text + library_text[:60_000]).replace("self", SPECIAL) + "\r\né"


@pytest.fixture(scope="module", params=["gpt2", "gpt4", "gpt4o", "indic-math", "none", r"\w+|\s"])
def tok(request, text):
    return Tokenizer.train([text[:20_000]], 400, pattern=request.param, special_tokens=[SPECIAL])


@pytest.mark.parametrize(("read", "group"), [(7, 100), (4999, 20_000), (1 << 20, 1 << 22)])
def test_a_file_in_parts_gives_the_ids_of_its_text(tok, text, tmp_path, monkeypatch, read, group):
    monkeypatch.setattr(encoding_files, "_READ_BYTES", read)
    monkeypatch.setattr(encoding_files, "_GROUP_CHARACTERS", group)
    text = text[: 3000 if read < 10 else None]
    paths = [tmp_path / "a.txt", tmp_path / "empty.txt", tmp_path / "b.txt"]
    for path, content in zip(paths, [text, "", "end"], strict=True):
        path.write_bytes(content.encode())
    expected = tok.encode(text, allowed_special="all") + tok.encode("end")
    arrays = list(tok.encode_files(paths, allowed_special="all"))
    assert np.concatenate(arrays).tolist() == expected
    assert tok.encode_files_to_npy(paths, tmp_path / "ids.npy", allowed_special="all") == len(
        expected
    )
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    assert ids.tolist() == expected


def test_one_path_is_enough_and_the_dtype_can_be_chosen(trained, tmp_path):
    (tmp_path / "a.txt").write_text("one two")
    assert trained.encode_files_to_npy(tmp_path / "a.txt", tmp_path / "i.npy", dtype="uint32") > 0
    assert np.load(tmp_path / "i.npy").dtype == np.uint32
    assert np.load(tmp_path / "i.npy").tolist() == trained.encode("one two")
    assert trained.encode_files_to_npy([], tmp_path / "i.npy") == 0
    assert np.load(tmp_path / "i.npy").shape == (0,)


def test_what_cannot_be_encoded_leaves_no_file(trained, tmp_path):
    bad, special, out = tmp_path / "bad.txt", tmp_path / "special.txt", tmp_path / "ids.npy"
    bad.write_bytes(b"good \xe0\xa4\x95 then \xff bad")
    special.write_text("a<|endoftext|>")
    with pytest.raises(ValueError, match=r"bad\.txt: expected UTF-8, but byte 14 is not; convert"):
        trained.encode_files_to_npy(bad, out)
    with pytest.raises(ValueError, match="disallowed special token"):
        trained.encode_files_to_npy(special, out)
    with pytest.raises(FileNotFoundError):
        trained.encode_files_to_npy(tmp_path / "none.txt", out)
    with pytest.raises(ValueError, match="dtype: expected uint32 or uint16, got float64"):
        trained.encode_files_to_npy(special, out, dtype=float)
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"bad.txt", "special.txt"}


def test_half_a_character_at_the_end_is_told_by_its_byte(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_files, "_READ_BYTES", 3)
    (tmp_path / "cut.txt").write_bytes("करा".encode()[:-1])
    with pytest.raises(ValueError, match="but byte 6 is not"):
        list(trained.encode_files(tmp_path / "cut.txt"))


def test_a_file_that_changes_while_it_is_read_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_files, "_READ_BYTES", 16)
    monkeypatch.setattr(encoding_files, "_GROUP_CHARACTERS", 1)
    monkeypatch.setattr(stream, "_PIECE_CHARACTERS", 16)
    path = tmp_path / "a.txt"
    for change in (lambda: os.truncate(path, 50), lambda: path.open("a").write("more")):
        path.write_text("one two " * 100)
        arrays = trained.encode_files(path)
        next(arrays)
        change()
        with pytest.raises(ValueError, match=r"a\.txt: expected a file that stays as it is, but"):
            list(arrays)
