"""tiktoken's ranks: a token's id is its rank, and any two neighbours that make a token may merge.

A .tiktoken file has one line a token, base64(token) SPACE rank. Neither the pattern nor the
special tokens are in it.
"""

import base64
import binascii
import functools
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from groundup._files import write_atomic
from groundup.tokenizer.encoders import new_encoder
from groundup.tokenizer.engine import native_core
from groundup.tokenizer.patterns import Pattern, check_portable, find_pattern
from groundup.tokenizer.reading import expect_id, read_file
from groundup.tokenizer.splits import all_splits
from groundup.tokenizer.vocabulary import MAX_IDS, Vocabulary, checked, expect_bytes

if TYPE_CHECKING:
    import tiktoken


_decoded = functools.partial(binascii.a2b_base64, strict_mode=True)


def read_tokens(path: str | os.PathLike[str]) -> list[bytes]:
    """The tokens of a .tiktoken file by rank, b"" for a rank that none has."""
    contents = read_file(path)
    core = native_core()
    tokens: list[bytes] | None = None if core is None else core.bpe_read_ranks(contents)
    # What the native reader refuses is read again here, to say what is wrong and where.
    return tokens_by_rank(_read_lines(contents, path), str(path)) if tokens is None else tokens


def _read_lines(contents: bytes, path: str | os.PathLike[str]) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(contents.splitlines(), start=1):
        if not line:
            continue
        token, _, rank = line.partition(b" ")
        try:
            decoded, value = _decoded(token), int(rank)
        except ValueError:
            raise ValueError(
                f"{path}: expected line {number} to be base64 of a token, a space and its rank, "
                f"got {line[:60]!r}; is the file whole, and a .tiktoken file?"
            ) from None
        if decoded in ranks:
            raise ValueError(f"{path}: line {number} gives the token {decoded!r} a second rank.")
        ranks[decoded] = value
    if not ranks:
        raise ValueError(f"{path}: expected one token a line, got an empty file.")
    return ranks


def tokens_by_rank(ranks: Mapping[bytes, int], source: str) -> list[bytes]:
    highest = max(ranks.values())
    if highest >= MAX_IDS or min(ranks.values()) < 0:
        raise ValueError(f"{source}: expected ranks from 0 to {MAX_IDS - 1}, got {highest}.")
    tokens = [b""] * (highest + 1)
    for token, rank in ranks.items():
        if not token:
            raise ValueError(f"{source}: the token of rank {rank} is empty.")
        if tokens[rank]:
            raise ValueError(f"{source}: {tokens[rank]!r} and {token!r} both have rank {rank}.")
        tokens[rank] = token
    return tokens


def vocabulary_of_tokens(
    tokens: list[bytes], pattern: Pattern, specials: Mapping[str, int], source: str
) -> Vocabulary:
    splits = all_splits(tokens, source)
    return checked(Vocabulary(tokens, splits, pattern, specials, whole_chunks=True), source)


def from_file(
    path: str | os.PathLike[str], pattern: str | None, specials: Mapping[str, int]
) -> Vocabulary:
    if pattern is None:
        raise ValueError(
            f"{path}: a .tiktoken file does not say how text is split; pass pattern='gpt2' "
            "(r50k_base, p50k_base), 'gpt4' (cl100k_base), 'gpt4o' (o200k_base) or a regex."
        )
    for name, i in specials.items():
        expect_id(i, "special_tokens", f"the id of {name!r}")
    return vocabulary_of_tokens(read_tokens(path), find_pattern(pattern), specials, str(path))


def from_encoding(encoding: "tiktoken.Encoding", pattern: str | None) -> Vocabulary:
    source = f"tiktoken's {encoding.name}"
    found = find_pattern(encoding._pat_str if pattern is None else pattern)
    if pattern is None:
        check_portable(found, source)
    tokens = tokens_by_rank(encoding._mergeable_ranks, source)
    return vocabulary_of_tokens(tokens, found, encoding._special_tokens, source)


def ranks_of(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Each token's id. ValueError where tiktoken's rule would merge otherwise than ours.

    tiktoken takes a chunk that is a token as that token, and merges any two neighbours that
    make one. That changes nothing when ids follow the order of the merges and every token,
    encoded alone, gives itself: then whatever stands for its bytes is on the way to it.
    """
    expect_bytes(vocabulary, "tiktoken")
    ranks: dict[bytes, int] = {}
    for i, token in enumerate(vocabulary.tokens):
        if token and ranks.setdefault(token, i) != i:
            raise ValueError(
                f"tiktoken's format has one id for each token; {token!r} is both {ranks[token]} "
                f"and {i} here. Save with tok.save instead."
            )
    if vocabulary.whole_chunks:
        return ranks
    remedy = "tiktoken's format cannot express that; save with tok.save, or use to_hf."
    if not vocabulary.is_in_merge_order:
        raise ValueError(f"The ids do not follow the order of the merges; {remedy}")
    if len(new_encoder(vocabulary).encode_chunks(list(ranks))) != len(ranks):
        raise ValueError(f"A token, encoded alone, does not give itself; {remedy}")
    return ranks


def pattern_for_tiktoken(pattern: Pattern) -> str:
    """tiktoken drops text that the pattern does not match; here it makes chunks, so add it."""
    if pattern.name is not None:
        return pattern.regex
    check_portable(pattern, "tiktoken")
    return f"(?:{pattern.regex})|(?:(?!{pattern.regex})[\\s\\S])+"


def to_file(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    lines = (
        base64.b64encode(token) + f" {rank}\n".encode()
        for token, rank in ranks_of(vocabulary).items()
    )
    write_atomic(path, b"".join(lines))


def _expect_specials_apart(names: Iterable[str]) -> None:
    in_order = sorted(names)  # one that begins with another follows it, or others that do
    for shorter, longer in pairwise(in_order):
        if longer.startswith(shorter):
            raise ValueError(
                f"tiktoken takes either of {shorter!r} and {longer!r} where the longer one stands, "
                "the longer one is taken here; rename one, or save with tok.save."
            )


def to_encoding(vocabulary: Vocabulary, name: str) -> "tiktoken.Encoding":
    import tiktoken

    _expect_specials_apart(vocabulary.specials)
    return tiktoken.Encoding(
        name,
        pat_str=pattern_for_tiktoken(vocabulary.pattern),
        mergeable_ranks=ranks_of(vocabulary),
        special_tokens=dict(vocabulary.specials),
    )
