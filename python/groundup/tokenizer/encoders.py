"""Text to ids behind one interface: native, native behind a foreign pattern, plain Python."""

import functools
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundup.reference import bpe
from groundup.tokenizer.code_points import CodePointEncoder, by_bytes
from groundup.tokenizer.engine import has_scanner, native_core
from groundup.tokenizer.patterns import split
from groundup.tokenizer.vocabulary import Merges, Vocabulary

Ids = NDArray[np.uint32]
Ends = NDArray[np.int64]  # (n + 1,): text i's ids are those from ends[i] to ends[i + 1]


class Encoder(Protocol):
    """Ordinary text to ids; texts are valid Unicode."""

    def encode(self, text: str) -> list[int]: ...
    def encode_to_numpy(self, text: str) -> Ids: ...
    def encode_batch(self, texts: Sequence[str], threads: int) -> list[list[int]]: ...
    def encode_to_uint16(self, text: str) -> NDArray[np.uint16]: ...
    def encode_batch_to_numpy(self, texts: Sequence[str], threads: int) -> tuple[Ids, Ends]: ...
    def encode_with_dropout(self, text: str, dropout: float, seed: int) -> Ids: ...
    def encode_chunk(self, chunk: bytes) -> list[int]: ...
    def encode_chunks(self, chunks: Sequence[bytes]) -> Ids: ...
    def split(self, text: str) -> list[bytes]: ...


def new_encoder(vocabulary: Vocabulary) -> Encoder:
    if vocabulary.base == "code points":
        whole, scaffold = by_bytes(vocabulary)
        return CodePointEncoder(new_encoder(whole), vocabulary.tokens, scaffold)
    core = native_core()
    if core is None:
        return ReferenceEncoder(vocabulary)
    if has_scanner(core, vocabulary.pattern):
        return NativeEncoder(core, vocabulary)
    return SplittingEncoder(core, vocabulary)


class NativeEncoder:
    def __init__(self, core: ModuleType, vocabulary: Vocabulary) -> None:
        self._core = core
        self._pattern = vocabulary.pattern
        self._encoder = core.BpeEncoder(
            vocabulary.tokens,
            # Where every split of every token is listed, a pair can stand there only once.
            vocabulary.merges if vocabulary.whole_chunks else _last_of_each_pair(vocabulary.merges),
            self._scanner_name(),
            vocabulary.whole_chunks,
        )
        # The calls that everything is measured by go straight to the core.
        self.encode: Callable[[str], list[int]] = self._encoder.encode
        self.encode_to_numpy: Callable[[str], Ids] = self._encoder.encode_to_numpy
        self.encode_batch: Callable[[Sequence[str], int], list[list[int]]] = (
            self._encoder.encode_batch
        )
        self.encode_to_uint16: Callable[[str], NDArray[np.uint16]] = self._encoder.encode_to_uint16
        self.encode_batch_to_numpy: Callable[[Sequence[str], int], tuple[Ids, Ends]] = (
            self._encoder.encode_batch_to_numpy
        )
        self.encode_with_dropout: Callable[[str, float, int], Ids] = (
            self._encoder.encode_with_dropout
        )

    def _scanner_name(self) -> str:
        assert self._pattern.name is not None
        return self._pattern.name

    def encode_chunk(self, chunk: bytes) -> list[int]:
        ids: list[int] = self.encode_chunks([chunk]).tolist()
        return ids

    def encode_chunks(self, chunks: Sequence[bytes]) -> Ids:
        ids: Ids = self._encoder.encode_chunks(*_joined(chunks))
        return ids

    def split(self, text: str) -> list[bytes]:
        text_bytes = text.encode()
        ends = self._core.split(text, self._scanner_name()).tolist()
        return [text_bytes[a:b] for a, b in pairwise([0, *ends])]


