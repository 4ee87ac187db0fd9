"""Names as numbers: each character an id, the mark "." before and after, and what follows what.

Standard library, and NumPy for the table of examples. Source: Zero to Hero, "makemore" part 2.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
EDGE = "."  # stands before the first character and after the last; its id is 0


@dataclass(frozen=True)
class Vocabulary:
    """Characters and their ids: EDGE, then the others in order."""

    characters: str

    @classmethod
    def of(cls, words: Iterable[str]) -> "Vocabulary":
        """All characters that occur.

        >>> Vocabulary.of(["anna", "bo"]).characters
        '.abno'
        """
        found = set().union(*words)
        if EDGE in found:
            raise ValueError(f"words: expected none with {EDGE!r}, which marks a word's edges")
        return cls(EDGE + "".join(sorted(found)))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, word: str) -> list[int]:
        """Ids of the characters. Raises ValueError for an unknown one, and for a mark of the edge,
        which whoever reads the ids sets himself: set twice, it would be counted twice."""
        ids = [self.characters.find(c) for c in word]
        wrong = next((c for c, i in zip(word, ids, strict=True) if i < 1), None)
        if wrong is not None:
            raise ValueError(f"word: expected characters of {self.characters[1:]!r}, got {wrong!r}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of ids. Raises IndexError for an id that is none."""
        word = ""
        for i in ids:
            if not 0 <= i < len(self):
                raise IndexError(f"ids: expected 0 to {len(self) - 1}, got {i}")
            word += self.characters[i]
        return word


def split(words: Sequence[str], seed: int = 42) -> tuple[list[str], list[str], list[str]]:
    """The words shuffled, then 80% to learn from, 10% to choose by, 10% to judge with at the end.

    Whole words, so that none is on two sides, unless it is listed twice.
    """
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    first, second = int(0.8 * len(words)), int(0.9 * len(words))
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def examples(words: Iterable[str], vocabulary: Vocabulary, block_size: int) -> tuple[Ids, Ids]:
    """Each character of each word, its end included, with the `block_size` characters before it.

    Returns contexts (N, block_size) and targets (N,). Before a word stands EDGE, once for each
    place of the block; marking the word's edge beforehand as well would add an example that is
    always right (EDGE after EDGE), and a loss that looks too good.

    >>> vocabulary = Vocabulary.of(["ab"])
    >>> contexts, targets = examples(["ab"], vocabulary, 2)
    >>> [f"{vocabulary.decode(c)}->{vocabulary.decode([t])}" for c, t in zip(contexts, targets)]
    ['..->a', '.a->b', 'ab->.']
    """
    if block_size < 1:
        raise ValueError(f"block_size: expected 1 or more, got {block_size}")
    contexts: list[list[int]] = []
    targets: list[int] = []
    for word in words:
        context = [0] * block_size
        for i in [*vocabulary.encode(word), 0]:
            contexts.append(context)
            targets.append(i)
            context = [*context[1:], i]
    return np.array(contexts, np.int64).reshape(-1, block_size), np.array(targets, np.int64)


def read_names(text: str) -> list[str]:
    """One name a line; empty lines are left out."""
    return [name for line in text.splitlines() if (name := line.strip())]
