"""Who does the work: the native core where it is, the plain Python of reference/bpe.py where not.

Both count, train, encode and decode with the same results, but for letters newer than the
native tables' Unicode: those are the tables of tiktoken and of Hugging Face tokenizers, while
the `regex` module, which splits for the reference, follows later Unicode versions.
"""

import functools
import heapq
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from groundup import _native
from groundup.reference import bpe
from groundup.tokenizer import count_records
from groundup.tokenizer.patterns import Pattern, split
from groundup.tokenizer.vocabulary import Merges, merge_rows

MAX_TOKEN_LENGTH = (1 << 32) - 1  # no token is longer: the engine's positions have 32 bits
MAX_ITEMS = (1 << 63) - 1
_BATCH_CHARACTERS = 1 << 24
_CHARACTERS_PER_STR = 64  # what Python keeps beside a text's own characters


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


Progress = Callable[[int], object]  # told how much is done; what it raises ends the work


@dataclass(frozen=True)
class Rules:
    """How to merge; `Tokenizer.train` says what each means."""

    n_merges: int  # the known ones included
    ties: str
    min_frequency: int
    max_token_length: int | None
    known: NDArray[np.uint32]  # (M, 2) left, right of the merges to begin with
    alphabet: Sequence[str] | None = None  # the characters to begin with; None: bytes


class Records(NamedTuple):
    """The records of a count table: how many chunks, in how many bytes, with which CRC-32."""

    n_distinct: int
    n_bytes: int
    crc: int


