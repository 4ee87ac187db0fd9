"""BPE: train against every peer that is installed.

    groundup bench bpe                     half a minute, with what [test] installs
    groundup bench bpe --slow              all of it, some ten minutes
    taskset -c 0 groundup bench bpe --slow   everyone on one core

The peers are the [peers] extra's. Corpora: benchmarks/corpora.py; Hindi is found through
GROUNDUP_DATA. Peers that take many seconds a round get fewer rounds, which the
table says. The limit is reading the same bytes from the page cache.
"""

from collections.abc import Callable, Mapping

from benchmarks import bpe_training as training
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


_MINUTE = {"rustbpe": 3, "bpeasy": 2, "SentencePiece": 2, "Hugging Face tokenizers": 2}
_SECONDS = {"gigatoken": 3, "bpeasy": 3, "SentencePiece": 3, "Hugging Face tokenizers": 3}


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
    ),
    tests=("tests/native/test_bpe*.py", "tests/tokenizer/test_*.py"),
)

test_speed = speed_test(SUITE)
