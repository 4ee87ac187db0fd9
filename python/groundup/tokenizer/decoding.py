"""Ids to bytes. The native decoder takes what is plainly ids; what it refuses is looked at here.

So the usual case is one call, and every other gets its sentence: which id is no token, or what
came instead of whole numbers.
"""

from array import array
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.tokenizer.encoders import Ids
from groundup.tokenizer.engine import native_core
from groundup.tokenizer.vocabulary import Vocabulary


class Decoder:
    def __init__(self, vocabulary: Vocabulary) -> None:
        tokens = list(vocabulary.tokens)
        tokens += [b""] * (vocabulary.n_ids - len(tokens))
        for name, i in vocabulary.specials.items():
            tokens[i] = name.encode()
        for i, token in vocabulary.decode_only.items():
            tokens[i] = token
        self._tokens = tokens
        core = native_core()
        self._native = None if core is None else core.BpeDecoder(tokens)

    def token_bytes(self) -> list[bytes]:
        """Of every id, a special token's name among them; b"" where an id is unused."""
        return self._tokens.copy()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(n_ids,) bytes of each token."""
        return np.fromiter(map(len, self._tokens), np.int64, len(self._tokens))

    def decode(self, ids: ArrayLike, errors: str) -> str:
        if not isinstance(errors, str):
            raise TypeError(f'errors: expected "replace" or "strict", got {errors!r:.60}.')
        if self._native is not None:
            text: str | None = self._native.decode(ids, errors)
            if text is not None:
                return text
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        if self._native is None:
            return b"".join(map(self._tokens.__getitem__, self._checked(ids).tolist()))
        decoded: bytes | None = self._native.decode_bytes(ids)
        if decoded is None:
            decoded = self._native.decode_bytes(self._checked(ids))
        assert decoded is not None, "checked ids have tokens"
        return decoded

    def decode_batch(self, batch: Iterable[ArrayLike], errors: str) -> list[str]:
        if not isinstance(batch, Iterable):
            raise TypeError(f"batch: expected several lists of ids, got {type(batch).__name__}.")
        return [self.decode(ids, errors) for ids in batch]

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
        is_large = given.dtype == object and all(isinstance(i, int) for i in given.flat)
        if given.ndim == 0 or not (given.dtype.kind in "iu" or is_large):
            raise ValueError(_expected(f"{ids!r:.60}"))
        n_ids = len(self._tokens)
        if given.min() < 0 or given.max() >= n_ids or not self.lengths[given].all():
            bad = next(i for i in given.tolist() if not 0 <= i < n_ids or not self._tokens[i])
            unused = " and this one is unused" if 0 <= bad < n_ids else ""
            raise ValueError(
                f"ids: {bad} is no token; this vocabulary has ids from 0 to {n_ids - 1}{unused}."
            )
        return np.ascontiguousarray(given, dtype=np.uint32)


def _to_array(ids: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(ids if hasattr(ids, "__len__") else list(ids))  # type: ignore[arg-type]
    except (ValueError, OverflowError, TypeError):
        raise ValueError(_expected(f"{ids!r:.60}")) from None


def _expected(got: str) -> str:
    return f"ids: expected a list of whole numbers, got {got}."


def byte_offsets_of(text: str, ids: Ids, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) the first and the past-last byte of each token in `text`'s UTF-8.

    lengths   (n_ids,) bytes of each token
    """
    sizes = lengths[ids]
    ends = np.cumsum(sizes)
    # Half a pair is 3 bytes, as U+FFFD is; a whole pair in halves is 6 where 4 are encoded.
    if len(text.encode("utf-8", "surrogatepass")) != (ends[-1] if len(ends) else 0):
        raise ValueError(
            "encode_with_offsets: expected Unicode text, got a surrogate pair in two halves; join "
            'it first: text.encode("utf-16", "surrogatepass").decode("utf-16").'
        )
    return np.stack([ends - sizes, ends], axis=1)


def offsets_of(text: str, ids: Ids, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) the first and the past-last character of each token in `text`.

    lengths   (n_ids,) bytes of each token
    """
    in_bytes = byte_offsets_of(text, ids, lengths)
    text_bytes = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    starts_before = np.concatenate([[0], np.cumsum((text_bytes & 0xC0) != 0x80)])
    return np.stack([starts_before[in_bytes[:, 0] + 1] - 1, starts_before[in_bytes[:, 1]]], axis=1)
