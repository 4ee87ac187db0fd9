"""How each contender encodes, and decodes, the same documents with the same vocabulary.

cold     by a tokenizer that has encoded nothing yet
unseen   by one that has encoded other documents of the same kind
warm     by one that has encoded these before
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Setup, Unavailable
from benchmarks.corpora import Corpus
from benchmarks.elsewhere import VARIABLE, Worker
from benchmarks.peers import installed
from groundup.inspect.timing import Contender
from groundup.tokenizer import Tokenizer

STATES = ("cold", "unseen", "warm")
# What Hugging Face 1.0 has a scanner for; another spelling needs a feature that its wheel lacks.
# It differs from cl100k's only in white space at the end of a text.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One vocabulary in the files that its readers want; `fresh` makes ours anew, caches cold."""

    name: str
    pattern: str
    fresh: Callable[[], Tokenizer]
    folder: Path

    @cached_property
    def ranks(self) -> Path:
        path = self.folder / f"{self.name}.tiktoken"
        self.fresh().to_tiktoken(path)
        return path

    @cached_property
    def hugging_face(self) -> Path:
        path = self.folder / f"{self.name}.json"
        self.fresh().to_hf(path)
        return path

    @cached_property
    def hugging_face_1(self) -> Path:
        parsed = json.loads(self.hugging_face.read_bytes())
        for part in parsed["pre_tokenizer"].get("pretokenizers", ()):
            if part["type"] == "Split" and self.pattern == "gpt4":
                part["pattern"] = {"Regex": _LLAMA3}
        path = self.folder / f"{self.name}-1.json"
        path.write_text(json.dumps(parsed))
        return path


@dataclass(frozen=True, eq=False)
class Inputs:
    vocabulary: Vocabulary
    before: Corpus
    texts: Corpus
    # By contender: the documents whose ids are not groundup's.
    differing: dict[str, int] = field(default_factory=dict)

    @cached_property
    def expected(self) -> list[int]:
        """A checksum of groundup's ids of each document."""
        return checksums(ours(self.vocabulary)(self.texts))

    def require_agreement(self, name: str, sums: list[int]) -> None:
        """Notes how many documents differ. Raises Unavailable where it is more than a hundredth."""
        if len(sums) != len(self.expected):
            raise Unavailable(f"gave ids of {len(sums)} documents instead of {len(self.expected)}")
        n = sum(a != b for a, b in zip(sums, self.expected, strict=True))
        if n * 100 > len(sums):
            raise Unavailable(f"gave other ids than groundup for {n} of {len(sums)} documents")
        if n > 0:
            self.differing[name] = n

    @property
    def n_bytes(self) -> int:
        return self.texts.n_bytes

    def found(self) -> Mapping[str, int | str]:
        others = {
            f"documents that {name} encodes otherwise": n for name, n in self.differing.items()
        }
        return {**self.texts.described, **others}


def checksums(encoded: Any) -> list[int]:
    """Of each document's ids, as a list, an array or the bytes of one."""
    return [
        zlib.crc32(ids if isinstance(ids, bytes) else np.asarray(ids, dtype="<u4").tobytes())
        for ids in encoded
    ]


Encode = Callable[[Corpus], Any]


def in_state(name: str, state: str, make: Callable[[Vocabulary], Encode]) -> Setup:
    """Encodes by what `make` makes of a vocabulary, in one of STATES; its ids are checked first."""

    def setup(given: Inputs) -> Contender:
        encoder = [make(given.vocabulary)]
        given.require_agreement(name, checksums(encoder[0](given.texts)))

        def prepare() -> None:
            encoder[0] = make(given.vocabulary)
            if state == "unseen":
                encoder[0](given.before)

        if state == "warm":
            return Contender(lambda: encoder[0](given.texts))
        return Contender(lambda: encoder[0](given.texts), prepare)

    return setup


def ours(vocabulary: Vocabulary) -> Encode:
    encode = vocabulary.fresh().encode_to_numpy
    return lambda corpus: [encode(text, disallowed_special=()) for text in corpus.texts]


def ours_to_lists(vocabulary: Vocabulary) -> Encode:
    encode = vocabulary.fresh().encode_ordinary
    return lambda corpus: [encode(text) for text in corpus.texts]


def ours_on_threads(threads: int) -> Callable[[Vocabulary], Encode]:
    def make(vocabulary: Vocabulary) -> Encode:
        encode = vocabulary.fresh().encode_ordinary_batch
        return lambda corpus: encode(corpus.texts, num_threads=threads)

    return make


