"""GPT-2's two files: vocab.bpe (merges, one "left right" a line) and encoder.json (ids)."""

import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from groundup._files import write_atomic
from groundup.tokenizer.byte_letters import from_letters, to_letters
from groundup.tokenizer.patterns import Pattern, find_pattern, split
from groundup.tokenizer.reading import expect_id, read_json, read_lines
from groundup.tokenizer.vocabulary import MAX_IDS, Merges, Vocabulary, checked, expect_bytes

VERSION = "#version: 0.2"


def from_files(
    vocab_bpe: str | os.PathLike[str], encoder_json: str | os.PathLike[str]
) -> Vocabulary:
    lines = read_lines(vocab_bpe)
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [pair_of(line, f"{vocab_bpe}, merge {n}") for n, line in enumerate(lines) if line]
    return vocabulary_of_letters(
        read_json(encoder_json),
        [left for left, _ in pairs],
        [right for _, right in pairs],
        find_pattern("gpt2"),
        str(encoder_json),
    )


def pair_of(line: str, source: str) -> tuple[str, str]:
    left, space, right = line.partition(" ")
    if not left or not space or not right or " " in right:
        raise ValueError(f"{source}: expected two parts with a space between, got {line[:60]!r}.")
    return left, right


def vocabulary_of_letters(
    ids: Mapping[str, object],
    lefts: Sequence[str],
    rights: Sequence[str],
    pattern: Pattern,
    source: str,
    *,
    specials: Mapping[str, int] | None = None,
    whole_chunks: bool = False,
) -> Vocabulary:
    """A vocabulary from tokens spelled in GPT-2's letters and the pairs that merge.

    Without `specials`, they are what is neither a byte nor the product of a merge.
    """
    numbers = checked_ids(ids, source)
    products = list(map(str.__add__, lefts, rights))
    merges = _rows(lefts, rights, products, numbers, source)
    if specials is None:
        made = set(products)
        specials = {n: i for n, i in numbers.items() if len(n) > 1 and n not in made}
        for name in specials:
            if _could_be_merged(name, pattern):
                raise ValueError(
                    f"{source}: expected a merge for {name!r}, which is no byte and could not "
                    "be a special token: the pattern keeps it in one chunk. Is the file of merges "
                    "whole?"
                )
    for parts in (lefts, rights, products):
        if not specials.keys().isdisjoint(parts):
            number = next(n for n, part in enumerate(parts) if part in specials)
            raise ValueError(
                f"{source}: merge {number} joins or makes {parts[number]!r}, which is a special "
                "token: none of its bytes, no merge's product, or an added token."
            )
    tokens = [b""] * (1 + max(numbers.values(), default=-1))
    for name, i in numbers.items():
        if name in specials:
            continue
        token = from_letters(name)
        if not token:
            raise ValueError(
                f"{source}: the token {name!r} is not spelled in GPT-2's letters for bytes; only "
                "byte-level vocabularies can be read."
            )
        if tokens[i]:
            raise ValueError(f"{source}: {tokens[i]!r} and {token!r} both have id {i}.")
        tokens[i] = token
    while tokens and not tokens[-1]:
        tokens.pop()
    return checked(Vocabulary(tokens, merges, pattern, dict(specials), whole_chunks), source)


def _could_be_merged(name: str, pattern: Pattern) -> bool:
    """Whether a text may hold this token's bytes within one chunk, as tokens that merges made."""
    token = from_letters(name)
    if not token:
        return False
    try:
        return len(list(split(token.decode(), pattern))) == 1
    except UnicodeDecodeError:
        return True


def checked_ids(ids: Mapping[str, object], source: str) -> dict[str, int]:
    """All judged at once, and one by one to say which is amiss."""
    if set(map(type, ids.values())) == {int}:
        numbers: dict[str, int] = dict(ids)  # type: ignore[arg-type]
        if min(numbers.values()) >= 0 and max(numbers.values()) < MAX_IDS:
            return numbers
    return {name: expect_id(i, source, f"the id of {name!r}") for name, i in ids.items()}


def _rows(
    lefts: Sequence[str],
    rights: Sequence[str],
    products: Sequence[str],
    ids: Mapping[str, int],
    source: str,
) -> Merges:
    try:
        columns = [[ids[part] for part in parts] for parts in (lefts, rights, products)]
    except KeyError:
        for number, parts in enumerate(zip(lefts, rights, products, strict=True)):
            if missing := [part for part in parts if part not in ids]:
                raise ValueError(
                    f"{source}: merge {number} is of {parts[0]!r} and {parts[1]!r}, but "
                    f"{missing[0]!r} has no id."
                ) from None
        raise
    return np.array(columns, dtype=np.uint32).T.copy()


def ids_of_names(vocabulary: Vocabulary, format: str) -> dict[str, int]:
    """Ids of tokens in letters. ValueError where two tokens would have one name in `format`."""
    expect_bytes(vocabulary, format)
    ids: dict[str, int] = {}
    for i, token in enumerate(vocabulary.tokens):
        if not token:
            continue
        name = to_letters(token)
        if name in ids or name in vocabulary.specials:
            raise ValueError(
                f"{format} has one id for each name; {name!r} would be both "
                f"{ids.get(name, vocabulary.specials.get(name))} and {i}. Save with tok.save "
                "instead, or rename the special token."
            )
        ids[name] = i
    return ids


def to_files(
    vocabulary: Vocabulary,
    vocab_bpe: str | os.PathLike[str],
    encoder_json: str | os.PathLike[str],
) -> None:
    """Write both. ValueError for what they cannot say: another pattern, tiktoken's rule."""
    if vocabulary.pattern.name != "gpt2":
        raise ValueError(
            "GPT-2's files do not say how text is split, and their readers split by the pattern "
            f"'gpt2'; this tokenizer's is {vocabulary.pattern.name or vocabulary.pattern.regex!r}. "
            "Use to_hf or tok.save."
        )
    if vocabulary.whole_chunks:
        raise ValueError(
            "GPT-2's files list one merge for each token; this vocabulary has ranks instead, as "
            "tiktoken's. Use to_tiktoken, to_hf or tok.save."
        )
    ids = ids_of_names(vocabulary, "encoder.json")
    names = {i: name for name, i in ids.items()}
    lines = [f"{names[left]} {names[right]}" for left, right, _ in vocabulary.merges.tolist()]
    spelled = sorted([*ids.items(), *vocabulary.specials.items()], key=lambda item: item[1])
    _expect_kinds_to_be_told(vocabulary)
    write_atomic(encoder_json, json.dumps(dict(spelled)).encode())
    write_atomic(vocab_bpe, "\n".join([VERSION, *lines, ""]).encode())


def _expect_kinds_to_be_told(vocabulary: Vocabulary) -> None:
    """Readers take for special what is longer than a letter and made by no merge, only that."""
    made = set(vocabulary.merges[:, 2].tolist())
    for i, token in enumerate(vocabulary.tokens):
        if len(token) > 1 and i not in made:
            raise ValueError(
                f"encoder.json would make a special token of {token!r}, which no merge makes; "
                "save with tok.save."
            )
    for name in vocabulary.specials:
        if len(name) == 1 or _could_be_merged(name, vocabulary.pattern):
            raise ValueError(
                f"encoder.json tells special tokens by marks as in <|{name}|>, and would take "
                f"{name!r} for an ordinary one; rename it, or save with tok.save."
            )