class SplittingEncoder(NativeEncoder):
    """The native merges behind a pattern that only the regex module can split by."""

    def __init__(self, core: ModuleType, vocabulary: Vocabulary) -> None:
        super().__init__(core, vocabulary)
        self.encode = lambda text: self.encode_chunks(self.split(text)).tolist()
        self.encode_to_numpy = lambda text: self.encode_chunks(self.split(text))
        self.encode_batch = lambda texts, threads: [self.encode(text) for text in texts]
        self.encode_to_uint16 = lambda text: self.encode_to_numpy(text).astype(np.uint16)
        self.encode_batch_to_numpy = lambda texts, threads: end_to_end(
            [self.encode_to_numpy(text) for text in texts]
        )
        self.encode_with_dropout = lambda text, dropout, seed: (
            self._encoder.encode_chunks_with_dropout(*_joined(self.split(text)), dropout, seed)
        )

    def _scanner_name(self) -> str:
        return "none"

    def split(self, text: str) -> list[bytes]:
        return split(text, self._pattern)


class ReferenceEncoder:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids = {token: i for i, token in reversed([*enumerate(vocabulary.tokens)]) if token}
        self._ranks = bpe.ranks_of(map(tuple, vocabulary.merges.tolist()))
        if vocabulary.whole_chunks:
            self._share_ranks()
        self._merge = (
            bpe.encode_chunk if vocabulary.is_in_merge_order else bpe.encode_chunk_leftmost
        )
        self._cached = functools.lru_cache(maxsize=1 << 16)(self._encode_chunk)

    def _share_ranks(self) -> None:
        rows = self._vocabulary.merges[:, 2]
        starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] + 1))
        first = starts[np.searchsorted(starts, np.arange(len(rows)), side="right") - 1].tolist()
        self._ranks = {pair: (first[rank], new) for pair, (rank, new) in self._ranks.items()}

    def _encode_chunk(self, chunk: bytes) -> tuple[int, ...]:
        if self._vocabulary.whole_chunks and chunk in self._ids:
            return (self._ids[chunk],)
        return tuple(self._merge([self._ids[bytes([byte])] for byte in chunk], self._ranks))

    def encode(self, text: str) -> list[int]:
        return [i for chunk in self.split(text) for i in self._cached(chunk)]

    def encode_to_numpy(self, text: str) -> Ids:
        return np.array(self.encode(text), dtype=np.uint32)

    def encode_to_uint16(self, text: str) -> NDArray[np.uint16]:
        return np.array(self.encode(text), dtype=np.uint16)

    def encode_batch(self, texts: Sequence[str], threads: int) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_batch_to_numpy(self, texts: Sequence[str], threads: int) -> tuple[Ids, Ends]:
        return end_to_end([self.encode_to_numpy(text) for text in texts])

    def encode_with_dropout(self, text: str, dropout: float, seed: int) -> Ids:
        drawn = random.Random(seed)
        ids = [
            i
            for chunk in self.split(text)
            for i in bpe.encode_chunk_with_dropout(
                [self._ids[bytes([byte])] for byte in chunk], self._ranks, dropout, drawn
            )
        ]
        return np.array(ids, dtype=np.uint32)

    def encode_chunk(self, chunk: bytes) -> list[int]:
        return list(self._cached(chunk)) if chunk else []

    def encode_chunks(self, chunks: Sequence[bytes]) -> Ids:
        return np.array([i for chunk in chunks for i in self.encode_chunk(chunk)], dtype=np.uint32)

    def split(self, text: str) -> list[bytes]:
        return split(text, self._vocabulary.pattern)


def end_to_end(encoded: Sequence[Ids]) -> tuple[Ids, Ends]:
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.concatenate([np.empty(0, np.uint32), *encoded]), ends


def _joined(chunks: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    """The chunks' bytes end to end, and where each ends."""
    return b"".join(chunks), np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)


def _last_of_each_pair(merges: Merges) -> Merges:
    """`merges` with each pair once: Hugging Face keeps the rank of a pair's last row."""
    pairs = merges[::-1, 0].astype(np.uint64) << 32 | merges[::-1, 1]
    kept = np.unique(pairs, return_index=True)[1]
    if len(kept) == len(merges):
        return merges
    return np.ascontiguousarray(merges[np.sort(len(merges) - 1 - kept)])
