"""Text to ids: one text, several, or one that comes in parts."""

import operator
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from groundup.tokenizer.counts import threads_or_default
from groundup.tokenizer.decoding import byte_offsets_of, offsets_of
from groundup.tokenizer.encoders import Ids
from groundup.tokenizer.engine import without_surrogates
from groundup.tokenizer.parts import Parts
from groundup.tokenizer.specials import AllowedSpecial, DisallowedSpecial
from groundup.tokenizer.stream import encodable_parts

_SEEDS = 1 << 64


class Encodes(Parts):
    """tiktoken's names and its rule for special tokens."""

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
        dropout: float = 0.0,
        seed: int | None = None,
    ) -> list[int]:
        """The ids of `text`.

        Text that spells out a special token raises ValueError, unless the token is in
        `allowed_special` (then it is one id) or no longer in `disallowed_special` (then it is
        ordinary text), as in tiktoken. Half a surrogate pair is encoded as U+FFFD.

        dropout   the probability, drawn anew for each pair before each merge, of not merging it
                  now (BPE-dropout, Provilkov et al. 2020): 0 merges all that can be, 1 leaves
                  bytes. Every outcome decodes to `text`. For training, not for a prompt
        seed      of these draws, 0 to 2^64 - 1: the same ids each time; None: others each time
        """
        if dropout or seed is not None:
            drawn: list[int] = self.encode_to_numpy(
                text,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
                dropout=dropout,
                seed=seed,
            ).tolist()
            return drawn
        allowed = self._specials.allowed_in(text, allowed_special, disallowed_special)
        if not allowed:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for piece, special in self._specials.pieces(text, allowed):
            if special is None:
                ids += self.encode_ordinary(piece)
            else:
                ids.append(special)
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text`, special tokens in it taken as ordinary text."""
        try:
            return self._encoder.encode(text)
        except (UnicodeEncodeError, TypeError):
            return self._encoder.encode(without_surrogates(_text(text)))

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
        dtype: DTypeLike = np.uint32,
        dropout: float = 0.0,
        seed: int | None = None,
    ) -> NDArray[Any]:
        """`encode` as an array (n,), several times faster than a list.

        dtype   uint32, or uint16 where n_vocab is at most 65536, else ValueError
        """
        allowed = self._specials.allowed_in(text, allowed_special, disallowed_special)
        # What most calls ask: of a short text the questions below take longer than its encoding.
        if dtype is np.uint32 and not allowed and not dropout and seed is None:
            return _native_text(self._encoder.encode_to_numpy, text)
        narrow = self._is_narrow(dtype)
        pieces = self._specials.pieces(text, allowed)
        encode: Callable[[str], NDArray[Any]] = (
            self._encoder.encode_to_uint16 if narrow else self._encoder.encode_to_numpy
        )
        if dropout or seed is not None:
            encode = self._with_dropout(dropout, seed)
        parts = [
            _native_text(encode, piece) if special is None else np.array([special], np.uint32)
            for piece, special in pieces
        ]
        if len(parts) == 1 and parts[0].dtype == dtype:
            return parts[0]
        kind = np.uint16 if narrow else np.uint32
        return np.concatenate([np.empty(0, kind), *parts], dtype=kind, casting="unsafe")

    def _is_narrow(self, dtype: DTypeLike) -> bool:
        kind = np.dtype(dtype)
        if kind not in (np.uint16, np.uint32):
            raise ValueError(f"dtype: expected uint32 or uint16, got {kind}.")
        if kind == np.uint16 and self._vocabulary.n_ids > 1 << 16:
            raise ValueError(
                f"dtype: uint16 holds ids below 65536, and this vocabulary has "
                f"{self._vocabulary.n_ids}; pass uint32."
            )
        return kind == np.uint16

    def _with_dropout(self, dropout: float, seed: int | None) -> Callable[[str], Ids]:
        """An encoder of the pieces of one text, each with draws of its own."""
        if not isinstance(dropout, float | int | np.floating) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout: expected a number from 0 to 1, got {dropout!r:.60}.")
        try:
            first = secrets.randbits(64) if seed is None else operator.index(seed)
        except TypeError:
            first = -1
        if not 0 <= first < _SEEDS:
            raise ValueError(f"seed: expected a whole number from 0 to 2^64 - 1, got {seed!r:.60}.")
        if dropout == 0:
            return self._encoder.encode_to_numpy
        seeds = count(first)
        return lambda text: self._encoder.encode_with_dropout(text, dropout, next(seeds) % _SEEDS)

    def encode_batch(
        self,
        texts: Sequence[str],
        *,
        num_threads: int | None = None,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[list[int]]:
        """`encode` for each text, on `num_threads` threads (None: one per core)."""
        texts = _list_of(texts)
        allowed = [
            self._specials.allowed_in(text, allowed_special, disallowed_special) for text in texts
        ]
        if not any(allowed):
            return self.encode_ordinary_batch(texts, num_threads=num_threads)
        cut = [
            list(self._specials.pieces(text, names))
            for text, names in zip(texts, allowed, strict=True)
        ]
        ordinary = [piece for pieces in cut for piece, special in pieces if special is None]
        encoded = iter(self.encode_ordinary_batch(ordinary, num_threads=num_threads))
        joined: list[list[int]] = []
        for pieces in cut:
            ids = [next(encoded) if special is None else [special] for _, special in pieces]
            joined.append(ids[0] if len(ids) == 1 else [i for some in ids for i in some])
        return joined

    def encode_ordinary_batch(
        self, texts: Sequence[str], *, num_threads: int | None = None
    ) -> list[list[int]]:
        """`encode_ordinary` for each text."""
        texts, threads = _list_of(texts), threads_or_default(num_threads)
        try:
            return self._encoder.encode_batch(texts, threads)
        except UnicodeEncodeError:
            return self._encoder.encode_batch([without_surrogates(text) for text in texts], threads)

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
        unit: Literal["characters", "bytes"] = "characters",
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids (n,) and where they stand: (n, 2) int64, first and past-last character or byte.

        A token that begins or ends inside a character covers that whole character, so `text`
        between a token's offsets always holds the token. In bytes of `text.encode()` the tokens
        lie end to end.
        """
        if unit not in ("characters", "bytes"):
            raise ValueError(f'unit: expected "characters" or "bytes", got {unit!r}.')
        ids = self.encode_to_numpy(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        lengths = self._decoder.lengths
        return ids, (byte_offsets_of if unit == "bytes" else offsets_of)(text, ids, lengths)

    def encode_iter(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> Iterator[int]:
        """The ids of one long text that comes in parts, such as an open file.

        The same ids as `encode("".join(texts))`, wherever the parts were cut, while only some
        tens of KB wait; with pattern "none" or a regex of one's own the whole text does.
        """
        if isinstance(texts, str):
            texts = [texts]
        elif not isinstance(texts, Iterable):
            raise TypeError(f"texts: expected parts of one text, got {type(texts).__name__}.")
        sought = self._specials.sought(disallowed_special)
        for part in encodable_parts(texts, self._can_cut(), sought):
            yield from self.encode(
                part, allowed_special=allowed_special, disallowed_special=disallowed_special
            )

    def _can_cut(self) -> bool:
        """Whether there are places where the pattern ends a chunk whatever follows."""
        return self._vocabulary.pattern.name not in (None, "none")


def _native_text(encode: Callable[[str], NDArray[Any]], text: str) -> NDArray[Any]:
    try:
        return encode(text)
    except UnicodeEncodeError:
        return encode(without_surrogates(text))


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}.")
    return text


def _list_of(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts: expected a list of str, got one str; pass [text].")
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts: expected a list of str, got {type(texts).__name__}.")
    return [_text(text) for text in texts]
