"""What the BPE benchmark works on, and how each contender does the work."""

import base64
import hashlib
import os
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Setup, Unavailable
from benchmarks.peers import installed
from groundup.data.corpora import standard_library
from groundup.inspect.timing import Contender
from groundup.tokenizer import PATTERNS, Tokenizer

PATTERN = "gpt2"
ENCODED_BYTES = 10**7


@dataclass(frozen=True)
class Inputs:
    """Documents, and for encoding how to make the vocabulary: anew, so that its caches are cold."""

    texts: list[str]
    fresh: Callable[[], Tokenizer] | None = None

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.texts)

    def found(self) -> Mapping[str, int | str]:
        digest = hashlib.sha256("".join(self.texts).encode()).hexdigest()
        return {"bytes": self.n_bytes, "documents": len(self.texts), "sha256": digest[:16]}

    def tokenizer(self) -> Tokenizer:
        assert self.fresh is not None, "encoding cases are made with a vocabulary"
        return self.fresh()


@cache
def real_text(max_bytes: int) -> list[str]:
    """The standard library first, then installed packages, at most max_bytes."""
    library = standard_library(max_bytes)
    left = max_bytes - sum(len(document.text.encode()) for document in library)
    packages = standard_library(left, folder=sysconfig.get_path("purelib"))
    return [document.text for document in (*library, *packages)]


@cache
def trained(vocab_size: int) -> Tokenizer:
    """Learnt from every second document; the others are what is encoded."""
    texts = real_text(2 * ENCODED_BYTES)[::2]
    return Tokenizer.train(texts, vocab_size=vocab_size, pattern=PATTERN)


def training_text(max_bytes: int) -> Callable[[], Inputs]:
    return lambda: Inputs(real_text(max_bytes))


def for_own_vocabulary() -> Inputs:
    # Truncated to all of itself: the same vocabulary with an encoder of its own.
    def fresh() -> Tokenizer:
        own = trained(32_768)
        return own.truncate(own.n_vocab)

    return Inputs(real_text(2 * ENCODED_BYTES)[1::2], fresh)


def for_ranks(name: str, pattern: str) -> Callable[[], Inputs]:
    def fresh() -> Tokenizer:
        for folder in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep):
            file = Path(folder) / "bpe" / f"{name}.tiktoken"
            if folder and file.is_file():
                return Tokenizer.from_tiktoken(file, pattern)
        raise Unavailable(f"bpe/{name}.tiktoken is not in a folder of GROUNDUP_DATA")

    return lambda: Inputs(real_text(2 * ENCODED_BYTES)[1::2], fresh)


def train_ours(
    vocab_size: int, threads: int | None = None
) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        return lambda: Tokenizer.train(
            given.texts, vocab_size=vocab_size, pattern=PATTERN, threads=threads
        )

    return setup


def train_huggingface(vocab_size: int) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        hf = installed("tokenizers")

        def train() -> None:
            tokenizer = hf.Tokenizer(hf.models.BPE())
            tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
            trainer = hf.trainers.BpeTrainer(
                vocab_size=vocab_size,
                show_progress=False,
                initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
            )
            tokenizer.train_from_iterator(given.texts, trainer)

        return train

    return setup


def train_rustbpe(vocab_size: int) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        rustbpe = installed("rustbpe")
        pattern = PATTERNS[PATTERN]
        return lambda: rustbpe.Tokenizer().train_from_iterator(
            iter(given.texts), vocab_size, pattern=pattern
        )

    return setup


def cold_to_numpy(given: Inputs) -> Contender:
    """Each time by a tokenizer that has encoded nothing yet."""
    newest = [given.tokenizer()]

    def prepare() -> None:
        newest[0] = given.tokenizer()

    return Contender(lambda: [newest[0].encode_to_numpy(text) for text in given.texts], prepare)


def warm_to_numpy(given: Inputs) -> Callable[[], Any]:
    """By a tokenizer that has encoded these texts before."""
    encode = given.tokenizer().encode_to_numpy
    return lambda: [encode(text) for text in given.texts]


def warm_to_list(given: Inputs) -> Callable[[], Any]:
    encode = given.tokenizer().encode_ordinary
    return lambda: [encode(text) for text in given.texts]


def batch(threads: int) -> Setup:
    def setup(given: Inputs) -> Callable[[], Any]:
        encode = given.tokenizer().encode_batch
        return lambda: encode(given.texts, num_threads=threads, disallowed_special=())

    return setup


def tiktoken_to_numpy(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encode = given.tokenizer().to_tiktoken().encode_to_numpy
    return lambda: [encode(text, disallowed_special=()) for text in given.texts]


def tiktoken_to_list(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encode = given.tokenizer().to_tiktoken().encode_ordinary
    return lambda: [encode(text) for text in given.texts]


def tiktoken_batch(threads: int) -> Setup:
    def setup(given: Inputs) -> Callable[[], Any]:
        installed("tiktoken")
        encode = given.tokenizer().to_tiktoken().encode_ordinary_batch
        return lambda: encode(given.texts, num_threads=threads)

    return setup


def huggingface_to_list(given: Inputs) -> Callable[[], Any]:
    installed("tokenizers")
    encode = given.tokenizer().to_hf().encode
    return lambda: [encode(text).ids for text in given.texts]


def decode(given: Inputs) -> Callable[[], Any]:
    tokenizer = given.tokenizer()
    encoded = [tokenizer.encode_ordinary(text) for text in given.texts]
    return lambda: [tokenizer.decode(ids) for ids in encoded]


def tiktoken_decode(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encoding = given.tokenizer().to_tiktoken()
    encoded = [encoding.encode_ordinary(text) for text in given.texts]
    return lambda: [encoding.decode(ids) for ids in encoded]


def copy_of_text(given: Inputs) -> Callable[[], Any]:
    source = np.frombuffer("".join(given.texts).encode(), np.uint8)
    destination = np.empty_like(source)
    return lambda: np.copyto(destination, source)


class Files:
    """One vocabulary in every format."""

    def __init__(self, vocab_size: int) -> None:
        self.folder = tempfile.TemporaryDirectory()  # goes when the inputs do
        tokenizer = trained(vocab_size)
        self.own, self.ranks, self.huggingface = (
            Path(self.folder.name) / name
            for name in ("tokenizer.json", "ranks.tiktoken", "huggingface.json")
        )
        tokenizer.save(self.own)
        tokenizer.to_tiktoken(self.ranks)
        tokenizer.to_hf(self.huggingface)


def tiktoken_load(files: Files) -> Callable[[], Any]:
    tiktoken = installed("tiktoken")

    def load() -> Any:
        # tiktoken.load's own loop, without its cache in the temporary folder.
        lines = (line.split() for line in files.ranks.read_bytes().splitlines())
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        return tiktoken.Encoding(
            "ranks", pat_str=PATTERNS[PATTERN], mergeable_ranks=ranks, special_tokens={}
        )

    return load


def huggingface_load(files: Files) -> Callable[[], Any]:
    hf = installed("tokenizers")
    return lambda: hf.Tokenizer.from_file(str(files.huggingface))
