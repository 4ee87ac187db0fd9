"""Text to tokenizer: the first station."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup._native import core
from groundup.data.corpora import Document, read_documents, standard_library
from groundup.data.prepare import END_OF_TEXT
from groundup.inspect.timing import readable_seconds
from groundup.tokenizer import Tokenizer

VOCAB_SIZE = 512
LARGE_VOCAB_SIZE = 8_192

# Enough for a hundred documents or parts, so that a tenth of them is held out, and for a model
# that does not learn the text by heart within its time.
LEAST_BYTES = 300_000
MOST_BYTES = 8_000_000
# Without the native core the plain-Python reference trains and encodes: a share of the text then.
MOST_BYTES_WITHOUT_NATIVE = 1_000_000


@dataclass(frozen=True)
class Learned:
    """A tokenizer and what there is to say about how it was learned."""

    tokenizer: Tokenizer
    n_bytes: int
    seconds: float
    bytes_per_token: float

    def sentence(self) -> str:
        return (
            f"{self.tokenizer.n_vocab:,} tokens learned in {readable_seconds(self.seconds)}, "
            f"{self.n_bytes / self.seconds / 1e6:.0f} MB/s; "
            f"one token is {self.bytes_per_token:.2f} bytes of this text"
        )


def find_text(paths: Sequence[Path]) -> tuple[list[Document], str]:
    """The documents of `paths`, or of the standard library, and a sentence on what they are.

    Raises ValueError when there is too little to learn from.
    """
    most = MOST_BYTES if core() is not None else MOST_BYTES_WITHOUT_NATIVE
    documents = read_documents(paths, most) if paths else standard_library(most)
    n_bytes = size(documents)
    if n_bytes < LEAST_BYTES:
        raise ValueError(
            f"--text: expected at least {LEAST_BYTES:,} bytes of text to learn from, got "
            f"{n_bytes:,}; name more files, or leave --text out for the Python library's own text"
        )
    what = "your text" if paths else "this Python's own library, English and code"
    return documents, f"{n_bytes / 1e6:.1f} MB of {what}: {len(documents):,} documents"


def size(documents: Sequence[Document]) -> int:
    """Bytes of UTF-8 in all of them."""
    return sum(len(document.text.encode()) for document in documents)


def learn(texts: Sequence[str], vocab_size: int) -> Learned:
    """Train a tokenizer of vocab_size ids, the end of text among them; then encode the texts."""
    start = time.perf_counter()
    tokenizer = Tokenizer.train(texts, vocab_size, special_tokens=(END_OF_TEXT,))
    seconds = time.perf_counter() - start
    n_bytes = sum(len(text.encode()) for text in texts)
    n_tokens = sum(len(ids) for ids in encoded(tokenizer, texts))
    return Learned(tokenizer, n_bytes, seconds, n_bytes / n_tokens)


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[NDArray[np.uint32]]:
    """Ids (n,) of each text, as ordinary text: a mark that text spells out stays text."""
    return (tokenizer.encode_to_numpy(text, disallowed_special=()) for text in texts)


def texts_up_to(texts: Sequence[str], max_bytes: int) -> Iterator[str]:
    """Whole texts from the front, as many as fit; the first even if it does not."""
    taken = 0
    for text in texts:
        taken += len(text.encode())
        if taken > max_bytes and taken > len(text.encode()):
            return
        yield text


def telling_merges(tokenizer: Tokenizer, how_many: int) -> list[tuple[str, str, int]]:
    """The longest words among the tokens: (word, the parts it was merged from, how often).

    Of equal length the one learned first. A word that shares its stem with one in the list (the
    first half of its letters) is left out, so that each row tells of another.
    """
    tokens = tokenizer.token_byte_values()
    counts = tokenizer.merge_counts
    merged = {int(new): (int(left), int(right)) for left, right, new in tokenizer.merges}
    rank = {new: at for at, new in enumerate(merged)}
    words = [new for new in merged if tokens[new].strip().isalpha()]
    chosen: list[int] = []
    for new in sorted(words, key=lambda new: (-len(tokens[new].strip()), new)):
        stem = tokens[new].strip()
        stem = stem[: len(stem) // 2].lower()
        if all(stem not in tokens[other].lower() for other in chosen):
            chosen.append(new)
        if len(chosen) == how_many:
            break

    def tree(token: int, depth: int) -> str:
        if depth == 0 or token not in merged:
            return _shown(tokens[token])
        left, right = (tree(part, depth - 1) for part in merged[token])
        return f"({left} + {right})"

    return [
        (
            _shown(tokens[new]),
            " + ".join(tree(part, 1) for part in merged[new]),
            0 if counts is None else int(counts[rank[new]]),
        )
        for new in chosen
    ]


def _shown(token: bytes) -> str:
    """Spaces as dots: most words carry the space before them."""
    return token.decode("utf-8", errors="replace").replace(" ", "·")
