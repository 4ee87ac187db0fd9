"""A folder of shards, split into train and validation by document.

    train-00000.tokens  validation-00000.tokens  ...  tokenizer.json  dataset.json

dataset.json is written last: a folder without it is one whose writing did not finish.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from groundup._files import write_atomic
from groundup.data.shards import Tokens, write_shard

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
INDEX = "dataset.json"
_FORMAT = 1


def split_of(document: str, validation_fraction: float) -> Split:
    """The side of the split on which a document falls, by its text alone.

    Neither order nor machine nor the other documents matter, and two copies of a document never
    fall on different sides.
    """
    digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()
    share = int.from_bytes(digest[:8], "big") / 2.0**64
    return "validation" if share < validation_fraction else "train"


class DatasetWriter:
    """Collects documents' ids into shards; a context manager that finishes the folder.

    vocab_size      every id is below it; at most 65,536 stores an id in two bytes
    tokenizer_hash  32 bytes; zeros when unknown
    shard_tokens    tokens per shard, all of which are held in memory until it is full

    Shards that the folder holds already are removed. Leaving through an exception leaves no
    dataset.json, so that nobody trains on a part.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        vocab_size: int,
        tokenizer_hash: bytes = bytes(32),
        shard_tokens: int = 1 << 25,
    ) -> None:
        if shard_tokens < 1:
            raise ValueError(f"shard_tokens: expected at least 1, got {shard_tokens}")
        self.folder = Path(folder)
        self.vocab_size = vocab_size
        self.tokenizer_hash = tokenizer_hash
        self.n_tokens: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self.n_documents: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._shard_tokens = shard_tokens
        self._files: dict[Split, list[str]] = {split: [] for split in SPLITS}
        self._waiting: dict[Split, list[NDArray[np.integer]]] = {split: [] for split in SPLITS}
        self._n_waiting: dict[Split, int] = dict.fromkeys(SPLITS, 0)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The index first: from here on the folder is unfinished.
        (self.folder / INDEX).unlink(missing_ok=True)
        for split in SPLITS:
            for stale in self.folder.glob(f"{split}-*.tokens"):
                stale.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        for split in SPLITS:
            self._flush(split)
        index = {
            "format": _FORMAT,
            "vocab_size": self.vocab_size,
            "tokenizer_hash": self.tokenizer_hash.hex(),
            "splits": {
                split: {
                    "files": self._files[split],
                    "tokens": self.n_tokens[split],
                    "documents": self.n_documents[split],
                }
                for split in SPLITS
            },
        }
        write_atomic(self.folder / INDEX, (json.dumps(index, indent=2) + "\n").encode())

    def add(self, split: Split, ids: NDArray[np.integer] | list[int]) -> None:
        """Append one document's ids (n,), with the token that ends it if there is one."""
        document = np.asarray(ids, dtype=np.int64) if isinstance(ids, list) else ids
        self.n_documents[split] += 1
        self.n_tokens[split] += document.size
        for part in _cut(document, self._shard_tokens - self._n_waiting[split], self._shard_tokens):
            self._waiting[split].append(part)
            self._n_waiting[split] += part.size
            if self._n_waiting[split] == self._shard_tokens:
                self._flush(split)

    def _flush(self, split: Split) -> None:
        if not self._n_waiting[split]:
            return
        name = f"{split}-{len(self._files[split]):05d}.tokens"
        write_shard(
            self.folder / name,
            np.concatenate(self._waiting[split]),
            vocab_size=self.vocab_size,
            tokenizer_hash=self.tokenizer_hash,
        )
        self._files[split].append(name)
        self._waiting[split].clear()
        self._n_waiting[split] = 0


def _cut(ids: NDArray[np.integer], first: int, others: int) -> Iterator[NDArray[np.integer]]:
    start, stop = 0, first
    while start < ids.size:
        yield ids[start:stop]
        start, stop = stop, stop + others


def open_tokens(folder: str | Path, split: Split) -> Tokens:
    """The tokens of one side of a dataset.

    Raises FileNotFoundError, or ValueError for a folder that is unfinished, damaged, or has no
    tokens on that side.
    """
    folder = Path(folder)
    index = folder / INDEX
    if not index.is_file():
        state = (
            "prepare it again: it was not finished"
            if any(folder.glob("*.tokens"))
            else "`groundup prepare` makes such a folder"
        )
        raise FileNotFoundError(f"{folder}: expected a folder with {INDEX}; {state}")
    try:
        told = json.loads(index.read_text(encoding="utf-8"))
        version, side = told["format"], told["splits"][split]
        names, n_tokens = [str(name) for name in side["files"]], int(side["tokens"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{index}: the file is damaged; prepare the folder again") from error
    if version != _FORMAT:
        raise ValueError(f"{index}: expected format version {_FORMAT}, got {version}")
    if not names:
        raise ValueError(
            f"{folder}: there are no {split} tokens; give `groundup prepare` more documents or "
            "a larger --validation-fraction"
        )
    if any(Path(name).name != name for name in names):
        raise ValueError(f"{index}: the file is damaged; prepare the folder again")
    tokens = Tokens([folder / name for name in names])
    if len(tokens) != n_tokens:
        raise ValueError(
            f"{folder}: {INDEX} tells of {n_tokens} {split} tokens and the shards hold "
            f"{len(tokens)}; prepare it again"
        )
    return tokens
