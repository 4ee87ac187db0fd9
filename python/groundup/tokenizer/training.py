"""From texts, files or counted chunks to a vocabulary."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.reference.bpe import TIES
from groundup.tokenizer.engine import Chunks, default_threads, new_chunks, without_surrogates
from groundup.tokenizer.patterns import Pattern, find_pattern
from groundup.tokenizer.vocabulary import (
    MAX_IDS,
    N_BYTES,
    Training,
    Vocabulary,
    checked,
    tokens_of_merges,
)

MAX_THREADS = 1024  # more gain nothing anywhere, and each holds memory of its own
_MAX_WINDOWS = 1 << 62  # what the engine's sums hold


@dataclass(frozen=True)
class Plan:
    """The arguments that every way to train shares. Tokenizer.train says what they mean."""

    vocab_size: int
    pattern: str
    base: str
    special_tokens: Sequence[str]
    min_frequency: int
    ties: str
    threads: int | None

    def __post_init__(self) -> None:
        if self.base != "bytes":
            raise ValueError(
                f'base: expected "bytes", the only alphabet there is so far, got {self.base!r}.'
            )
        if self.ties not in TIES:
            raise ValueError(f"ties: expected one of {', '.join(TIES)}, got {self.ties!r}.")
        if isinstance(self.special_tokens, str):
            raise ValueError(
                f"special_tokens: expected a list of names, got one text; pass "
                f"[{self.special_tokens!r}]."
            )
        if not isinstance(self.special_tokens, Sequence):
            raise ValueError(
                "special_tokens: expected a list of names, whose order gives their ids, got "
                f"{self.special_tokens!r:.60}."
            )
        names = list(self.special_tokens)
        for name in names:
            if not isinstance(name, str) or not name:
                raise ValueError(f"special_tokens: expected names, got {name!r}.")
            if without_surrogates(name) != name:
                raise ValueError(f"special_tokens: {name!r} is not Unicode text.")
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"special_tokens: {repeated!r} is listed twice.")
        least = N_BYTES + len(names)
        if not isinstance(self.vocab_size, int) or not least <= self.vocab_size <= MAX_IDS:
            raise ValueError(
                f"vocab_size: expected a whole number from {least} (256 bytes and {len(names)} "
                f"special tokens) to {MAX_IDS}, got {self.vocab_size!r}."
            )
        if not isinstance(self.min_frequency, int) or not 1 <= self.min_frequency < 1 << 62:
            raise ValueError(
                f"min_frequency: expected a whole number from 1, got {self.min_frequency!r}."
            )
        threads_or_default(self.threads, "threads")

    @property
    def n_tokens(self) -> int:
        return self.vocab_size - N_BYTES - len(self.special_tokens)


def threads_or_default(threads: int | None, argument: str = "num_threads") -> int:
    if threads is None:
        return default_threads()
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"{argument}: expected a whole number from 1, or None, got {threads!r}.")
    return min(threads, MAX_THREADS)


def from_texts(texts: Iterable[str], plan: Plan) -> tuple[Vocabulary, Chunks]:
    if isinstance(texts, str | bytes):
        raise ValueError("texts: expected an iterable of str, got a single text; pass [text].")
    pattern = find_pattern(plan.pattern)
    chunks = new_chunks()
    chunks.add_texts(texts, pattern, threads_or_default(plan.threads))
    return _trained(chunks, pattern, plan), chunks


def from_files(paths: Iterable[str | os.PathLike[str]], plan: Plan) -> tuple[Vocabulary, Chunks]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError("paths: expected several paths, got one; pass [path].")
    pattern = find_pattern(plan.pattern)
    chunks = new_chunks()
    for path in map(Path, paths):
        if path.is_dir():
            raise ValueError(f"{path}: expected a file of text, got a folder.")
        chunks.add_file(path, pattern, threads_or_default(plan.threads))
    return _trained(chunks, pattern, plan), chunks


def from_counts(counts: Mapping[bytes, int], plan: Plan) -> tuple[Vocabulary, Chunks]:
    if not isinstance(counts, Mapping):
        raise ValueError(
            f"counts: expected a mapping of bytes to how often they occur, got "
            f"{type(counts).__name__}."
        )
    n_windows = 0
    for chunk, count in counts.items():
        if not isinstance(chunk, bytes) or not isinstance(count, int) or not 0 <= count < 1 << 62:
            raise ValueError(
                "counts: expected bytes and how often they occur (below 2^62), got "
                f"{chunk!r}: {count!r}."
            )
        n_windows += len(chunk) * count
    if n_windows >= _MAX_WINDOWS:
        raise ValueError(
            "counts: expected bytes times counts to sum to less than 2^62; divide all counts by "
            "one factor."
        )
    chunks = new_chunks()
    chunks.add_counts(counts)
    return _trained(chunks, find_pattern(plan.pattern), plan), chunks


def _trained(chunks: Chunks, pattern: Pattern, plan: Plan) -> Vocabulary:
    merges, counts = chunks.train(
        plan.n_tokens, plan.ties, plan.min_frequency, threads_or_default(plan.threads)
    )
    tokens = tokens_of_merges(merges, "training")
    vocabulary = Vocabulary(
        tokens,
        merges,
        pattern,
        {name: len(tokens) + i for i, name in enumerate(plan.special_tokens)},
        training=Training(counts, plan.ties, plan.min_frequency),
    )
    return checked(vocabulary, "training")
