"""Text to ids: one text, several, or one that comes in parts."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from groundup.tokenizer.counts import threads_or_default
from groundup.tokenizer.decoding import offsets_of
from groundup.tokenizer.encoders import Ids
from groundup.tokenizer.engine import without_surrogates
from groundup.tokenizer.parts import Parts
from groundup.tokenizer.specials import AllowedSpecial, DisallowedSpecial
from groundup.tokenizer.stream import encodable_parts


class Encodes(Parts):
    """tiktoken's names and its rule for special tokens."""

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[int]:
        """The ids of `text`.

        Text that spells out a special token raises ValueError, unless the token is in
        `allowed_special` (then it is one id) or no longer in `disallowed_special` (then it is
        ordinary text), as in tiktoken. Half a surrogate pair is encoded as U+FFFD.
        """
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
    ) -> Ids:
        """`encode` as an array (n,) uint32, several times faster than a list."""
        allowed = self._specials.allowed_in(text, allowed_special, disallowed_special)
        parts = [
            self._ordinary_to_numpy(piece)
            if special is None
            else np.array([special], dtype=np.uint32)
            for piece, special in self._specials.pieces(text, allowed)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty(0, np.uint32), *parts])

    def _ordinary_to_numpy(self, text: str) -> Ids:
        try:
            return self._encoder.encode_to_numpy(text)
        except UnicodeEncodeError:
            return self._encoder.encode_to_numpy(without_surrogates(text))

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
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids (n,) and where they stand: (n, 2) int64, first and past-last character.

        A token that begins or ends inside a character covers that whole character, so `text`
        between a token's offsets always holds the token.
        """
        ids = self.encode_to_numpy(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return ids, offsets_of(text, ids, self._decoder.lengths)

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
        can_cut = self._vocabulary.pattern.name not in (None, "none")
        for part in encodable_parts(texts, can_cut, self._specials.around):
            yield from self.encode(
                part, allowed_special=allowed_special, disallowed_special=disallowed_special
            )


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}.")
    return text


def _list_of(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts: expected a list of str, got one str; pass [text].")
    return [_text(text) for text in texts]
