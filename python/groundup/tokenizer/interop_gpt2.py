"""GPT-2's two files: vocab.bpe (merges, one "left right" a line) and encoder.json (ids)."""

import os
from collections.abc import Iterable, Mapping

from groundup.tokenizer.byte_letters import from_letters
from groundup.tokenizer.patterns import Pattern, find_pattern
from groundup.tokenizer.reading import expect_id, read_json, read_lines
from groundup.tokenizer.vocabulary import Vocabulary, checked, merge_rows


def from_files(
    vocab_bpe: str | os.PathLike[str], encoder_json: str | os.PathLike[str]
) -> Vocabulary:
    lines = read_lines(vocab_bpe)
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [pair_of(line, f"{vocab_bpe}, merge {n}") for n, line in enumerate(lines) if line]
    return vocabulary_of_letters(
        read_json(encoder_json), pairs, find_pattern("gpt2"), str(encoder_json)
    )


def pair_of(line: str, source: str) -> tuple[str, str]:
    left, space, right = line.partition(" ")
    if not left or not space or not right or " " in right:
        raise ValueError(f"{source}: expected two parts with a space between, got {line[:60]!r}.")
    return left, right


def vocabulary_of_letters(
    ids: Mapping[str, object],
    pairs: Iterable[tuple[str, str]],
    pattern: Pattern,
    source: str,
    *,
    specials: Mapping[str, int] | None = None,
    whole_chunks: bool = False,
) -> Vocabulary:
    """A vocabulary from tokens spelled in GPT-2's letters and the pairs that merge.

    Without `specials`, they are what is neither a byte nor the product of a merge.
    """
    checked_ids = {name: expect_id(i, source, f"the id of {name!r}") for name, i in ids.items()}
    rows: list[tuple[int, int, int]] = []
    made: set[str] = set()
    for number, (left, right) in enumerate(pairs):
        for part in (left, right, left + right):
            if part not in checked_ids:
                raise ValueError(
                    f"{source}: merge {number} is of {left!r} and {right!r}, but {part!r} has "
                    "no id."
                )
        rows.append((checked_ids[left], checked_ids[right], checked_ids[left + right]))
        made.add(left + right)
    if specials is None:
        specials = {n: i for n, i in checked_ids.items() if len(n) > 1 and n not in made}
    tokens = [b""] * (1 + max(checked_ids.values(), default=-1))
    for name, i in checked_ids.items():
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
    vocabulary = Vocabulary(tokens, merge_rows(rows), pattern, dict(specials), whole_chunks)
    return checked(vocabulary, source)
