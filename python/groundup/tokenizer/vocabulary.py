"""What a tokenizer knows: its tokens, its merges, how it splits, and its special tokens.

Readers of every format end in `checked`, which admits no vocabulary that could mislead the
encoder: files are written by strangers.
"""

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundup import _native
from groundup.tokenizer.patterns import Pattern

Merges = NDArray[np.uint32]  # (M, 3): left, right, new id, lowest rank first

N_BYTES = 256
MAX_IDS = 1 << 24
FEW_IDS = 1 << 20  # that a vocabulary may have whatever it does with them
MAX_TOKEN_BYTES = 1 << 28  # of all tokens together: merges of merges double with each row


@dataclass(frozen=True)
class Training:
    """What training knew and the merges alone do not tell."""

    counts: NDArray[np.uint64]  # (M,) of each pair when it was merged
    ties: str
    min_frequency: int
    seen: Mapping[int, str] = field(default_factory=dict)  # a chunk of the text, by token


@dataclass(frozen=True, eq=False)
class Vocabulary:
    tokens: Sequence[bytes]  # by id; b"" where an id is special or unused
    merges: Merges
    pattern: Pattern
    specials: Mapping[str, int]
    # As tiktoken: a chunk that is a token is that token, and neighbouring rows of `merges` with
    # one new id (the ways to cut one token in two) share one rank.
    whole_chunks: bool = False
    training: Training | None = None
    base: Literal["bytes", "code points"] = "bytes"  # what is merged at first
    decode_only: Mapping[int, bytes] = field(default_factory=dict)  # ids that no text gives

    @property
    def n_ids(self) -> int:
        return max(len(self.tokens), 1 + max(self.specials.values(), default=-1))

    @property
    def alphabet(self) -> list[str]:
        """The characters that follow the bytes, where the base is the code point."""
        if self.base == "bytes":
            return []
        following = itertools.islice(self.tokens, N_BYTES, None)
        return [token.decode() for token in itertools.takewhile(is_wide_character, following)]

    @property
    def is_in_merge_order(self) -> bool:
        """Whether the ids are bytes, the alphabet, what the merges made in turn, then specials."""
        if any(len(token) != 1 for token in self.tokens[:N_BYTES]) or not all(self.tokens):
            return False
        news = self.merges[:, 2].astype(np.int64)
        last_of_base = N_BYTES + len(self.alphabet) - 1
        peaks = np.maximum.accumulate(np.concatenate([[last_of_base], news]))
        return (
            int(peaks[-1]) == len(self.tokens) - 1
            and bool((news <= peaks[:-1] + 1).all())
            and bool((self.merges[:, :2] < news[:, None]).all())
            and all(i >= len(self.tokens) for i in self.specials.values())
        )


def checked(vocabulary: Vocabulary, source: str) -> Vocabulary:
    """`vocabulary`, or a ValueError that names `source` and says what is wrong with it."""
    tokens, merges, specials = vocabulary.tokens, vocabulary.merges, vocabulary.specials
    if vocabulary.n_ids > MAX_IDS:
        raise ValueError(f"{source}: expected ids below {MAX_IDS}, got {vocabulary.n_ids - 1}.")
    n_known = len(tokens) - tokens.count(b"") + len(specials) + len(vocabulary.decode_only)
    if vocabulary.n_ids > max(FEW_IDS, 4 * n_known):  # tables go by id
        raise ValueError(
            f"{source}: expected most ids to be tokens, but of {vocabulary.n_ids} only {n_known} "
            "are; is one of them mistyped?"
        )
    singles = [bytes([byte]) for byte in range(N_BYTES)]
    known = set(tokens[:N_BYTES])  # where they stand as a rule; looking at all is slow
    if missing := set(singles) - known and set(singles) - set(tokens):
        raise ValueError(
            f"{source}: expected a token for each of the 256 bytes, but byte {min(missing)[0]} has "
            "none; text that holds it could not be encoded."
        )
    if len(merges) and int(merges.max()) >= len(tokens):
        raise ValueError(
            f"{source}: expected merges of ids below {len(tokens)}, got {int(merges.max())}."
        )
    for i, token in vocabulary.decode_only.items():
        if not token or not 0 <= i < len(tokens) or tokens[i] or i in specials.values():
            raise ValueError(f"{source}: id {i} is taken, so it cannot be {token!r} as well.")
    for name, i in specials.items():
        if not name:
            raise ValueError(f"{source}: a special token is empty; give it a name.")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"{source}: the special token {name!r} is not Unicode text.")
        if i < len(tokens) and tokens[i]:
            raise ValueError(
                f"{source}: id {i} is both the special token {name!r} and the token {tokens[i]!r}."
            )
    if vocabulary.base == "code points":
        _expect_whole_characters(vocabulary, source)
    if len(set(specials.values())) < len(specials):
        raise ValueError(f"{source}: two special tokens have one id: {dict(specials)}.")
    return vocabulary


