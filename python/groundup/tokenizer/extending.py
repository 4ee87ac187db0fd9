"""Training on from a vocabulary: its ids stay what they are, new tokens follow.

The engine numbers the bytes by their values and each merge with the next number; a vocabulary may
have its bytes in another order (GPT-2's) and special tokens in between.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.tokenizer.vocabulary import N_BYTES, Merges, Vocabulary, tokens_of_merges


@dataclass(frozen=True)
class Known:
    """The merges to begin with, in the engine's numbers."""

    pairs: NDArray[np.uint32]  # (M, 2) left, right
    tokens: tuple[bytes, ...]  # by the vocabulary's ids, b"" for special tokens
    ids: tuple[int, ...]  # the vocabulary's id of each of the engine's

    @property
    def n_ids(self) -> int:
        return len(self.tokens)

    def extended(self, merges: Merges) -> tuple[Merges, list[bytes]]:
        """What training made, in the vocabulary's ids, and the tokens by id."""
        made = tokens_of_merges(merges, "training")
        if not len(self.pairs) and self.n_ids == N_BYTES:
            return merges, made
        n_new = len(made) - len(self.ids)
        ids = np.array([*self.ids, *range(self.n_ids, self.n_ids + n_new)], dtype=np.uint32)
        return ids[merges], [*self.tokens, *made[len(self.ids) :]]


def known_merges(vocabulary: Vocabulary | None) -> Known:
    """ValueError for a vocabulary that merges did not make one after the other."""
    singles = tuple(bytes([byte]) for byte in range(N_BYTES))
    if vocabulary is None:
        return Known(np.empty((0, 2), dtype=np.uint32), singles, tuple(range(N_BYTES)))
    if vocabulary.whole_chunks:
        raise ValueError(
            "extend: expected a tokenizer made of merges, as those trained here and those of "
            "Hugging Face and GPT-2 are, got one of tiktoken's ranks, which do not say how each "
            "token was merged."
        )
    tokens = [*vocabulary.tokens, *[b""] * (vocabulary.n_ids - len(vocabulary.tokens))]
    ids = [tokens.index(single) for single in singles]
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
    return Known(np.array(pairs, dtype=np.uint32).reshape(-1, 2), tuple(tokens), tuple(ids))
