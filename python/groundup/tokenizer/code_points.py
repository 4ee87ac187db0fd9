"""Vocabularies whose base is the code point, with bytes for those that have no token.

The engine's base is the byte. So the bytes of a character that is a token are joined first of
all, before any other merge, over scaffolding: the character's beginnings, which have ids beyond
the vocabulary's own and never leave the encoder. Where a character turns out to be another one
that begins alike, what stands is taken apart into bytes again. The bytes of UTF-8 that begin a
character and those that follow are different ones, so scaffolding never joins two characters.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from groundup.tokenizer.vocabulary import (
    N_BYTES,
    Merges,
    Vocabulary,
    is_wide_character,
    merge_rows,
)

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


def by_bytes(vocabulary: Vocabulary) -> tuple[Vocabulary, list[bytes]]:
    """The vocabulary that the byte engine encodes with, and its scaffolding: the last tokens."""
    scaffold, joins = scaffold_of(vocabulary.tokens)
    return replace(
        vocabulary,
        tokens=[*vocabulary.tokens, *scaffold],
        merges=np.concatenate([joins, vocabulary.merges]),
        base="bytes",
    ), scaffold


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
        # (S, 3), of which the first _lengths are one's bytes.
        self._bytes = np.zeros((len(scaffold), 3), dtype=np.uint32)
        self._lengths = np.array([len(begin) for begin in scaffold], dtype=np.int64)
        for row, begin in zip(self._bytes, scaffold, strict=True):
            row[: len(begin)] = [byte_ids[byte] for byte in begin]
        self.split = encoder.split

    def _taken_down(self, ids: list[int]) -> list[int]:
        if max(ids, default=0) < self._n_tokens:
            return ids
        whole: list[int] = self._to_numpy(np.array(ids, dtype=np.uint32)).tolist()
        return whole

    def _to_numpy(self, ids: "Ids") -> "Ids":
        if int(ids.max(initial=0)) < self._n_tokens:
            return ids
        places = np.flatnonzero(ids >= self._n_tokens)
        begins = ids[places] - self._n_tokens
        widths = np.ones(len(ids), dtype=np.int64)
        widths[places] = self._lengths[begins]
        whole = np.repeat(ids, widths)
        starts = (np.cumsum(widths) - widths)[places]
        for nth in range(3):
            has = self._lengths[begins] > nth
            whole[starts[has] + nth] = self._bytes[begins[has], nth]
        return whole

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
