"""One trained vocabulary of 100,000 ids in every format, and who opens it."""

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.corpora import english
from benchmarks.peers import installed
from groundup.tokenizer import PATTERNS, Tokenizer

PATTERN = "gpt2"


class Files:
    def __init__(self, vocab_size: int) -> None:
        self.folder = tempfile.TemporaryDirectory()  # goes when the inputs do
        tokenizer = Tokenizer.train(english(4 * 10**7).texts, vocab_size, pattern=PATTERN)
        self.n_vocab = tokenizer.n_vocab
        self.own, self.ranks, self.hugging_face = (
            Path(self.folder.name) / name
            for name in ("tokenizer.json", "ranks.tiktoken", "huggingface.json")
        )
        tokenizer.save(self.own)
        tokenizer.to_tiktoken(self.ranks)
        tokenizer.to_hf(self.hugging_face)

    def found(self) -> dict[str, int | str]:
        return {"ids": self.n_vocab, "bytes of ours": self.own.stat().st_size}


def ours(files: Files) -> Callable[[], Any]:
    return lambda: Tokenizer.load(files.own)


def ours_from_ranks(files: Files) -> Callable[[], Any]:
    return lambda: Tokenizer.from_tiktoken(files.ranks, PATTERN)


def ours_from_hugging_face(files: Files) -> Callable[[], Any]:
    return lambda: Tokenizer.from_hf(files.hugging_face)


def tiktoken(files: Files) -> Callable[[], Any]:
    package = installed("tiktoken")

    def load() -> Any:
        # tiktoken.load's own loop, without its cache in the temporary folder.
        lines = (line.split() for line in files.ranks.read_bytes().splitlines())
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        return package.Encoding(
            "ranks", pat_str=PATTERNS[PATTERN], mergeable_ranks=ranks, special_tokens={}
        )

    return load


def huggingface(files: Files) -> Callable[[], Any]:
    hf = installed("tokenizers")
    return lambda: hf.Tokenizer.from_file(str(files.hugging_face))


def gigatoken(files: Files) -> Callable[[], Any]:
    load = installed("gigatoken").Tokenizer.from_tiktoken
    return lambda: load(files.ranks, PATTERN, {})


def fastokens(files: Files) -> Callable[[], Any]:
    load = installed("fastokens").Tokenizer.from_file
    return lambda: load(str(files.hugging_face))
