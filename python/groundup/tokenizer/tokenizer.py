"""The tokenizer that training scripts use: text to ids and back, trained here or read from others.

Names and arguments are tiktoken's where it has the same thing.
"""

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.tokenizer import explain as explaining
from groundup.tokenizer import (
    interop_gpt2,
    interop_huggingface,
    interop_tiktoken,
    saved,
    training,
)
from groundup.tokenizer.decoding import Decoder, offsets_of
from groundup.tokenizer.encoders import Encoder, Ids, new_encoder
from groundup.tokenizer.engine import Chunks, without_surrogates
from groundup.tokenizer.specials import AllowedSpecial, DisallowedSpecial, SpecialTokens
from groundup.tokenizer.stream import StreamDecoder, encodable_parts
from groundup.tokenizer.training import Plan, threads_or_default
from groundup.tokenizer.vocabulary import Merges, Vocabulary, truncated

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

PathLike = str | os.PathLike[str]
END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """A byte-level BPE tokenizer. Any text and any bytes have ids, and those give them back.

    Make one with `train`, `load` or a `from_` method. It never changes; any number of threads
    may use one.
    """

    def __init__(self, vocabulary: Vocabulary, training_chunks: Chunks | None = None) -> None:
        self._vocabulary = vocabulary
        # Kept until something asks where tokens were seen; see _known_training.
        self._training_chunks = training_chunks
        self._encoder: Encoder = new_encoder(vocabulary)
        self._specials = SpecialTokens(vocabulary.specials)
        self._decoder = Decoder(vocabulary)

    # Training

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary from texts, each split on its own.

        vocab_size     counts the 256 bytes and the special tokens; ids are the bytes, the
                       merges, the special tokens. It comes out smaller when no pair of
                       neighbours that occurs `min_frequency` times is left
        pattern        how text is cut before merging: a name in PATTERNS or a regex
        ties           which of equally frequent pairs is merged: "smallest_pair" by ids (as
                       rustbpe), "huggingface" (as theirs), "first_seen" (as minbpe)
        threads        None for one per core, 1024 at most; the result does not depend on it

        ValueError in a sentence for any argument that does not fit. Source: Sennrich et al.
        2016; Zero to Hero, "Let's build the GPT tokenizer".
        """
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_texts(texts, plan))

    @classmethod
    def train_files(
        cls,
        paths: Iterable[PathLike],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> "Tokenizer":
        """`train` on files of UTF-8 text, each file one text, read without holding them all."""
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_files(paths, plan))

    @classmethod
    def train_from_counts(
        cls,
        counts: Mapping[bytes, int],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> "Tokenizer":
        """`train` on chunks that are cut and counted already, `{b" the": 12345, ...}`.

        `pattern` is how text will be split when it is encoded.
        """
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_counts(counts, plan))

    # Text to ids

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
        cut = [
            list(
                self._specials.pieces(
                    text, self._specials.allowed_in(text, allowed_special, disallowed_special)
                )
            )
            for text in texts
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

    # Ids to text

    def decode(self, ids: ArrayLike, errors: str = "replace") -> str:
        """The text of ids: a list, an array or a CPU tensor of whole numbers.

        Ids cut from the middle of a text can end inside a character; errors="replace" shows
        U+FFFD there, "strict" raises UnicodeDecodeError. ValueError for an id without a token.
        """
        return self._decoder.decode(ids, errors)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """The bytes of ids, which need not be whole characters."""
        return self._decoder.decode_bytes(ids)

    def decode_batch(
        self,
        batch: Iterable[ArrayLike],
        *,
        errors: str = "replace",
        num_threads: int | None = None,
    ) -> list[str]:
        """`decode` for each of several lists of ids.

        `num_threads` is tiktoken's and changes nothing: making Python's strings takes one thread.
        """
        threads_or_default(num_threads)
        return self._decoder.decode_batch(batch, errors)

    def stream_decoder(self, errors: str = "replace") -> StreamDecoder:
        """Turns ids that come one at a time into text, never half a character."""
        return StreamDecoder(self.decode_bytes, errors)

    # What it knows

    @property
    def n_vocab(self) -> int:
        """One more than the largest id: the size of an embedding table."""
        return self._vocabulary.n_ids

    @property
    def eot_token(self) -> int:
        """The id of <|endoftext|>. ValueError where there is none."""
        if END_OF_TEXT not in self._specials.ids:
            raise ValueError(
                f"eot_token: this tokenizer has no {END_OF_TEXT}; train with "
                f'special_tokens=["{END_OF_TEXT}"].'
            )
        return self._specials.ids[END_OF_TEXT]

    @property
    def special_tokens_set(self) -> set[str]:
        return set(self._specials.names)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens and their ids."""
        return dict(self._specials.ids)

    @property
    def pattern(self) -> str:
        """The name of the split pattern in PATTERNS, or the regex where it is one's own."""
        return self._vocabulary.pattern.name or self._vocabulary.pattern.regex

    @property
    def merges(self) -> Merges:
        """(M, 3) uint32: left, right, new id, in rank order. A copy."""
        return self._vocabulary.merges.copy()

    @property
    def merge_counts(self) -> NDArray[np.uint64] | None:
        """(M,) how often each pair occurred when training merged it; None if imported."""
        known = self._vocabulary.training
        return None if known is None else known.counts.copy()

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every token by id, a special token's name, b"" for an unused id.

        tiktoken's has the ordinary tokens only, sorted by their bytes.
        """
        return self._decoder.token_bytes()

    def explain(
        self, token_or_text: int | bytes | str
    ) -> explaining.TokenExplanation | explaining.TextExplanation:
        """Why a token (its id or bytes) is one, or why a text (str) becomes its tokens.

        Print it, or walk its fields. Special tokens in a text count as such.
        """
        explainer = explaining.Explainer(self._known_training())
        if isinstance(token_or_text, str):
            pieces: list[tuple[list[bytes], str | None]] = []
            text = token_or_text
            if not text.isascii():
                text = without_surrogates(text)
            for piece, special in self._specials.pieces(text, self._specials.names):
                pieces.append(
                    (self._encoder.split(piece), None) if special is None else ([], piece)
                )
            return explaining.explain_text(explainer, text, pieces)
        if isinstance(token_or_text, bytes):
            if token_or_text not in self._vocabulary.tokens or not token_or_text:
                raise ValueError(
                    f"explain: {token_or_text!r} is no token; pass str to explain text."
                )
            return explainer.token(self._vocabulary.tokens.index(token_or_text))
        return explainer.token(operator.index(token_or_text))

    def _known_training(self) -> Vocabulary:
        """The vocabulary with where its tokens were seen, found on first need."""
        known, chunks = self._vocabulary.training, self._training_chunks
        if known is not None and chunks is not None:
            seen = explaining.seen_in(self._vocabulary, self._encoder, chunks)
            self._vocabulary = replace(self._vocabulary, training=replace(known, seen=seen))
            self._training_chunks = None
        return self._vocabulary

    def truncate(self, vocab_size: int) -> "Tokenizer":
        """A tokenizer of the first merges: the first merges of a BPE are a BPE.

        Special tokens keep their order and follow the last merge. ValueError where the ids
        do not follow the order of merges, as in some imported vocabularies.
        """
        return Tokenizer(truncated(self._known_training(), vocab_size))

    def __repr__(self) -> str:
        return f"Tokenizer(n_vocab={self.n_vocab}, pattern={self.pattern!r})"

    def __eq__(self, other: object) -> bool:
        """Whether both give the same ids for every text."""
        if not isinstance(other, Tokenizer):
            return NotImplemented
        a, b = self._vocabulary, other._vocabulary
        return (
            (list(a.tokens), a.pattern, dict(a.specials), a.whole_chunks)
            == (list(b.tokens), b.pattern, dict(b.specials), b.whole_chunks)
        ) and np.array_equal(a.merges, b.merges)

    def __hash__(self) -> int:
        return hash((self.n_vocab, self._vocabulary.pattern, self._vocabulary.merges.tobytes()))

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[Vocabulary]]:
        return Tokenizer, (self._known_training(),)

    # Files and other libraries

    def save(self, path: PathLike) -> None:
        """Write the tokenizer's own JSON, whole or not at all."""
        saved.save(self._known_training(), path)

    @classmethod
    def load(cls, path: PathLike) -> "Tokenizer":
        """Read what `save` wrote. ValueError for a file that is damaged or another's."""
        return cls(saved.load(path))

    @classmethod
    def from_tiktoken(
        cls,
        path_or_encoding: "PathLike | tiktoken.Encoding",
        pattern: str | None = None,
        *,
        special_tokens: Mapping[str, int] | None = None,
    ) -> "Tokenizer":
        """From a .tiktoken file, which needs `pattern` and `special_tokens`, or an Encoding."""
        if isinstance(path_or_encoding, str | os.PathLike):
            return cls(interop_tiktoken.from_file(path_or_encoding, pattern, special_tokens or {}))
        return cls(interop_tiktoken.from_encoding(path_or_encoding, pattern))

    @overload
    def to_tiktoken(self, path: None = None, *, name: str = ...) -> "tiktoken.Encoding": ...
    @overload
    def to_tiktoken(self, path: PathLike, *, name: str = ...) -> None: ...
    def to_tiktoken(
        self, path: PathLike | None = None, *, name: str = "groundup"
    ) -> "tiktoken.Encoding | None":
        """A tiktoken.Encoding, or with `path` a .tiktoken file (without pattern and specials).

        ValueError for a vocabulary that tiktoken would encode with differently.
        """
        if path is None:
            return interop_tiktoken.to_encoding(self._vocabulary, name)
        interop_tiktoken.to_file(self._vocabulary, path)
        return None

    @classmethod
    def from_hf(cls, source: "PathLike | tokenizers.Tokenizer | object") -> "Tokenizer":
        """From a tokenizer.json, its folder, or a tokenizer of tokenizers or transformers.

        ValueError for what cannot be expressed here: models other than byte-level BPE,
        normalizers, added spaces.
        """
        return cls(interop_huggingface.from_source(source))

    @overload
    def to_hf(self, path: None = None) -> "tokenizers.Tokenizer": ...
    @overload
    def to_hf(self, path: PathLike) -> None: ...
    def to_hf(self, path: PathLike | None = None) -> "tokenizers.Tokenizer | None":
        """A tokenizers.Tokenizer, or with `path` a tokenizer.json."""
        if path is None:
            return interop_huggingface.to_tokenizer(self._vocabulary)
        interop_huggingface.to_file(self._vocabulary, path)
        return None

    @classmethod
    def from_gpt2(cls, vocab_bpe: PathLike, encoder_json: PathLike) -> "Tokenizer":
        """From the two files of the GPT-2 release."""
        return cls(interop_gpt2.from_files(vocab_bpe, encoder_json))


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}.")
    return text


def _list_of(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts: expected a list of str, got one str; pass [text].")
    return [_text(text) for text in texts]
