"""Training on from a vocabulary: its ids stay what they are, new tokens follow.

The engine numbers the bytes by their values, then the alphabet, and each merge with the next
number; a vocabulary may have its bytes in another order (GPT-2's) and special tokens in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.tokenizer.code_points import ids_of_bytes
from groundup.tokenizer.vocabulary import (
    N_BYTES,
    Merges,
    Vocabulary,
    is_wide_character,
    tokens_of_merges,
)


@dataclass(frozen=True)
class Known:
    """What to begin with: the merges in the engine's numbers, and what those are here."""

    pairs: NDArray[np.uint32]  # (M, 2) left, right
    tokens: tuple[bytes, ...]  # by the vocabulary's ids, b"" for special tokens
    ids: tuple[int, ...]  # the vocabulary's id of each of the engine's
    alphabet: tuple[str, ...] | None = None  # None where the base is bytes

    @property
    def n_ids(self) -> int:
        return len(self.tokens)

    def extended(self, merges: Merges) -> tuple[Merges, list[bytes]]:
        """What training made, in the vocabulary's ids, and the tokens by id."""
        made = tokens_of_merges(merges, "training", self.alphabet or ())
        if not len(self.pairs) and self.ids == tuple(range(self.n_ids)):
            return merges, made
        n_new = len(made) - len(self.ids)
        ids = np.array([*self.ids, *range(self.n_ids, self.n_ids + n_new)], dtype=np.uint32)
        return ids[merges], [*self.tokens, *made[len(self.ids) :]]


def new_base(alphabet: Sequence[str] | None) -> Known:
    """No merges yet."""
    tokens = [bytes([byte]) for byte in range(N_BYTES)]
    tokens += [character.encode() for character in alphabet or ()]
    return Known(
        np.empty((0, 2), dtype=np.uint32),
        tuple(tokens),
        tuple(range(len(tokens))),
        None if alphabet is None else tuple(alphabet),
    )


def known_merges(vocabulary: Vocabulary) -> Known:
    """ValueError for a vocabulary that merges did not make one after the other."""
    if vocabulary.whole_chunks:
        raise ValueError(
            "extend: expected a tokenizer made of merges, as those trained here and those of "
            "Hugging Face and GPT-2 are, got one of ranks, as tiktoken's and SentencePiece's, "
            "which do not say how each token was merged."
        )
    tokens = [*vocabulary.tokens, *[b""] * (vocabulary.n_ids - len(vocabulary.tokens))]
    ids = ids_of_bytes(tokens)
    alphabet = None
    if vocabulary.base == "code points":
        wide = [i for i, token in enumerate(tokens) if is_wide_character(token)]
        alphabet = tuple(tokens[i].decode() for i in wide)
        ids += wide
    numbers = {i: number for number, i in enumerate(ids)}
    pairs = []
    for row, (left, right, new) in enumerate(vocabulary.merges.tolist()):
        if left not in numbers or right not in numbers or new in numbers:
            raise ValueError(
                f"extend: expected a tokenizer whose merges each make one new token of those "
                f"before, but merge {row} is ({left}, {right}) -> {new}."
            )
        pairs.append((numbers[left], numbers[right]))
        numbers[new] = len(ids)
        ids.append(new)
    array = np.array(pairs, dtype=np.uint32).reshape(-1, 2)
    return Known(array, tuple(tokens), tuple(ids), alphabet)
