"""Who does the work: the native core where it is, the plain Python of reference/bpe.py where not.

Both count, train, encode and decode with the same results, but for letters newer than the
native tables' Unicode: those are the tables of tiktoken and of Hugging Face tokenizers, while
the `regex` module, which splits for the reference, follows later Unicode versions.
"""

import functools
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundup import _native
from groundup.reference import bpe
from groundup.tokenizer.patterns import Pattern, split
from groundup.tokenizer.vocabulary import Merges, merge_rows

_BATCH_CHARACTERS = 1 << 24


def native_core() -> ModuleType | None:
    """groundup._C, or None with one warning."""
    core = _native.core()
    if core is None:
        _warn(str(_native.missing()))
    return core


@functools.cache
def _warn(remedy: str) -> None:
    warnings.warn(
        "The tokenizer runs in plain Python: training and encoding give the same ids some "
        f"hundred times slower. For the native core: {remedy}.",
        RuntimeWarning,
        stacklevel=4,
    )


def engine_name() -> str:
    """ "native" or "reference": which engine works for tokenizers made from now on."""
    return "reference" if native_core() is None else "native"


def default_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_scanner(core: ModuleType, pattern: Pattern) -> bool:
    if pattern.name is None:
        return False
    try:
        core.split("", pattern.name)
    except ValueError:
        return False
    return True


class Chunks(Protocol):
    """The distinct chunks of a corpus, counted."""

    def add_texts(self, texts: Iterable[str], pattern: Pattern, threads: int) -> None: ...
    def add_file(self, path: Path, pattern: Pattern, threads: int) -> int: ...
    def add_counts(self, counts: Mapping[bytes, int]) -> None: ...
    def items(self) -> list[tuple[bytes, int]]: ...
    def train(
        self, n_tokens: int, ties: str, min_frequency: int, threads: int
    ) -> tuple[Merges, NDArray[np.uint64]]: ...


def new_chunks() -> Chunks:
    core = native_core()
    return ReferenceChunks() if core is None else NativeChunks(core)


def without_surrogates(text: str) -> str:
    """As tiktoken: a pair of surrogates becomes its character, a lone one U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _valid(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"texts: expected str, got {type(text).__name__} as text {number}; decode bytes "
                "first, and for files use train_files."
            )
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                text = without_surrogates(text)
        yield text


def _count_chunks(texts: Iterable[str], pattern: Pattern) -> Counter[bytes]:
    counts: Counter[bytes] = Counter()
    for text in _valid(texts):
        counts.update(split(text, pattern))
    return counts


def read_text(path: Path) -> str:
    """A file's text as it stands, line ends included. ValueError where it is not UTF-8."""
    contents = path.read_bytes()
    try:
        return contents.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8, but byte {error.start} is not; convert the file "
            "(iconv -f ENCODING -t UTF-8)."
        ) from None


class NativeChunks:
    def __init__(self, core: ModuleType) -> None:
        self._core = core
        self._counts = core.ChunkCounts()

    def add_texts(self, texts: Iterable[str], pattern: Pattern, threads: int) -> None:
        if not has_scanner(self._core, pattern):
            self.add_counts(_count_chunks(texts, pattern))
            return
        batch: list[str] = []
        n_characters = 0
        for text in _valid(texts):
            batch.append(text)
            n_characters += len(text)
            if n_characters >= _BATCH_CHARACTERS:
                self._counts.add_texts(batch, pattern.name, threads)
                batch, n_characters = [], 0
        self._counts.add_texts(batch, pattern.name, threads)

    def add_file(self, path: Path, pattern: Pattern, threads: int) -> int:
        if not has_scanner(self._core, pattern):
            text = read_text(path)
            self.add_texts([text], pattern, threads)
            return len(text.encode())
        return int(self._counts.add_file(os.fspath(path), pattern.name, threads))

    def add_counts(self, counts: Mapping[bytes, int]) -> None:
        self._counts.add_chunks(list(counts), list(counts.values()))

    def items(self) -> list[tuple[bytes, int]]:
        return list(self._counts.items())

    def train(
        self, n_tokens: int, ties: str, min_frequency: int, threads: int
    ) -> tuple[Merges, NDArray[np.uint64]]:
        merges, counts = self._core.bpe_train(self._counts, n_tokens, ties, min_frequency, threads)
        return merges, counts


class ReferenceChunks:
    def __init__(self) -> None:
        self._counts: Counter[bytes] = Counter()

    def add_texts(self, texts: Iterable[str], pattern: Pattern, threads: int) -> None:
        self._counts.update(_count_chunks(texts, pattern))

    def add_file(self, path: Path, pattern: Pattern, threads: int) -> int:
        text = read_text(path)
        self.add_texts([text], pattern, threads)
        return len(text.encode())

    def add_counts(self, counts: Mapping[bytes, int]) -> None:
        # A chunk that never occurs must not decide a tie by standing first.
        self._counts.update({chunk: n for chunk, n in counts.items() if chunk and n})

    def items(self) -> list[tuple[bytes, int]]:
        return list(self._counts.items())

    def train(
        self, n_tokens: int, ties: str, min_frequency: int, threads: int
    ) -> tuple[Merges, NDArray[np.uint64]]:
        rows, counts = bpe.train(self._counts, n_tokens, ties=ties, min_frequency=min_frequency)
        return merge_rows(rows), np.array(counts, dtype=np.uint64)
