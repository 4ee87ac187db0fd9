"""Ids to bytes: every id is checked before the engine sees it, special tokens are put in here."""

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.tokenizer.encoders import Encoder, Ids
from groundup.tokenizer.vocabulary import Vocabulary


class Decoder:
    def __init__(self, vocabulary: Vocabulary, encoder: Encoder) -> None:
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._special_bytes = {i: name.encode() for name, i in vocabulary.specials.items()}
        self._n_ids = vocabulary.n_ids
        self._is_special = np.zeros(self._n_ids, dtype=bool)
        self._is_special[list(self._special_bytes)] = True
        self._is_token = self._is_special.copy()
        self._is_token[: len(vocabulary.tokens)] |= np.fromiter(map(bool, vocabulary.tokens), bool)
        # Below this every id is an ordinary token, and nothing needs to be looked up.
        exceptions = np.flatnonzero(self._is_special | ~self._is_token)
        self._n_plain = int(exceptions[0]) if len(exceptions) else self._n_ids

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(n_ids,) bytes of each token."""
        return np.array([len(token) for token in self.token_bytes()], dtype=np.int64)

    def token_bytes(self) -> list[bytes]:
        values = list(self._vocabulary.tokens)
        values += [b""] * (self._n_ids - len(values))
        for i, name in self._special_bytes.items():
            values[i] = name
        return values

    def decode(self, ids: ArrayLike) -> bytes:
        return self._decode_checked(self._checked(ids))

    def decode_batch(self, batch: Iterable[ArrayLike], threads: int) -> Sequence[bytes]:
        arrays = [self._checked(ids) for ids in batch]
        if not all(map(self._is_plain, arrays)):
            return [self._decode_checked(ids) for ids in arrays]
        return self._encoder.decode_batch(arrays, threads)

    def _is_plain(self, ids: Ids) -> bool:
        return not len(ids) or int(ids.max()) < self._n_plain

    def _checked(self, ids: ArrayLike) -> Ids:
        if isinstance(ids, list):
            try:
                given = np.frombuffer(array("I", ids), dtype=np.uint32)  # thrice as fast as NumPy
            except (TypeError, OverflowError):
                given = _to_array(ids)
        else:
            given = _to_array(ids)
        if given.size == 0:
            return np.empty(0, dtype=np.uint32)
        if given.ndim > 1:
            raise ValueError(_expected(f"shape {given.shape}; use decode_batch for several texts"))
        if given.ndim == 0 or given.dtype.kind not in "iu":
            raise ValueError(_expected(f"{ids!r:.60}"))
        largest = int(given.max())
        if (
            given.min() < 0
            or largest >= self._n_ids
            or not (largest < self._n_plain or self._is_token[given].all())
        ):
            bad = next(
                i for i in given.tolist() if not 0 <= i < self._n_ids or not self._is_token[i]
            )
            unused = " and this one is unused" if 0 <= bad < self._n_ids else ""
            raise ValueError(
                f"ids: {bad} is no token; this vocabulary has ids from 0 to {self._n_ids - 1}"
                f"{unused}."
            )
        return np.ascontiguousarray(given, dtype=np.uint32)

    def _decode_checked(self, ids: Ids) -> bytes:
        if self._is_plain(ids):
            return self._encoder.decode(ids)
        places = np.flatnonzero(self._is_special[ids])
        parts: list[bytes] = []
        begin = 0
        for place in places.tolist():
            parts += [self._encoder.decode(ids[begin:place]), self._special_bytes[int(ids[place])]]
            begin = place + 1
        parts.append(self._encoder.decode(ids[begin:]))
        return b"".join(parts)


def _to_array(ids: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(ids if hasattr(ids, "__len__") else list(ids))  # type: ignore[arg-type]
    except (ValueError, OverflowError, TypeError):
        raise ValueError(_expected(f"{ids!r:.60}")) from None


def _expected(got: str) -> str:
    return f"ids: expected a list of whole numbers, got {got}."


def offsets_of(text: str, ids: Ids, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) the first and the past-last character of each token in `text`.

    lengths   (n_ids,) bytes of each token
    """
    text_bytes = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    ends = np.cumsum(lengths[ids])
    if len(text_bytes) != (ends[-1] if len(ends) else 0):
        # Half a pair is 3 bytes, as U+FFFD is; a whole pair in halves is 6 where 4 are encoded.
        raise ValueError(
            "encode_with_offsets: expected Unicode text, got a surrogate pair in two halves; join "
            'it first: text.encode("utf-16", "surrogatepass").decode("utf-16").'
        )
    starts_before = np.concatenate([[0], np.cumsum((text_bytes & 0xC0) != 0x80)])
    offsets = np.empty((len(ids), 2), dtype=np.int64)
    offsets[:, 0] = starts_before[ends - lengths[ids] + 1] - 1
    offsets[:, 1] = starts_before[ends]
    return offsets
