"""Vocabularies whose base is the code point, with bytes for those that have no token.

The engine's base is the byte. So the bytes of a character that is a token are joined first of
all, before any other merge, over scaffolding: the character's beginnings, which have ids beyond
the vocabulary's own and never leave the encoder. Where a character turns out to be another one
that begins alike, what stands is taken apart into bytes again. The bytes of UTF-8 that begin a
character and those that follow are different ones, so scaffolding never joins two characters.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from groundup.tokenizer.vocabulary import N_BYTES, Merges, merge_rows

if TYPE_CHECKING:
    from groundup.tokenizer.encoders import Encoder, Ids


def scaffold_of(tokens: Sequence[bytes]) -> tuple[list[bytes], Merges]:
    """The beginnings of the characters among `tokens`, and the rows that join characters.

    The ids of beginnings follow those of tokens. Each of the 256 bytes must be a token.
    """
    byte_ids = ids_of_bytes(tokens)
    begins: dict[bytes, int] = {}
    rows: list[tuple[int, int, int]] = []
    for i, token in enumerate(tokens):
        if not is_wide_character(token):
            continue
        left = byte_ids[token[0]]
        for end in range(2, len(token)):
            if token[:end] not in begins:
                begins[token[:end]] = len(tokens) + len(begins)
                rows.append((left, byte_ids[token[end - 1]], begins[token[:end]]))
            left = begins[token[:end]]
        rows.append((left, byte_ids[token[-1]], i))
    return list(begins), merge_rows(rows)


def is_wide_character(token: bytes) -> bool:
    """Whether it is one character, and of more than one byte."""
    if not 2 <= len(token) <= 4 or token[0] < 0xC0:
        return False
    try:
        return len(token.decode()) == 1
    except UnicodeDecodeError:
        return False


def ids_of_bytes(tokens: Sequence[bytes]) -> list[int]:
    """(256,) the first token that is each byte."""
    ids = {token[0]: i for i, token in reversed([*enumerate(tokens)]) if len(token) == 1}
    return [ids[byte] for byte in range(N_BYTES)]


class CodePointEncoder:
    """An encoder that may leave scaffolding behind, and what takes that down."""

    def __init__(
        self, encoder: "Encoder", tokens: Sequence[bytes], scaffold: Sequence[bytes]
    ) -> None:
        self._encoder = encoder
        self._n_tokens = len(tokens)
        byte_ids = ids_of_bytes(tokens)
        self._bytes = [[byte_ids[byte] for byte in begin] for begin in scaffold]
        self.split = encoder.split

    def _taken_down(self, ids: list[int]) -> list[int]:
        if max(ids, default=0) < self._n_tokens:
            return ids
        whole: list[int] = []
        for i in ids:
            if i < self._n_tokens:
                whole.append(i)
            else:
                whole += self._bytes[i - self._n_tokens]
        return whole

    def _to_numpy(self, ids: "Ids") -> "Ids":
        if int(ids.max(initial=0)) < self._n_tokens:
            return ids
        return np.array(self._taken_down(ids.tolist()), dtype=np.uint32)

    def encode(self, text: str) -> list[int]:
        return self._taken_down(self._encoder.encode(text))

    def encode_to_numpy(self, text: str) -> "Ids":
        return self._to_numpy(self._encoder.encode_to_numpy(text))

    def encode_batch(self, texts: Sequence[str], threads: int) -> list[list[int]]:
        return [self._taken_down(ids) for ids in self._encoder.encode_batch(texts, threads)]

    def encode_to_uint16(self, text: str) -> NDArray[np.uint16]:
        return self.encode_to_numpy(text).astype(np.uint16)

    def encode_batch_to_numpy(
        self, texts: Sequence[str], threads: int
    ) -> "tuple[Ids, NDArray[np.int64]]":
        ids, ends = self._encoder.encode_batch_to_numpy(texts, threads)
        if int(ids.max(initial=0)) < self._n_tokens:
            return ids, ends
        whole = [self._to_numpy(ids[a:b]) for a, b in pairwise(ends.tolist())]
        return np.concatenate(whole), np.cumsum([0, *map(len, whole)], dtype=np.int64)

    def encode_with_dropout(self, text: str, dropout: float, seed: int) -> "Ids":
        raise ValueError(
            "dropout: expected a vocabulary whose base is the byte, got one of code points, which "
            "would fall apart into bytes; encode without dropout."
        )

    def encode_chunk(self, chunk: bytes) -> list[int]:
        return self._taken_down(self._encoder.encode_chunk(chunk))

    def encode_chunks(self, chunks: Sequence[bytes]) -> "Ids":
        return self._to_numpy(self._encoder.encode_chunks(chunks))
