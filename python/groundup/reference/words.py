"""Tokenizers that look pieces of text up in a table: characters, words, what white space parts.

The first idea of a tokenizer, and what it runs into: a piece that is not in the table has no id.
Either it becomes <unk>, and is lost, or it falls back to its bytes, which are always there. Byte
pair encoding (bpe.py) grows its pieces out of the bytes instead, and has neither trouble.
Standard library and the regex module. Source: Bengio et al. 2003 for words and <unk>; Kudo and
Richardson 2018 (arXiv:1808.06226) for byte fallback.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import regex

UNKNOWN = "<unk>"  # id 0: what is not in the table
END_OF_TEXT = "<|endoftext|>"  # id 1: between documents
SPECIALS = (UNKNOWN, END_OF_TEXT)

# A word is letters, marks and digits, with apostrophes inside; any other sign stands alone. The
# marks matter: Python's own \w has no vowel signs, and would cut हिन्दी into ह, न and द. So do the
# two joiners, which have no width and say how the letters around them are drawn: ශ්‍රී, می‌خواهم.
_LETTER = r"[\p{L}\p{M}\p{N}_]"
_RUN = rf"{_LETTER}[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d]*"
WORD_OR_SIGN = rf"{_RUN}(?:['’]{_RUN})*|[^\s\p{{L}}\p{{M}}\p{{N}}_]"
_NO_SPACE_BEFORE = frozenset(",.;:?!)]}%…।")
_NO_SPACE_AFTER = frozenset("([{")


class Way(NamedTuple):
    """How text is cut into pieces, and how pieces become text again."""

    cut: Callable[[str], list[str]]
    join: Callable[[Sequence[str]], str]


def cut_words(text: str) -> list[str]:
    """Words and signs; white space is dropped.

    >>> cut_words("Don't panic, (dear) reader!")
    ["Don't", 'panic', ',', '(', 'dear', ')', 'reader', '!']
    """
    return [match.group() for match in regex.finditer(WORD_OR_SIGN, text)]


def join_words(words: Sequence[str]) -> str:
    """Words with a space between them, but none before a comma or after a bracket: a guess.

    >>> join_words(["Don't", "panic", ",", "(", "dear", ")", "reader", "!"])
    "Don't panic, (dear) reader!"
    """
    text = ""
    for word in words:
        glued = not text or word in _NO_SPACE_BEFORE or text[-1] in _NO_SPACE_AFTER
        text += word if glued else " " + word
    return text


CHARACTERS = Way(list, "".join)
WHITESPACE = Way(str.split, " ".join)
WORDS = Way(cut_words, join_words)


class TableTokenizer:
    """Pieces and their ids: <unk>, <|endoftext|>, with `byte_fallback` the 256 bytes, the pieces.

    pieces         in order of their ids, each once
    way            CHARACTERS, WHITESPACE or WORDS
    byte_fallback  a piece that is not in the table becomes its UTF-8 bytes, not <unk>
    """

    def __init__(self, pieces: Sequence[str], way: Way, *, byte_fallback: bool = False) -> None:
        self.way = way
        self.parts = not way.cut(" ")  # whether white space parts the pieces and is none itself
        self.n_bytes = 256 if byte_fallback else 0
        self.pieces = list(pieces)
        self.first = len(SPECIALS) + self.n_bytes
        self.ids = {piece: self.first + i for i, piece in enumerate(self.pieces)}
        if len(self.ids) < len(self.pieces):
            twice = next(piece for piece, n in Counter(self.pieces).items() if n > 1)
            raise ValueError(f"pieces: expected each once, got {twice!r} twice")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        way: Way,
        *,
        max_pieces: int | None = None,
        byte_fallback: bool = False,
    ) -> "TableTokenizer":
        """A table of the pieces that occur, the most frequent first, at most `max_pieces` of them.

        Equally frequent ones stand in the order of their code points.
        """
        counts = Counter(piece for text in texts for piece in way.cut(text))
        ordered = sorted(counts, key=lambda piece: (-counts[piece], piece))
        return cls(ordered[:max_pieces], way, byte_fallback=byte_fallback)

    @property
    def n_vocab(self) -> int:
        """Number of ids."""
        return self.first + len(self.pieces)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of a text.

        allow_special  "<unk>" and "<|endoftext|>" in the text become their ids; otherwise they are
                       text like any other, so that no text can end a document by spelling it out
        """
        ids: list[int] = []
        if not allow_special:
            for piece in self.way.cut(text):
                found = self._ids_of(piece)
                # Two unknown words side by side: the space between them that the way leaves out
                # is kept as its byte, or else they would come back as one.
                if ids and self._is_byte(ids[-1]) and self._is_byte(found[0]) and self.parts:
                    ids.append(len(SPECIALS) + ord(" "))
                ids += found
            return ids
        for part in regex.split("(" + "|".join(map(regex.escape, SPECIALS)) + ")", text):
            ids += [SPECIALS.index(part)] if part in SPECIALS else self.encode(part)
        return ids

    def encode_documents(self, texts: Iterable[str]) -> list[int]:
        """The texts one after the other, each followed by the id of <|endoftext|>."""
        return [i for text in texts for i in [*self.encode(text), SPECIALS.index(END_OF_TEXT)]]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids. White space comes back as the `way` joins, bytes as far as they are UTF-8.

        Raises IndexError for an id that is none.
        """
        pieces: list[str] = []
        held = bytearray()  # bytes of pieces that were not in the table, until another id comes
        for i in ids:
            if not 0 <= i < self.n_vocab:
                raise IndexError(f"ids: expected 0 to {self.n_vocab - 1}, got {i}")
            if self._is_byte(i):
                held.append(i - len(SPECIALS))
                continue
            pieces += self.way.cut(held.decode("utf-8", errors="replace"))
            held.clear()
            pieces.append(SPECIALS[i] if i < len(SPECIALS) else self.pieces[i - self.first])
        pieces += self.way.cut(held.decode("utf-8", errors="replace"))
        return self.way.join(pieces)

    def _is_byte(self, i: int) -> bool:
        return len(SPECIALS) <= i < self.first

    def _ids_of(self, piece: str) -> list[int]:
        if piece in self.ids:
            return [self.ids[piece]]
        if self.n_bytes:
            return [len(SPECIALS) + byte for byte in piece.encode("utf-8", errors="replace")]
        return [SPECIALS.index(UNKNOWN)]
