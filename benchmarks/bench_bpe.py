"""BPE: train against every peer that is installed, and see whether it learns the same.

    groundup bench bpe            half a minute, with what [test] installs
    groundup bench bpe --slow     all of it, on all cores and on one: some twelve minutes on two

The peers are the [peers] extra's. Corpora: benchmarks/corpora.py; Hindi is found through
GROUNDUP_DATA. Peers that take many seconds a round get fewer rounds, which the table says. Below
it stand the memory that each takes beyond its inputs, and whose merges are groundup's
(bpe_agreement.py). The limit is reading the same bytes from the page cache.
"""

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks import bpe_training as training
from benchmarks.bpe_agreement import agreement
from benchmarks.cases import Case, Limit, Setup, Suite
from benchmarks.corpora import Corpus, english, hindi
from benchmarks.harness import speed_test

_LIMIT = Limit("the text read from the page cache", lambda corpus: corpus.read_again())


def _bytes_of(corpus: Corpus) -> float:
    return float(corpus.n_bytes)


def training_case(
    name: str,
    corpus: Callable[[], Corpus],
    vocab_size: int,
    pattern: str,
    *,
    peers: tuple[str, ...] = tuple(training.PEERS),
    few_rounds: Mapping[str, int],
    cores: int | None = None,
    memory: bool = False,
    slow: bool = True,
) -> Case:
    contenders: dict[str, Setup] = {
        "groundup": training.ours(vocab_size, pattern),
        training.OURS_FROM_TEXTS: training.ours_from_texts(vocab_size, pattern),
        training.OURS_WITH_THEIR_TIES: training.ours_from_texts(vocab_size, pattern, "huggingface"),
    }
    if cores is None:
        contenders["groundup, one thread"] = training.ours(vocab_size, pattern, threads=1)
    contenders |= {peer: training.TRAINERS[peer](vocab_size, pattern) for peer in peers}
    sizes = {"V": vocab_size}
    return Case(
        name=f"train, {name}, {pattern} pattern",
        sizes=sizes if cores is None else sizes | {"cores": cores},
        inputs=corpus,
        contenders=contenders,
        limit=_LIMIT,
        amount=(_bytes_of, "B"),
        found=lambda given: given.described,
        memory=memory,
        few_rounds=few_rounds,
        cores=cores,
        compare=partial(agreement, peers=training.PEERS),
        slow=slow,
    )


def _rounds(seconds: int, tens_of_seconds: int) -> dict[str, int]:
    """For peers that take seconds a round on 100 MB, and for those that take ten and more."""
    few = dict.fromkeys(("gigatoken", "ffbpe", "rustbpe"), seconds)
    slow = ("bpeasy", "SentencePiece", "Hugging Face tokenizers")
    return few | dict.fromkeys(slow, tens_of_seconds)


def _english_and_hindi(cores: int | None) -> list[Case]:
    """The whole table: 100 MB in two sizes, and Hindi that keeps its marks."""
    few, of_hindi = (_rounds(3, 1), _rounds(3, 2)) if cores is None else (_rounds(1, 1),) * 2
    cases = [
        training_case(
            "100 MB of English and code",
            lambda: english(10**8),
            vocab_size,
            "gpt2",
            few_rounds=few,
            cores=cores,
            memory=cores is None and vocab_size > 10_000,
        )
        for vocab_size in (8_192, 32_768)
    ]
    return [
        *cases,
        training_case(
            "Hindi",
            lambda: hindi(2 * 10**7),
            32_768,
            "indic-math",
            few_rounds=of_hindi,
            cores=cores,
        ),
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
        *_english_and_hindi(cores=None),
        *_english_and_hindi(cores=1),
    ),
    tests=("tests/native/test_bpe*.py", "tests/tokenizer/test_*.py"),
)

test_speed = speed_test(SUITE)
