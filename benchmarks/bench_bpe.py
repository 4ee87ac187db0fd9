"""BPE: train on real text against Hugging Face and rustbpe, encode against tiktoken.

The text is what this environment carries, the interpreter's library and the sources of installed
packages: English and code. Its size and SHA-256 are in the results file. The limit is one copy of
the text in memory.
"""

import hashlib
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from benchmarks.peers import installed
from groundup.data.corpora import standard_library
from groundup.tokenizer import PATTERNS, Tokenizer

_PATTERN = "gpt2"


@dataclass(frozen=True)
class Inputs:
    """Documents, and for encoding a vocabulary trained on other ones."""

    texts: list[str]
    tokenizer: Tokenizer | None

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.texts)

    def found(self) -> Mapping[str, int | str]:
        digest = hashlib.sha256("".join(self.texts).encode()).hexdigest()
        return {"bytes": self.n_bytes, "documents": len(self.texts), "sha256": digest[:16]}


def real_text(max_bytes: int) -> list[str]:
    """The standard library first, then installed packages, at most max_bytes."""
    library = standard_library(max_bytes)
    left = max_bytes - sum(len(document.text.encode()) for document in library)
    packages = standard_library(left, folder=sysconfig.get_path("purelib"))
    return [document.text for document in (*library, *packages)]


def training_text(max_bytes: int) -> Callable[[], Inputs]:
    return lambda: Inputs(real_text(max_bytes), None)


def encoding_text(max_bytes: int, vocab_size: int) -> Callable[[], Inputs]:
    """Every second document is to encode, the others are what the vocabulary was trained on."""

    def make() -> Inputs:
        texts = real_text(2 * max_bytes)
        tokenizer = Tokenizer.train(texts[::2], vocab_size=vocab_size, pattern=_PATTERN)
        return Inputs(texts[1::2], tokenizer)

    return make


def train_ours(
    vocab_size: int, threads: int | None = None
) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        return lambda: Tokenizer.train(
            given.texts, vocab_size=vocab_size, pattern=_PATTERN, threads=threads
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
        pattern = PATTERNS[_PATTERN]
        return lambda: rustbpe.Tokenizer().train_from_iterator(
            iter(given.texts), vocab_size, pattern=pattern
        )

    return setup


def encode_to_numpy(given: Inputs) -> Callable[[], Any]:
    encode = _vocabulary(given).encode_to_numpy
    return lambda: [encode(text) for text in given.texts]


def encode_to_list(given: Inputs) -> Callable[[], Any]:
    encode = _vocabulary(given).encode_ordinary
    return lambda: [encode(text) for text in given.texts]


def tiktoken_to_numpy(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encode = _vocabulary(given).to_tiktoken().encode_to_numpy
    return lambda: [encode(text, disallowed_special=()) for text in given.texts]


def tiktoken_to_list(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encode = _vocabulary(given).to_tiktoken().encode_ordinary
    return lambda: [encode(text) for text in given.texts]


def huggingface_to_list(given: Inputs) -> Callable[[], Any]:
    installed("tokenizers")
    encode = _vocabulary(given).to_hf().encode
    return lambda: [encode(text).ids for text in given.texts]


def decode(given: Inputs) -> Callable[[], Any]:
    tokenizer = _vocabulary(given)
    encoded = [tokenizer.encode_ordinary(text) for text in given.texts]
    return lambda: [tokenizer.decode(ids) for ids in encoded]


def tiktoken_decode(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encoding = _vocabulary(given).to_tiktoken()
    encoded = [encoding.encode_ordinary(text) for text in given.texts]
    return lambda: [encoding.decode(ids) for ids in encoded]


def encode_batch(threads: int) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        tokenizer = _vocabulary(given)
        return lambda: tokenizer.encode_batch(
            given.texts, num_threads=threads, disallowed_special=()
        )

    return setup


def tiktoken_batch(threads: int) -> Callable[[Inputs], Callable[[], Any]]:
    def setup(given: Inputs) -> Callable[[], Any]:
        installed("tiktoken")
        encoding = _vocabulary(given).to_tiktoken()
        return lambda: encoding.encode_ordinary_batch(given.texts, num_threads=threads)

    return setup


def copy_of_text(given: Inputs) -> Callable[[], Any]:
    source = np.frombuffer("".join(given.texts).encode(), np.uint8)
    destination = np.empty_like(source)
    return lambda: np.copyto(destination, source)


def _vocabulary(given: Inputs) -> Tokenizer:
    assert given.tokenizer is not None, "encoding cases are made with a vocabulary"
    return given.tokenizer


def training_case(vocab_size: int, max_bytes: int, slow: bool = False) -> Case:
    return Case(
        name=f"train, {_PATTERN} pattern",
        sizes={"V": vocab_size, "at most": f"{max_bytes // 10**6} MB"},
        inputs=training_text(max_bytes),
        contenders={
            "groundup": train_ours(vocab_size),
            "groundup, one thread": train_ours(vocab_size, threads=1),
            "rustbpe": train_rustbpe(vocab_size),
            "Hugging Face tokenizers": train_huggingface(vocab_size),
        },
        limit=Limit("one copy of the text", copy_of_text),
        amount=(lambda given: float(given.n_bytes), "B"),
        found=Inputs.found,
        slow=slow,
    )


def encoding_case(what: str, contenders: Mapping[str, Any]) -> Case:
    return Case(
        name=f"{what}, {_PATTERN} pattern",
        sizes={"V": 32_768, "at most": "10 MB"},
        inputs=encoding_text(10**7, 32_768),
        contenders=contenders,
        limit=Limit("one copy of the text", copy_of_text),
        amount=(lambda given: float(given.n_bytes), "B"),
        found=Inputs.found,
    )


SUITE = Suite(
    "bpe",
    (
        training_case(8_192, 30 * 10**6),
        training_case(32_768, 30 * 10**6),
        training_case(32_768, 100 * 10**6, slow=True),
        encoding_case(
            "encode unseen text to a NumPy array, one thread",
            {"groundup": encode_to_numpy, "tiktoken": tiktoken_to_numpy},
        ),
        encoding_case(
            "encode unseen text to a list, one thread",
            {
                "groundup": encode_to_list,
                "tiktoken": tiktoken_to_list,
                "Hugging Face tokenizers": huggingface_to_list,
            },
        ),
        encoding_case(
            "encode unseen documents to lists, two threads",
            {"groundup": encode_batch(2), "tiktoken": tiktoken_batch(2)},
        ),
        encoding_case(
            "decode lists of ids, one thread", {"groundup": decode, "tiktoken": tiktoken_decode}
        ),
    ),
    tests=("tests/native/test_bpe*.py", "tests/tokenizer/test_*.py"),
)

test_speed = speed_test(SUITE)
