"""minbpe's .model files: "minbpe v1", the pattern, the special tokens, a pair of ids a line.

Source: karpathy/minbpe, base.py. Each pair makes the next id from 256 on. An empty pattern is a
BasicTokenizer's, which cuts nothing. minbpe drops text that its pattern does not match; here such
text makes chunks, so that nothing is lost.
"""

import os
from collections.abc import Iterator

from groundup.tokenizer.patterns import PATTERNS, Pattern, find_pattern, read_pattern
from groundup.tokenizer.reading import expect_id, read_lines
from groundup.tokenizer.vocabulary import N_BYTES, Vocabulary, checked, merge_rows, tokens_of_merges

VERSION = "minbpe v1"


def from_file(path: str | os.PathLike[str]) -> Vocabulary:
    source = str(path)
    lines = iter(enumerate(read_lines(path), start=1))
    _, version = next(lines)
    if version.strip() != VERSION:
        raise ValueError(
            f"{source}: expected the first line to be {VERSION!r}, got {version[:60]!r}; is it "
            "minbpe's .model file (not its .vocab, which is for reading only)?"
        )
    _, pattern = next(lines, (2, ""))
    specials = _specials(lines, source)
    merges = merge_rows(_rows(lines, source))
    return checked(
        Vocabulary(
            tokens_of_merges(merges, source), merges, _pattern(pattern.strip(), source), specials
        ),
        source,
    )


def _pattern(spelled: str, source: str) -> Pattern:
    if not spelled:
        return find_pattern("none")
    if spelled in PATTERNS:  # a name of ours is no pattern of theirs
        raise ValueError(f"{source}: expected a regular expression on line 2, got {spelled!r}.")
    return read_pattern(spelled, source)


def _specials(lines: Iterator[tuple[int, str]], source: str) -> dict[str, int]:
    number, spelled = next(lines, (3, ""))
    (n_specials,) = _numbers(spelled, 1, number, source)
    specials: dict[str, int] = {}
    for _ in range(n_specials):
        number, line = next(lines, (number + 1, ""))
        name, _, spelled = line.strip().partition(" ")
        (i,) = _numbers(spelled, 1, number, source)
        if name in specials:
            raise ValueError(f"{source}: line {number} names the special token {name!r} again.")
        specials[name] = expect_id(i, source, f"the id of {name!r}")
    return specials


def _rows(lines: Iterator[tuple[int, str]], source: str) -> Iterator[tuple[int, int, int]]:
    pairs: set[tuple[int, int]] = set()
    for number, line in lines:
        if not line.strip():
            continue
        left, right = _numbers(line, 2, number, source)
        new = N_BYTES + len(pairs)
        if max(left, right) >= new:
            raise ValueError(
                f"{source}: line {number} merges {left} and {right}, but it makes id {new} and "
                "can only join ids below."
            )
        if (left, right) in pairs:
            raise ValueError(f"{source}: line {number} merges {left} and {right} again.")
        pairs.add((left, right))
        yield left, right, new


def _numbers(line: str, n: int, number: int, source: str) -> list[int]:
    words = line.split()
    if len(words) != n or not all(
        word.isdecimal() and word.isascii() and len(word) <= 8 for word in words
    ):
        expected = "a whole number" if n == 1 else f"{n} ids"
        raise ValueError(
            f"{source}: expected line {number} to hold {expected}, got {line[:60]!r}; is the "
            "file whole?"
        )
    return list(map(int, words))
