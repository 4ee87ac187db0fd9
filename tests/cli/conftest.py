"""A tokenizer, shards and a short run, made once through the commands themselves."""

from pathlib import Path

import pytest

from groundup import cli
from groundup.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Settings of a run that takes a second, on one thread."""
    words = "--n-layer 1 --n-embd 32 --block-size 16 --batch-size 4 --dropout 0.1 --threads 1 "
    words += "--evaluate-every 6 --checkpoint-every 4 --evaluate-windows 8"
    return words.split(" ")


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """A folder with text, words.json (a tokenizer of it), and data/ (shards of it)."""
    folder = tmp_path_factory.mktemp("book")
    lines = [f"Chapter {n}. The {n % 7} cats saw {n * n} dogs — आठ!\n\n" for n in range(900)]
    (folder / "book.txt").write_text("".join(lines), encoding="utf-8")
    words = Tokenizer.train(lines, 300, special_tokens=["<|endoftext|>"])
    words.save(folder / "words.json")
    args = [str(folder / "book.txt"), "--tokenizer", str(folder / "words.json")]
    assert cli.main(["prepare", *args, "--out", str(folder / "data")]) == 0
    return folder


@pytest.fixture(scope="session")
def run(book, small) -> Path:
    """The folder of a finished run."""
    out = book / "run"
    args = ["--data", str(book / "data"), "--out", str(out), *small, "--steps", "12"]
    assert cli.main(["train", *args]) == 0
    return out
