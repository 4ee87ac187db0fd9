"""BPE: train, encode, decode and load against every peer that is installed.

    groundup bench bpe                                  a minute, with what [test] installs
    groundup bench bpe --slow --peer-python PATH        all of it, some 15 minutes
    taskset -c 0 groundup bench bpe --slow              everyone on one core

The peers are the [peers] extra's. PATH is an interpreter with Hugging Face's tokenizers 1.0, a
pre-release that cannot stand beside 0.x. Corpora: benchmarks/corpora.py; Hindi and published ranks
are found through GROUNDUP_DATA. Peers that take many seconds a round get fewer rounds, which the
table says. The limit is reading the same bytes from the page cache.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import bpe_encoding as encoding
from benchmarks import bpe_loading as loading
from benchmarks import bpe_training as training
from benchmarks.bpe_encoding import Inputs, Vocabulary, in_state
from benchmarks.cases import Case, Limit, Setup, Suite, Unavailable
from benchmarks.corpora import Corpus, english, hindi
from benchmarks.harness import speed_test
from groundup.tokenizer import Tokenizer

ENCODED_BYTES = 10**7
_OWN = "32,768 ids trained here"
_PEER_1 = "Hugging Face tokenizers 1.0"


def page_cache_read(given: Corpus | Inputs) -> Callable[[], Any]:
    corpus = given.texts if isinstance(given, Inputs) else given
    file = corpus.file
    buffer = bytearray(corpus.n_bytes)

    def read() -> None:
        with file.open("rb", buffering=0) as stream:
            stream.readinto(buffer)

    return read


_LIMIT = Limit("the text read from the page cache", page_cache_read)


def _bytes_of(given: Corpus | Inputs) -> float:
    return float(given.n_bytes)


def training_case(
    name: str,
    corpus: Callable[[], Corpus],
    vocab_size: int,
    pattern: str,
    *,
    peers: tuple[str, ...] = tuple(training.PEERS),
    few_rounds: Mapping[str, int],
    memory: bool = False,
    slow: bool = True,
) -> Case:
    contenders: dict[str, Setup] = {
        "groundup": training.ours(vocab_size, pattern),
        "groundup, one thread": training.ours(vocab_size, pattern, threads=1),
        "groundup, from texts": training.ours_from_texts(vocab_size, pattern),
    }
    contenders |= {peer: training.PEERS[peer](vocab_size, pattern) for peer in peers}
    return Case(
        name=f"train, {name}, {pattern} pattern",
        sizes={"V": vocab_size},
        inputs=corpus,
        contenders=contenders,
        limit=_LIMIT,
        amount=(_bytes_of, "B"),
        found=lambda given: given.described,
        memory=memory,
        few_rounds=few_rounds,
        slow=slow,
    )


_SLOW_ENCODERS = {"tiktoken": 3, "kitoken": 2, "Hugging Face tokenizers": 1}  # no state of note
_MINUTE = {"rustbpe": 3, "bpeasy": 2, "SentencePiece": 2, "Hugging Face tokenizers": 2}
_SECONDS = {"gigatoken": 3, "bpeasy": 3, "SentencePiece": 3, "Hugging Face tokenizers": 3}


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="groundup-bench-")


@functools.cache
def _trained() -> Tokenizer:
    return Tokenizer.train(english(2 * ENCODED_BYTES).halves()[0].texts, 32_768, pattern="gpt2")


def own_vocabulary() -> Vocabulary:
    # Truncated to all of itself: the same vocabulary with an encoder of its own.
    def fresh() -> Tokenizer:
        return _trained().truncate(_trained().n_vocab)

    return Vocabulary("own", "gpt2", fresh, Path(_folder().name))


def published(name: str, pattern: str) -> Callable[[], Vocabulary]:
    def vocabulary() -> Vocabulary:
        for folder in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep):
            file = Path(folder) / "bpe" / f"{name}.tiktoken"
            if folder and file.is_file():
                fresh = functools.partial(Tokenizer.from_tiktoken, file, pattern)
                return Vocabulary(name, pattern, fresh, Path(_folder().name))
        raise Unavailable(f"bpe/{name}.tiktoken is not in a folder of GROUNDUP_DATA")

    return vocabulary


def encoding_cases(
    language: str,
    corpus: Callable[[int], Corpus],
    named: str,
    vocabulary: Callable[[], Vocabulary],
    *,
    full: bool,
) -> list[Case]:
    """Each state to arrays; with `full` also lists and threads."""

    def inputs() -> Inputs:
        return Inputs(vocabulary(), *corpus(2 * ENCODED_BYTES).halves())

    works: dict[str, Mapping[str, Setup]] = {}
    for state in encoding.STATES if full else ("cold", "warm"):
        works[f"encode to arrays, {state}"] = {
            **{
                name: in_state(state, make)
                for name, make in encoding.ENCODERS.items()
                if state != "unseen" or name not in _SLOW_ENCODERS
            },
            _PEER_1: encoding.elsewhere(state),
        }
    if full:
        works["encode to lists, warm"] = {
            "groundup": in_state("warm", encoding.ours_to_lists),
            "tiktoken": in_state("warm", encoding.tiktoken_to_lists),
        }
        works["encode to lists, two threads, warm"] = {
            "groundup": in_state("warm", encoding.ours_on_threads(2)),
            "groundup, one thread": in_state("warm", encoding.ours_on_threads(1)),
            "gigatoken": in_state("warm", encoding.gigatoken_on_threads),
            "tiktoken": in_state("warm", encoding.tiktoken_on_threads(2)),
            _PEER_1: encoding.elsewhere("warm", many=True),
        }
    works["decode lists"] = {"groundup": encoding.decode, "tiktoken": encoding.decode_tiktoken}
    return [
        Case(
            name=f"{work}, {named}, {language}",
            sizes={},
            inputs=inputs,
            contenders=contenders,
            limit=_LIMIT,
            amount=(_bytes_of, "B"),
            found=Inputs.found,
            few_rounds=_SLOW_ENCODERS if "encode" in work else {},
            slow=named != _OWN,
        )
        for work, contenders in works.items()
    ]


SUITE = Suite(
    "bpe",
    (
        training_case(
            "30 MB of English and code",
            lambda: english(3 * 10**7),
            8_192,
            "gpt2",
            peers=("rustbpe", "Hugging Face tokenizers"),
            few_rounds={"rustbpe": 3, "Hugging Face tokenizers": 2},
            slow=False,
        ),
        *(
            training_case(
                "100 MB of English and code",
                lambda: english(10**8),
                vocab_size,
                "gpt2",
                few_rounds=_MINUTE,
                memory=vocab_size > 10_000,
            )
            for vocab_size in (8_192, 32_768)
        ),
        *(
            training_case(
                "Hindi", lambda: hindi(2 * 10**7), vocab_size, pattern, few_rounds=_SECONDS
            )
            for vocab_size, pattern in (
                (8_192, "gpt2"),
                (32_768, "gpt2"),
                (32_768, "indic-math"),
            )
        ),
        *encoding_cases("English", english, _OWN, own_vocabulary, full=False),
        *encoding_cases("English", english, "r50k", published("r50k_base", "gpt2"), full=False),
        *encoding_cases("English", english, "cl100k", published("cl100k_base", "gpt4"), full=True),
        *encoding_cases("Hindi", hindi, "cl100k", published("cl100k_base", "gpt4"), full=True),
        Case(
            name="load",
            sizes={"V": 100_000},
            inputs=lambda: loading.Files(100_000),
            contenders={
                "groundup": loading.ours,
                "groundup, from ranks": loading.ours_from_ranks,
                "groundup, from tokenizer.json": loading.ours_from_hugging_face,
                "tiktoken, from ranks": loading.tiktoken,
                "gigatoken, from ranks": loading.gigatoken,
                "fastokens, from tokenizer.json": loading.fastokens,
                "Hugging Face tokenizers": loading.huggingface,
            },
            found=loading.Files.found,
            few_rounds={"fastokens, from tokenizer.json": 2},
        ),
    ),
    tests=("tests/native/test_bpe*.py", "tests/tokenizer/test_*.py"),
)

test_speed = speed_test(SUITE)