def _expect_whole_characters(vocabulary: Vocabulary, source: str) -> None:
    """What the base promises: a token is one byte, which merges with nothing, or characters."""
    for i, token in enumerate(vocabulary.tokens):
        if len(token) > 1:
            try:
                token.decode()
            except UnicodeDecodeError:
                raise ValueError(
                    f"{source}: expected tokens of whole characters, as the base is code points, "
                    f"but token {i} is {token!r}."
                ) from None
    parts = [i for i, token in enumerate(vocabulary.tokens) if len(token) == 1 and token > b"\x7f"]
    if np.isin(vocabulary.merges, parts).any():
        row = int(np.isin(vocabulary.merges, parts).any(axis=1).argmax())
        raise ValueError(
            f"{source}: expected merges of whole characters, as the base is code points, but merge "
            f"{row} joins a part of one."
        )


def expect_bytes(vocabulary: Vocabulary, format: str) -> None:
    """ValueError where the base is the code point, which `format` cannot express as we would."""
    if vocabulary.base != "bytes":
        raise ValueError(
            f"{format}: expected a vocabulary whose base is bytes; this one's is code points, "
            "which cannot be expressed there. Save it with tok.save."
        )


def is_wide_character(token: bytes) -> bool:
    """Whether it is one character, and of more than one byte."""
    if not 2 <= len(token) <= 4 or token[0] < 0xC0:
        return False
    try:
        return len(token.decode()) == 1
    except UnicodeDecodeError:
        return False


def merge_rows(rows: Iterable[Sequence[int]]) -> Merges:
    return np.array(list(rows), dtype=np.uint32).reshape(-1, 3)


def tokens_of_merges(merges: Merges, source: str, alphabet: Sequence[str] = ()) -> list[bytes]:
    """The bytes of ids 0 to 255, the alphabet's, and those of every merge, which makes the next."""
    core = _native.core()
    if core is not None and not alphabet:
        made: list[bytes] | None = core.bpe_tokens_of_rows(merges, MAX_TOKEN_BYTES)
        if made is not None:
            return made
    tokens = [bytes([byte]) for byte in range(N_BYTES)]
    tokens += [character.encode() for character in alphabet]
    lengths = list(map(len, tokens))
    n_bytes = sum(lengths)
    for row, (left, right, new) in enumerate(merges.tolist()):
        if max(left, right) >= len(lengths) or new != len(lengths):
            raise ValueError(
                f"{source}: merge {row} is ({left}, {right}) -> {new}, but it can only join ids "
                f"below {len(lengths)} and make that one."
            )
        lengths.append(lengths[left] + lengths[right])
        n_bytes += lengths[-1]
        if n_bytes > MAX_TOKEN_BYTES:  # at once: lengths of a million digits follow
            raise ValueError(
                f"{source}: its tokens would take more than {MAX_TOKEN_BYTES >> 20} MiB."
            )
    for left, right, _ in merges.tolist():
        tokens.append(tokens[left] + tokens[right])
    return tokens


def truncated(vocabulary: Vocabulary, n_ids: int) -> Vocabulary:
    """The first merges only; the special tokens keep their order and follow directly.

    ValueError where ids are not in the order of merges, or `n_ids` leaves no room for the bytes.
    """
    try:
        n_ids = operator.index(n_ids)
    except TypeError:
        raise ValueError(f"truncate: expected a whole number of ids, got {n_ids!r:.60}.") from None
    if vocabulary.whole_chunks:
        expect_bytes(vocabulary, "truncate")
    n_tokens = n_ids - len(vocabulary.specials)
    if not vocabulary.is_in_merge_order and not vocabulary.whole_chunks:
        raise ValueError(
            "truncate: this vocabulary's ids do not follow the order of its merges, so no part "
            "of them is a vocabulary; train a smaller one."
        )
    n_base = N_BYTES + len(vocabulary.alphabet)
    if n_tokens < n_base or n_ids > vocabulary.n_ids:
        held = "bytes" if n_base == N_BYTES else "bytes, characters"
        raise ValueError(
            f"truncate: expected a size from {n_base + len(vocabulary.specials)} ({held} and "
            f"special tokens) to {vocabulary.n_ids}, got {n_ids}."
        )
    n_tokens = min(n_tokens, len(vocabulary.tokens))
    kept = (vocabulary.merges < n_tokens).all(axis=1)
    training = vocabulary.training
    if training is not None:
        seen = {i: text for i, text in training.seen.items() if i < n_tokens}
        training = replace(training, counts=training.counts[kept], seen=seen)
    in_order = sorted(vocabulary.specials, key=lambda name: vocabulary.specials[name])
    smaller = replace(
        vocabulary,
        tokens=vocabulary.tokens[:n_tokens],
        merges=vocabulary.merges[kept],
        specials={name: n_tokens + i for i, name in enumerate(in_order)},
        training=training,
    )
    return checked(smaller, "truncate")