def tiktoken(vocabulary: Vocabulary) -> Encode:
    installed("tiktoken")
    encode = vocabulary.fresh().to_tiktoken().encode_to_numpy
    return lambda corpus: [encode(text, disallowed_special=()) for text in corpus.texts]


def tiktoken_to_lists(vocabulary: Vocabulary) -> Encode:
    installed("tiktoken")
    encode = vocabulary.fresh().to_tiktoken().encode_ordinary
    return lambda corpus: [encode(text) for text in corpus.texts]


def tiktoken_on_threads(threads: int) -> Callable[[Vocabulary], Encode]:
    def make(vocabulary: Vocabulary) -> Encode:
        installed("tiktoken")
        encode = vocabulary.fresh().to_tiktoken().encode_ordinary_batch
        return lambda corpus: encode(list(corpus.texts), num_threads=threads)

    return make


def huggingface(vocabulary: Vocabulary) -> Encode:
    hf = installed("tokenizers")
    encode = hf.Tokenizer.from_file(str(vocabulary.hugging_face)).encode
    return lambda corpus: [encode(text, add_special_tokens=False).ids for text in corpus.texts]


def gigatoken(vocabulary: Vocabulary) -> Encode:
    open_ranks = installed("gigatoken").Tokenizer.from_tiktoken
    encode = open_ranks(vocabulary.ranks, vocabulary.pattern, {}).encode
    return lambda corpus: [encode(text) for text in corpus.texts]


def gigatoken_on_threads(vocabulary: Vocabulary) -> Encode:
    open_ranks = installed("gigatoken").Tokenizer.from_tiktoken
    encode = open_ranks(vocabulary.ranks, vocabulary.pattern, {}).encode_batch_list
    return lambda corpus: encode(list(corpus.texts), parallel=True)


def fastokens(vocabulary: Vocabulary) -> Encode:
    tokenizer = installed("fastokens").Tokenizer
    if vocabulary.pattern == "gpt4":
        encoder = tokenizer.from_tiktoken(str(vocabulary.ranks), encoding="cl100k_base")
    else:
        encoder = tokenizer.from_file(str(vocabulary.hugging_face))
    encode = encoder.encode_batch_flat
    return lambda corpus: [encode([text])[0] for text in corpus.texts]


def kitoken(vocabulary: Vocabulary) -> Encode:
    package = installed("kitoken")
    if vocabulary.pattern != "gpt4":
        raise Unavailable("kitoken takes ranks for cl100k's")
    encode = package.Kitoken.from_tiktoken_file(str(vocabulary.ranks)).encode
    return lambda corpus: [encode(text) for text in corpus.texts]


def elsewhere(state: str, many: bool = False) -> Setup:
    """The tokenizers of the interpreter that --peer-python names."""

    def setup(given: Inputs) -> Contender:
        if VARIABLE not in os.environ:
            raise Unavailable("no other interpreter was named: groundup bench encode --peer-python")
        folder = given.vocabulary.folder

        def listed(corpus: Corpus) -> str:
            path = folder / f"{id(corpus)}.json"
            path.write_text(json.dumps(corpus.texts))
            return str(path)

        worker = Worker(
            tokenizer=str(given.vocabulary.hugging_face_1),
            warm=[listed(given.before)] if state == "unseen" else [],
            texts=listed(given.texts),
            fresh=state != "warm",
            many=many,
        )
        given.require_agreement("the other interpreter", json.loads(worker.tell("check")))
        if state == "warm":
            return Contender(lambda: worker.tell("run"))
        return Contender(lambda: worker.tell("run"), lambda: worker.tell("prepare"))

    return setup


ENCODERS: Mapping[str, Callable[[Vocabulary], Encode]] = {
    "groundup": ours,
    "fastokens": fastokens,
    "gigatoken": gigatoken,
    "kitoken": kitoken,
    "tiktoken": tiktoken,
    "Hugging Face tokenizers": huggingface,
}


def decode(given: Inputs) -> Callable[[], Any]:
    tokenizer = given.vocabulary.fresh()
    encoded = [tokenizer.encode_ordinary(text) for text in given.texts.texts]
    return lambda: [tokenizer.decode(ids) for ids in encoded]


def decode_tiktoken(given: Inputs) -> Callable[[], Any]:
    installed("tiktoken")
    encoding = given.vocabulary.fresh().to_tiktoken()
    encoded = [encoding.encode_ordinary(text) for text in given.texts.texts]
    return lambda: [encoding.decode(ids) for ids in encoded]
