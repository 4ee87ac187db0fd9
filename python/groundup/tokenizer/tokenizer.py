"""The tokenizer that training scripts use: text to ids and back, trained here or read from others.

Names and arguments are tiktoken's where it has the same thing.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.tokenizer import explain as explaining
from groundup.tokenizer.counts import whole_number
from groundup.tokenizer.encoding_files import EncodesFiles
from groundup.tokenizer.engine import without_surrogates
from groundup.tokenizer.exchange import Exchange
from groundup.tokenizer.stream import StreamDecoder
from groundup.tokenizer.trainable import Trainable
from groundup.tokenizer.vocabulary import Merges, Vocabulary, truncated

END_OF_TEXT = "<|endoftext|>"


class Tokenizer(Trainable, EncodesFiles, Exchange):
    """A byte-level BPE tokenizer. Any text and any bytes have ids, and those give them back.

    Make one with `train`, `load` or a `from_` method. It never changes; any number of threads
    may use one.
    """

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

    def decode_batch(self, batch: Iterable[ArrayLike], *, errors: str = "replace") -> list[str]:
        """`decode` for each of several lists of ids.

        On one thread: reading a list of ints and making a str both need the interpreter's lock,
        and are nearly all of the work.
        """
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
        number = whole_number(token_or_text)
        if number is None:
            raise TypeError(
                "explain: expected a token's id or bytes, or a text, got "
                f"{type(token_or_text).__name__}."
            )
        return explainer.token(number)

    def explain_merges(self) -> Iterator[tuple[explaining.Merge, str | None]]:
        """Each merge in the order in which it was learned, and a chunk that holds its token.

        Its count is how often the pair occurred when it was merged: why it was its turn. None
        where the merges were imported.
        """
        return explaining.Explainer(self._known_training()).merges()

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
            (list(a.tokens), a.pattern, dict(a.specials), a.whole_chunks, a.base)
            == (list(b.tokens), b.pattern, dict(b.specials), b.whole_chunks, b.base)
        ) and np.array_equal(a.merges, b.merges)

    def __hash__(self) -> int:
        return hash((self.n_vocab, self._vocabulary.pattern, self._vocabulary.merges.tobytes()))

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[Vocabulary]]:
        return Tokenizer, (self._known_training(),)