class Chunks(Protocol):
    """The distinct chunks of a corpus, counted."""

    @property
    def n_chunks(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def span(self) -> int: ...
    @property
    def n_runs_written(self) -> int: ...
    def __len__(self) -> int: ...
    def add_texts(
        self, texts: Iterable[str], pattern: Pattern, threads: int, progress: Progress | None = None
    ) -> None: ...
    def add_files(
        self,
        paths: Sequence[Path],
        pattern: Pattern,
        threads: int,
        progress: Progress | None = None,
    ) -> int: ...
    def add_counts(self, counts: Mapping[bytes, int]) -> None: ...
    def add_records(self, stream: BinaryIO, offset: int, records: Records, span: int) -> None: ...
    def write_records(self, stream: BinaryIO) -> Records: ...
    def items(self, limit: int = MAX_ITEMS) -> list[tuple[bytes, int]]:
        """In order of first occurrence; of more than `limit` the most frequent."""
        ...

    def characters(self) -> Mapping[str, int]:
        """How often each occurs; bytes that are no UTF-8 are none."""
        ...

    def train(
        self, rules: Rules, threads: int, progress: Progress | None = None
    ) -> tuple[Merges, NDArray[np.uint64]]: ...


def new_chunks(memory_bytes: int) -> Chunks:
    core = native_core()
    return ReferenceChunks() if core is None else NativeChunks(core, memory_bytes)


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
    def __init__(self, core: ModuleType, memory_bytes: int) -> None:
        self._core = core
        self._counts = core.ChunkCounts(memory_bytes, tempfile.gettempdir())

    @property
    def n_chunks(self) -> int:
        return int(self._counts.n_chunks)

    @property
    def n_bytes(self) -> int:
        return int(self._counts.n_bytes)

    @property
    def span(self) -> int:
        return int(self._counts.span)

    @property
    def n_runs_written(self) -> int:
        return int(self._counts.n_runs_written)

    def __len__(self) -> int:
        return len(self._counts)

    def add_texts(
        self, texts: Iterable[str], pattern: Pattern, threads: int, progress: Progress | None = None
    ) -> None:
        scanned = has_scanner(self._core, pattern)
        for batch in _batches(_valid(texts)):
            if scanned:
                self._counts.add_texts(batch, pattern.name, threads, progress)
            else:
                self.add_counts(_count_chunks(batch, pattern))
                if progress is not None:
                    progress(self.n_bytes)

    def add_files(
        self,
        paths: Sequence[Path],
        pattern: Pattern,
        threads: int,
        progress: Progress | None = None,
    ) -> int:
        if has_scanner(self._core, pattern):
            return int(self._counts.add_files(paths, pattern.name, threads, progress))
        return _add_one_by_one(self, paths, pattern, threads, progress)

    def add_counts(self, counts: Mapping[bytes, int]) -> None:
        self._counts.add_chunks(list(counts), list(counts.values()))

    def add_records(self, stream: BinaryIO, offset: int, records: Records, span: int) -> None:
        self._counts.add_records(stream.fileno(), offset, *records, span)

    def write_records(self, stream: BinaryIO) -> Records:
        stream.flush()  # the core writes past it
        return Records(*self._counts.write_records(stream.fileno()))

    def items(self, limit: int = MAX_ITEMS) -> list[tuple[bytes, int]]:
        return list(self._counts.items(limit))

    def characters(self) -> Mapping[str, int]:
        counts: dict[str, int] = self._counts.characters()
        return counts

    def train(
        self, rules: Rules, threads: int, progress: Progress | None = None
    ) -> tuple[Merges, NDArray[np.uint64]]:
        longest = MAX_TOKEN_LENGTH if rules.max_token_length is None else rules.max_token_length
        merges, counts = self._core.bpe_train(
            self._counts,
            rules.n_merges,
            rules.ties,
            rules.min_frequency,
            threads,
            min(longest, MAX_TOKEN_LENGTH),
            np.ascontiguousarray(rules.known, dtype=np.uint32),
            None if rules.alphabet is None else "".join(rules.alphabet),
            progress,
        )
        return merges, counts


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    n_characters = 0
    for text in texts:
        batch.append(text)
        n_characters += len(text) + _CHARACTERS_PER_STR
        if n_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    yield batch


def _add_one_by_one(
    chunks: Chunks,
    paths: Sequence[Path],
    pattern: Pattern,
    threads: int,
    progress: Progress | None,
) -> int:
    before = chunks.n_bytes
    for path in paths:
        chunks.add_texts([read_text(path)], pattern, threads, progress)
    return chunks.n_bytes - before


class ReferenceChunks:
    """Counts in memory, whatever memory is allowed."""

    def __init__(self) -> None:
        self._counts: Counter[bytes] = Counter()
        self._firsts: dict[bytes, int] = {}
        self.span = 0
        self.n_runs_written = 0

    @property
    def n_chunks(self) -> int:
        return sum(self._counts.values())

    @property
    def n_bytes(self) -> int:
        return sum(len(chunk) * count for chunk, count in self._counts.items())

    def __len__(self) -> int:
        return len(self._counts)

    def _add(self, chunk: bytes, count: int, first: int) -> None:
        self._counts[chunk] += count
        self._firsts[chunk] = min(self._firsts.get(chunk, first), first)

    def add_texts(
        self, texts: Iterable[str], pattern: Pattern, threads: int, progress: Progress | None = None
    ) -> None:
        for text in _valid(texts):
            for chunk in split(text, pattern):
                self._add(chunk, 1, self.span)
                self.span += len(chunk)
            if progress is not None:
                progress(self.span)

    def add_files(
        self,
        paths: Sequence[Path],
        pattern: Pattern,
        threads: int,
        progress: Progress | None = None,
    ) -> int:
        return _add_one_by_one(self, paths, pattern, threads, progress)

    def add_counts(self, counts: Mapping[bytes, int]) -> None:
        # A chunk that never occurs must not decide a tie by standing first.
        for chunk, count in counts.items():
            if chunk and count:
                self._add(chunk, count, self.span)
                self.span += len(chunk)

    def add_records(self, stream: BinaryIO, offset: int, records: Records, span: int) -> None:
        stream.seek(offset)
        for chunk, count, first in count_records.read(stream, *records, span):
            self._add(chunk, count, self.span + first)
        self.span += span

    def write_records(self, stream: BinaryIO) -> Records:
        rows = ((chunk, n, self._firsts[chunk]) for chunk, n in sorted(self._counts.items()))
        return Records(*count_records.write(stream, rows))

    def items(self, limit: int = MAX_ITEMS) -> list[tuple[bytes, int]]:
        items = sorted(self._counts.items(), key=lambda item: self._firsts[item[0]])
        if len(items) > limit:
            frequent = heapq.nlargest(limit, items, key=lambda item: item[1])
            items = sorted(frequent, key=lambda item: self._firsts[item[0]])
        return items

    def characters(self) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for chunk, count in self._counts.items():
            for character in chunk.decode("utf-8", "surrogateescape"):
                if not "\ud800" <= character <= "\udfff":
                    counts[character] += count
        return counts

    def train(
        self, rules: Rules, threads: int, progress: Progress | None = None
    ) -> tuple[Merges, NDArray[np.uint64]]:
        rows, counts = bpe.train(
            dict(self.items()),
            rules.n_merges,
            ties=rules.ties,
            min_frequency=rules.min_frequency,
            max_token_length=rules.max_token_length,
            known=[(left, right) for left, right in rules.known.tolist()],
            alphabet=rules.alphabet,
        )
        if progress is not None:
            progress(len(rows))
        return merge_rows(rows), np.array(counts, dtype=np.uint64)
