"""From texts, files or counted chunks to a vocabulary."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal, TypedDict, TypeVar

from groundup.reference.bpe import TIES, alphabet_of
from groundup.tokenizer.counts import (
    ChunkCounts,
    ProgressCallback,
    memory_or_default,
    threads_or_default,
    whole_number,
)
from groundup.tokenizer.engine import Chunks, Rules, without_surrogates
from groundup.tokenizer.extending import Known, known_merges, new_base
from groundup.tokenizer.parts import Parts
from groundup.tokenizer.patterns import Pattern, find_pattern
from groundup.tokenizer.vocabulary import (
    MAX_IDS,
    N_BYTES,
    Training,
    Vocabulary,
    checked,
)

T = TypeVar("T")

DEFAULT_PATTERN = "gpt4"
DEFAULT_COVERAGE = 0.9995
_BASES: dict[str, Literal["bytes", "code points"]] = {
    "bytes": "bytes",
    "codepoints": "code points",
}


class CorpusExhausted(UserWarning):
    """A vocabulary came out smaller than asked for: nothing was left to merge."""


class Options(TypedDict, total=False):
    """The keywords that every way to train takes. Tokenizer.train says what they mean."""

    pattern: str | None
    base: str | None
    character_coverage: float | None
    special_tokens: Sequence[str]
    min_frequency: int
    max_token_length: int | None
    ties: str
    extend: Parts | None
    threads: int | None
    memory_bytes: int | None
    progress: ProgressCallback | None


class Plan:
    """What to train, judged before any work."""

    def __init__(self, vocab_size: int, options: Options) -> None:
        if unknown := sorted(options.keys() - Options.__annotations__.keys()):
            raise TypeError(
                f"train: expected keywords among {', '.join(Options.__annotations__)}; got "
                f"{unknown[0]!r}."
            )
        self.vocab_size = _as_int(vocab_size)
        self.pattern = options.get("pattern")
        self.special_tokens = options.get("special_tokens", ())
        self.min_frequency = _as_int(options.get("min_frequency", 1))
        self.max_token_length = _as_int(options.get("max_token_length"))
        self.ties = options.get("ties", "smallest_pair")
        self.threads = options.get("threads")
        self.memory_bytes = options.get("memory_bytes")
        self.progress = options.get("progress")
        self.extend = _vocabulary_of(options.get("extend"))
        self.base = self._base_or_default(options.get("base"))
        self.character_coverage = self._coverage_or_default(options.get("character_coverage"))
        self._expect_rules()
        self._expect_specials()
        self._expect_room(self.known)
        threads_or_default(self.threads, "threads")
        memory_or_default(self.memory_bytes)
        self.pattern_or(DEFAULT_PATTERN)

    def _base_or_default(self, base: str | None) -> Literal["bytes", "code points"]:
        if base is not None and base not in _BASES:
            raise ValueError(f"base: expected one of {', '.join(_BASES)}, got {base!r}.")
        if self.extend is None:
            return _BASES[base or "bytes"]
        if base is not None and _BASES[base] != self.extend.base:
            raise ValueError(
                f"base: expected that of the tokenizer to extend, {self.extend.base}, got "
                f"{base!r}; leave it out."
            )
        return self.extend.base

    def _coverage_or_default(self, coverage: float | None) -> float:
        if coverage is None:
            return DEFAULT_COVERAGE
        if self.base == "bytes" or self.extend is not None:
            raise ValueError(
                'character_coverage: expected base="codepoints" and no tokenizer to extend, whose '
                "characters stay what they are; leave it out."
            )
        if not isinstance(coverage, int | float) or not 0 <= coverage <= 1:
            raise ValueError(
                f"character_coverage: expected a share of the text's characters from 0 to 1, got "
                f"{coverage!r}."
            )
        return coverage

    def _expect_rules(self) -> None:
        if self.ties not in TIES:
            raise ValueError(f"ties: expected one of {', '.join(TIES)}, got {self.ties!r}.")
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

    def _expect_specials(self) -> None:
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

    def _expect_room(self, known: Known) -> None:
        least = known.n_ids + len(self.new_specials)
        held, remedy = f"{N_BYTES} bytes", ""
        if self.extend is not None:
            held = f"{known.n_ids} ids to extend"
        elif known.alphabet:
            held += f", {len(known.alphabet)} characters"
            remedy = " Or lower character_coverage, so that fewer have ids of their own."
        if not isinstance(self.vocab_size, int) or not least <= self.vocab_size <= MAX_IDS:
            raise ValueError(
                f"vocab_size: expected a whole number from {least} ({held} and "
                f"{len(self.new_specials)} special tokens) to {MAX_IDS}, got {self.vocab_size!r}."
                f"{remedy}"
            )

    @cached_property
    def known(self) -> Known:
        """What is known before the text is: without the alphabet that it will give."""
        return new_base(None) if self.extend is None else known_merges(self.extend)

    def known_for(self, counts: ChunkCounts) -> Known:
        """What training on these counts begins with."""
        if self.extend is not None or self.base == "bytes":
            return self.known
        known = new_base(alphabet_of(counts._chunks.characters(), self.character_coverage))
        self._expect_room(known)
        return known

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
    known = plan.known_for(counts)
    n_new = plan.vocab_size - known.n_ids - len(plan.new_specials)
    n_merges = len(known.pairs) + n_new
    rules = Rules(
        n_merges,
        plan.ties,
        plan.min_frequency,
        plan.max_token_length,
        known.pairs,
        known.alphabet,
    )
    progress = plan.progress
    merges, pair_counts = counts._chunks.train(
        rules,
        threads_or_default(plan.threads),
        None if progress is None else lambda done: progress("merging", done, n_merges),
    )
    if len(merges) < n_merges:
        _warn_of_exhaustion(plan, plan.vocab_size - n_merges + len(merges))
    rows, tokens = known.extended(merges)
    specials = {} if plan.extend is None else dict(plan.extend.specials)
    specials |= {name: len(tokens) + i for i, name in enumerate(plan.new_specials)}
    vocabulary = Vocabulary(
        tokens,
        rows,
        find_pattern(counts.pattern),
        specials,
        training=Training(pair_counts, plan.ties, plan.min_frequency),
        base=plan.base,
        decode_only={} if plan.extend is None else plan.extend.decode_only,
    )
    return checked(vocabulary, "training"), counts._chunks


def _warn_of_exhaustion(plan: Plan, n_ids: int) -> None:
    short = "" if plan.max_token_length is None else f" and makes {plan.max_token_length} bytes"
    warnings.warn(
        f"vocab_size: asked for {plan.vocab_size} ids, made {n_ids}: no pair of neighbours that "
        f"occurs {plan.min_frequency} times{short} is left. Give more text, or ask for fewer.",
        CorpusExhausted,
        stacklevel=5,  # who called Tokenizer.train
    )


def _as_int(value: T) -> T | int:
    """NumPy's whole numbers as Python's; anything else as it is, for the check that follows."""
    number = whole_number(value)
    return value if number is None else number


def _vocabulary_of(extend: Parts | None) -> Vocabulary | None:
    if extend is not None and not isinstance(extend, Parts):
        raise ValueError(f"extend: expected a Tokenizer or None, got {extend!r:.60}.")
    return None if extend is None else extend._vocabulary
