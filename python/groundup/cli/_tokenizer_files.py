"""Files as the tokenizer commands take them: folders of text, tokenizers of any kind."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer

GPT2_FILES = ("vocab.bpe", "encoder.json")  # each is known by its name, beside the other


def open_any(name: str) -> "Tokenizer":
    """A tokenizer of any kind, told by its file."""
    from groundup.tokenizer import Tokenizer
    from groundup.tokenizer.reading import read_file, read_json

    file, colon, pattern = name.partition(".tiktoken:")
    if colon or name.endswith(".tiktoken"):
        return Tokenizer.from_tiktoken(
            f"{file.removesuffix('.tiktoken')}.tiktoken", pattern or None
        )
    if name.endswith(".model"):
        if read_file(name).startswith(b"minbpe"):
            return Tokenizer.from_minbpe(name)
        return Tokenizer.from_sentencepiece(name)
    if Path(name).name in GPT2_FILES:
        return Tokenizer.from_gpt2(*(Path(name).with_name(each) for each in GPT2_FILES))
    if Path(name).is_dir() or "model" in read_json(name):
        return Tokenizer.from_hf(name)
    return Tokenizer.load(name)


def text_files(name: str) -> list[Path]:
    """A file, or the files of a folder and those below it; hidden ones are left out."""
    if not name:
        raise ValueError('text: expected a file or folder, got ""; "." is the current folder')
    path = Path(name)
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
    )
    if not files:
        raise ValueError(f"{path}: expected files of text in this folder, found none")
    return files


def expect_apart(out: Path, files: Iterable[Path]) -> None:
    """ValueError where writing `out` would lose a file that is read."""
    if not out.exists():
        return
    for file in files:
        if file.exists() and file.samefile(out):
            raise ValueError(
                f"out: expected a file that is not learned from itself, got {out}, which is; "
                "write elsewhere"
            )
