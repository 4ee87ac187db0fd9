"""Files as the tokenizer commands take them: folders of text, tokenizers of any kind."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer


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
    if Path(name).is_dir() or "model" in read_json(name):
        return Tokenizer.from_hf(name)
    return Tokenizer.load(name)


def text_files(path: Path) -> list[Path]:
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
