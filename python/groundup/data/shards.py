"""A shard: token ids in one file that is mapped, not read.

64 bytes of header, little-endian, then the ids:

    magic            8 bytes   b"GUTOKENS"
    version          uint32    1
    bytes_per_token  uint32    2 (ids below 65,536) or 4
    n_tokens         uint64
    vocab_size       uint64    every id is below it
    tokenizer_hash   32 bytes  of the tokenizer that made the ids; zeros when unknown
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup._files import write_atomic

MAGIC = b"GUTOKENS"
VERSION = 1
_HEADER = struct.Struct("<8sIIQQ32s")
_MAX_VOCAB_SIZE = 1 << 32

Ids = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True)
class Header:
    """What the first 64 bytes say; see the module."""

    bytes_per_token: int
    n_tokens: int
    vocab_size: int
    tokenizer_hash: bytes

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """How an id is stored."""
        return np.dtype("<u2" if self.bytes_per_token == 2 else "<u4")


def write_shard(
    path: str | os.PathLike[str],
    ids: NDArray[np.integer],
    *,
    vocab_size: int,
    tokenizer_hash: bytes = bytes(32),
) -> None:
    """Write `ids` (n,) of any integer dtype, whole or not at all.

    Raises ValueError for ids outside [0, vocab_size), OSError when the disk is full.
    """
    if not 1 <= vocab_size <= _MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size: expected 1 to {_MAX_VOCAB_SIZE}, got {vocab_size}")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids: expected integers (n,), got {ids.dtype} {ids.shape}")
    if ids.size and not (int(ids.min()) >= 0 and int(ids.max()) < vocab_size):
        worst = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise ValueError(f"ids: expected token ids in [0, {vocab_size}), got {worst}")
    header = Header(2 if vocab_size <= 1 << 16 else 4, ids.size, vocab_size, tokenizer_hash)
    packed = _HEADER.pack(
        MAGIC, VERSION, header.bytes_per_token, ids.size, vocab_size, tokenizer_hash
    )
    write_atomic(path, packed + ids.astype(header.dtype).tobytes())


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of a shard, checked against the size of its file.

    Raises FileNotFoundError, or ValueError for a file that is no shard or is cut short.
    """
    with open(path, "rb") as stream:
        packed = stream.read(_HEADER.size)
        n_bytes = os.fstat(stream.fileno()).st_size
    if packed[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path}: expected token ids written by `groundup prepare`; it is not one")
    if len(packed) < _HEADER.size:
        raise ValueError(f"{path}: the file is cut short, inside its header; prepare it again")
    _, version, bytes_per_token, n_tokens, vocab_size, tokenizer_hash = _HEADER.unpack(packed)
    if version != VERSION:
        raise ValueError(
            f"{path}: expected format version {VERSION}, got {version}; "
            "it needs another release of groundup"
        )
    whole = _HEADER.size + n_tokens * bytes_per_token
    if bytes_per_token not in (2, 4) or not 1 <= vocab_size <= 1 << (8 * bytes_per_token):
        raise ValueError(f"{path}: the header is damaged; prepare it again")
    if n_bytes != whole:
        state = "is cut short" if n_bytes < whole else "goes on past its end"
        raise ValueError(
            f"{path}: expected {whole} bytes for {n_tokens} tokens, got {n_bytes}: the file "
            f"{state}; prepare it again"
        )
    return Header(bytes_per_token, n_tokens, vocab_size, tokenizer_hash)


def map_shard(path: str | os.PathLike[str]) -> tuple[Header, Ids]:
    """The header and the ids (n_tokens,), mapped read-only: nothing is read until it is used."""
    header = read_header(path)
    if header.n_tokens == 0:  # an empty region cannot be mapped
        return header, np.empty(0, header.dtype)
    ids = np.memmap(path, header.dtype, "r", offset=_HEADER.size, shape=(header.n_tokens,))
    return header, ids


class DamagedShardError(ValueError):
    """Ids that no tokenizer of the shard's vocabulary made."""


class Tokens:
    """Shards one after another, as one sequence of ids.

    n_tokens = len(tokens); vocab_size and tokenizer_hash are those of every shard.
    Raises ValueError for shards of different vocabularies or tokenizers.
    """

    def __init__(self, paths: list[Path]) -> None:
        if not paths:
            raise ValueError("shards: expected at least one file, got none")
        mapped = [map_shard(path) for path in paths]
        first = mapped[0][0]
        for path, (header, _) in zip(paths, mapped, strict=True):
            if (header.vocab_size, header.tokenizer_hash) != (
                first.vocab_size,
                first.tokenizer_hash,
            ):
                raise ValueError(
                    f"{path}: made by another tokenizer than {paths[0]} (vocabulary "
                    f"{header.vocab_size} and {first.vocab_size}); prepare both with one"
                )
        self.vocab_size = first.vocab_size
        self.tokenizer_hash = first.tokenizer_hash
        self._paths = paths
        self._shards = [np.asarray(ids) for _, ids in mapped]  # a memmap's slices cost more
        self._starts = np.cumsum([0] + [header.n_tokens for header, _ in mapped])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Ids (stop - start,) of positions [start, stop), across shards; copied.

        Raises DamagedShardError for an id outside the vocabulary, naming its file and place.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens: expected a range in [0, {len(self)}), got {start} to {stop}")
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        parts: list[NDArray[np.int64]] = []
        while start < stop:
            offset = int(self._starts[shard])
            end = min(stop, int(self._starts[shard + 1]))
            ids = self._shards[shard][start - offset : end - offset]
            if ids.size and int(ids.max()) >= self.vocab_size:
                raise self._damaged(shard, start - offset, ids)
            parts.append(ids.astype(np.int64))
            start, shard = end, shard + 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _damaged(self, shard: int, offset: int, ids: NDArray[Any]) -> DamagedShardError:
        place = int(np.argmax(ids >= self.vocab_size))
        return DamagedShardError(
            f"{self._paths[shard]}: expected token ids in [0, {self.vocab_size}), got {ids[place]} "
            f"at position {offset + place}: the file is damaged; prepare it again"
        )
