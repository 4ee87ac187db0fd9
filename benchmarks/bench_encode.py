"""BPE: encode, decode and load against every peer that is installed.

    groundup bench encode                                 a minute, with what [test] installs
    groundup bench encode --slow --peer-python PATH       all of it, some ten minutes
    taskset -c 0 groundup bench encode --slow             everyone on one core

The peers are the [peers] extra's. PATH is an interpreter with Hugging Face's tokenizers 1.0, a
pre-release that cannot stand beside 0.x. Corpora: benchmarks/corpora.py; Hindi and published ranks
are found through GROUNDUP_DATA. Before a peer is timed its ids are held against groundup's, a
document at a time: the record says how many differ, and one that differs in more than one of a
hundred is not timed. The limit is reading the same bytes from the page cache.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import bpe_encoding as encoding
from benchmarks import bpe_loading as loading
from benchmarks.bpe_encoding import Inputs, Vocabulary, in_state
from benchmarks.cases import Case, Limit, Setup, Suite, Unavailable
from benchmarks.corpora import Corpus, english, hindi
from benchmarks.harness import speed_test
from groundup.tokenizer import Tokenizer

ENCODED_BYTES = 10**7
_OWN = "32,768 ids trained here"
_PEER_1 = "Hugging Face tokenizers 1.0"
_LIMIT = Limit("the text read from the page cache", lambda given: given.texts.read_again())


def _bytes_of(given: Inputs) -> float:
    return float(given.n_bytes)


_SLOW_ENCODERS = {"tiktoken": 3, "kitoken": 2, "Hugging Face tokenizers": 1}  # no state of note


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
                name: in_state(name, state, make)
                for name, make in encoding.ENCODERS.items()
                if state != "unseen" or name not in _SLOW_ENCODERS
            },
            _PEER_1: encoding.elsewhere(state),
        }
    if full:
        works["encode to lists, warm"] = {
            "groundup": in_state("groundup", "warm", encoding.ours_to_lists),
            "tiktoken": in_state("tiktoken", "warm", encoding.tiktoken_to_lists),
        }
        works["encode to lists, two threads, warm"] = {
            "groundup": in_state("groundup", "warm", encoding.ours_on_threads(2)),
            "groundup, one thread": in_state(
                "groundup, one thread", "warm", encoding.ours_on_threads(1)
            ),
            "gigatoken": in_state("gigatoken", "warm", encoding.gigatoken_on_threads),
            "tiktoken": in_state("tiktoken", "warm", encoding.tiktoken_on_threads(2)),
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
    "encode",
    (
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
    tests=("tests/native/test_bpe_*code.py", "tests/tokenizer/test_*coding.py"),
)

test_speed = speed_test(SUITE)
