"""Documents become a dataset: encoded on several threads, split by document, written in shards."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from groundup.data.corpora import Document
from groundup.data.dataset import DatasetWriter, Split, split_of

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer

TOKENIZER = "tokenizer.json"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Prepared:
    """What became of the documents; n_bytes counts UTF-8, tokens include those that end a text."""

    folder: Path
    n_bytes: int
    n_documents: dict[Split, int]
    n_tokens: dict[Split, int]
    elapsed_seconds: float


def prepare(
    documents: Sequence[Document],
    tokenizer: "Tokenizer",
    folder: str | Path,
    *,
    validation_fraction: float = 0.1,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Write `documents` as token shards, with the tokenizer beside them, into `folder`.

    tokenizer            where it has <|endoftext|>, that token ends every document; text that
                         spells out a special token is ordinary text
    validation_fraction  of the documents is held out, each by its own text (see split_of)
    threads              for encoding; None is one per core
    progress             called with (bytes done, bytes in all)

    Shards that `folder` holds are replaced. Raises ValueError when all documents fall on
    one side of the split, OSError when the disk is full.
    """
    begun = time.monotonic()
    folder = Path(folder)
    if not 0 < validation_fraction < 1:
        raise ValueError(
            f"validation_fraction: expected a number between 0 and 1, got {validation_fraction}"
        )
    sides = [split_of(document.text, validation_fraction) for document in documents]
    if len(set(sides)) < 2:
        raise ValueError(
            f"documents: expected some to train on and some to hold out, got {len(documents)} that "
            "all fall on one side; give more text or another validation fraction"
        )
    total, done = sum(len(document.text.encode()) for document in documents), 0
    ending = [tokenizer.eot_token] if END_OF_TEXT in tokenizer.special_tokens_set else []
    with DatasetWriter(folder, vocab_size=tokenizer.n_vocab) as writer:
        tokenizer.save(folder / TOKENIZER)
        writer.tokenizer_hash = tokenizer_hash(folder / TOKENIZER)
        encoded = _encoded(documents, tokenizer, threads)
        for document, split, ids in zip(documents, sides, encoded, strict=True):
            writer.add(split, np.append(ids, np.asarray(ending, dtype=ids.dtype)))
            done += len(document.text.encode())
            if progress is not None:
                progress(done, total)
    return Prepared(folder, total, writer.n_documents, writer.n_tokens, time.monotonic() - begun)


def tokenizer_hash(path: Path) -> bytes:
    """SHA-256 of a tokenizer's file: what ties shards and checkpoints to it. Saving a tokenizer
    that was loaded gives the same bytes."""
    return hashlib.sha256(path.read_bytes()).digest()


def _encoded(
    documents: Sequence[Document], tokenizer: "Tokenizer", threads: int | None
) -> Iterator[NDArray[np.uint32]]:
    from groundup.tokenizer.engine import default_threads

    def encode(document: Document) -> NDArray[np.uint32]:
        return tokenizer.encode_to_numpy(document.text, disallowed_special=())

    # A few at a time: the pool takes all it is given, and the ids of all need not be in memory.
    n_threads = threads or default_threads()
    with ThreadPoolExecutor(n_threads) as pool:
        for first in range(0, len(documents), 16 * n_threads):
            yield from pool.map(encode, documents[first : first + 16 * n_threads])
