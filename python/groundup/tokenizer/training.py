"""From texts, files or counted chunks to a vocabulary."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from groundup.reference.bpe import TIES
from groundup.tokenizer.counts import (
    ChunkCounts,
    ProgressCallback,
    memory_or_default,
    threads_or_default,
)
from groundup.tokenizer.engine import Chunks, Rules, without_surrogates
from groundup.tokenizer.extending import Known, known_merges
from groundup.tokenizer.patterns import Pattern, find_pattern
from groundup.tokenizer.vocabulary import (
    MAX_IDS,
    Training,
    Vocabulary,
    checked,
)

DEFAULT_PATTERN = "gpt4"


@dataclass(frozen=True)
class Plan:
    """The arguments that every way to train shares. Tokenizer.train says what they mean."""

    vocab_size: int
    pattern: str | None
    base: str
    special_tokens: Sequence[str]
    min_frequency: int
    max_token_length: int | None
    ties: str
    extend: Vocabulary | None
    threads: int | None
    memory_bytes: int | None = None
    progress: ProgressCallback | None = None

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
        least = self.known.n_ids + len(self.new_specials)
        held = "256 bytes" if self.extend is None else f"{self.known.n_ids} ids to extend"
        if not isinstance(self.vocab_size, int) or not least <= self.vocab_size <= MAX_IDS:
            raise ValueError(
                f"vocab_size: expected a whole number from {least} ({held} and "
                f"{len(self.new_specials)} special tokens) to {MAX_IDS}, got {self.vocab_size!r}."
            )
        if not isinstance(self.min_frequency, int) or not 1 <= self.min_frequency < 1 << 62:
            raise ValueError(
                f"min_frequency: expected a whole number from 1, got {self.min_frequency!r}."
            )
        longest = self.max_token_length
        if longest is not None and (not isinstance(longest, int) or longest < 1):
            raise ValueError(
                f"max_token_length: expected a whole number of bytes from 1, or None, got "
                f"{longest!r}."
            )
        if self.progress is not None and not callable(self.progress):
            raise ValueError(f"progress: expected a function, got {self.progress!r:.60}.")
        threads_or_default(self.threads, "threads")
        memory_or_default(self.memory_bytes)
        self.pattern_or(DEFAULT_PATTERN)

    @cached_property
    def known(self) -> Known:
        return known_merges(self.extend)

    @property
    def new_specials(self) -> list[str]:
        old = {} if self.extend is None else self.extend.specials
        return [name for name in self.special_tokens if name not in old]

    def pattern_or(self, default: str) -> Pattern:
        """The pattern asked for; without one that of the vocabulary to extend, or `default`."""
        if self.extend is None:
            return find_pattern(default if self.pattern is None else self.pattern)
        known = self.extend.pattern
        if self.pattern is not None and find_pattern(self.pattern) != known:
            raise ValueError(
                f"pattern: expected that of the tokenizer to extend, "
                f"{known.name or known.regex!r:.60}, got {self.pattern!r:.60}; leave it out."
            )
        return known


def from_texts(texts: Iterable[str], plan: Plan) -> tuple[Vocabulary, Chunks]:
    counts = _new_counts(plan)
    counts.add_texts(texts, progress=plan.progress)
    return _trained(counts, plan)


def from_files(paths: Iterable[str | os.PathLike[str]], plan: Plan) -> tuple[Vocabulary, Chunks]:
    counts = _new_counts(plan)
    counts.add_files(paths, progress=plan.progress)
    return _trained(counts, plan)


def from_counts(counts: ChunkCounts | Mapping[bytes, int], plan: Plan) -> tuple[Vocabulary, Chunks]:
    if isinstance(counts, ChunkCounts):
        asked = plan.pattern_or(counts.pattern)
        if asked != find_pattern(counts.pattern):
            raise ValueError(
                f"pattern: expected that of the counts, {counts.pattern!r:.60}, got "
                f"{asked.name or asked.regex!r:.60}; count again with the other, or leave it out."
            )
        return _trained(counts, plan)
    added = _new_counts(plan)
    added.add_counts(counts)
    return _trained(added, plan)


def _new_counts(plan: Plan) -> ChunkCounts:
    pattern = plan.pattern_or(DEFAULT_PATTERN)
    return ChunkCounts(
        pattern.name or pattern.regex, threads=plan.threads, memory_bytes=plan.memory_bytes
    )


def _trained(counts: ChunkCounts, plan: Plan) -> tuple[Vocabulary, Chunks]:
    known = plan.known
    n_new = plan.vocab_size - known.n_ids - len(plan.new_specials)
    n_merges = len(known.pairs) + n_new
    rules = Rules(n_merges, plan.ties, plan.min_frequency, plan.max_token_length, known.pairs)
    progress = plan.progress
    merges, pair_counts = counts._chunks.train(
        rules,
        threads_or_default(plan.threads),
        None if progress is None else lambda done: progress("merging", done, n_merges),
    )
    rows, tokens = known.extended(merges)
    specials = {} if plan.extend is None else dict(plan.extend.specials)
    specials |= {name: len(tokens) + i for i, name in enumerate(plan.new_specials)}
    vocabulary = Vocabulary(
        tokens,
        rows,
        find_pattern(counts.pattern),
        specials,
        training=Training(pair_counts, plan.ties, plan.min_frequency),
    )
    return checked(vocabulary, "training"), counts._chunks
