"""BPE: train against Hugging Face and rustbpe; encode, decode and load against tiktoken too.

The text is what this environment carries, the interpreter's library and the sources of installed
packages: English and code. Its size and SHA-256 are in the results file. Published ranks are found
through GROUNDUP_DATA; a vocabulary trained here is measured on every machine. The limit is one copy
of the text in memory.
"""

from collections.abc import Callable, Mapping

from benchmarks import bpe_work
from benchmarks.cases import Case, Limit, Setup, Suite
from benchmarks.harness import speed_test
from groundup.tokenizer import Tokenizer


def training_case(vocab_size: int, max_bytes: int, slow: bool = False) -> Case:
    return Case(
        name=f"train, {bpe_work.PATTERN} pattern",
        sizes={"V": vocab_size, "at most": f"{max_bytes // 10**6} MB"},
        inputs=bpe_work.training_text(max_bytes),
        contenders={
            "groundup": bpe_work.train_ours(vocab_size),
            "groundup, one thread": bpe_work.train_ours(vocab_size, threads=1),
            "rustbpe": bpe_work.train_rustbpe(vocab_size),
            "Hugging Face tokenizers": bpe_work.train_huggingface(vocab_size),
        },
        limit=Limit("one copy of the text", bpe_work.copy_of_text),
        amount=(lambda given: float(given.n_bytes), "B"),
        found=bpe_work.Inputs.found,
        memory=True,
        slow=slow,
    )


def encoding_cases(
    vocabulary: str, inputs: Callable[[], bpe_work.Inputs], to_list: Mapping[str, Setup]
) -> tuple[Case, ...]:
    works: dict[str, Mapping[str, Setup]] = {
        "encode to NumPy, caches cold": {
            "groundup": bpe_work.cold_to_numpy,
            "tiktoken": bpe_work.tiktoken_to_numpy,
        },
        "encode to NumPy, warm": {
            "groundup": bpe_work.warm_to_numpy,
            "tiktoken": bpe_work.tiktoken_to_numpy,
        },
        "encode to a list, warm": to_list,
        "encode to lists, two threads": {
            "groundup": bpe_work.batch(2),
            "groundup, one thread": bpe_work.batch(1),
            "tiktoken": bpe_work.tiktoken_batch(2),
        },
        "decode lists": {"groundup": bpe_work.decode, "tiktoken": bpe_work.tiktoken_decode},
    }
    return tuple(
        Case(
            name=f"{work}, {vocabulary}",
            sizes={"at most": f"{bpe_work.ENCODED_BYTES // 10**6} MB"},
            inputs=inputs,
            contenders=contenders,
            limit=Limit("one copy of the text", bpe_work.copy_of_text),
            amount=(lambda given: float(given.n_bytes), "B"),
            found=bpe_work.Inputs.found,
        )
        for work, contenders in works.items()
    )


_TO_LIST: Mapping[str, Setup] = {
    "groundup": bpe_work.warm_to_list,
    "tiktoken": bpe_work.tiktoken_to_list,
}

SUITE = Suite(
    "bpe",
    (
        training_case(8_192, 30 * 10**6),
        training_case(32_768, 30 * 10**6, slow=True),
        training_case(32_768, 100 * 10**6, slow=True),
        *encoding_cases(
            "32,768 ids trained here",
            bpe_work.for_own_vocabulary,
            {**_TO_LIST, "Hugging Face tokenizers": bpe_work.huggingface_to_list},
        ),
        *encoding_cases("r50k", bpe_work.for_ranks("r50k_base", "gpt2"), _TO_LIST),
        *encoding_cases("cl100k", bpe_work.for_ranks("cl100k_base", "gpt4"), _TO_LIST),
        Case(
            name="load",
            sizes={"V": 100_000},
            inputs=lambda: bpe_work.Files(100_000),
            contenders={
                "groundup": lambda files: lambda: Tokenizer.load(files.own),
                "groundup, from ranks": lambda files: (
                    lambda: Tokenizer.from_tiktoken(files.ranks, bpe_work.PATTERN)
                ),
                "tiktoken, from ranks": bpe_work.tiktoken_load,
                "Hugging Face tokenizers": bpe_work.huggingface_load,
            },
        ),
    ),
    tests=("tests/native/test_bpe*.py", "tests/tokenizer/test_*.py"),
)

test_speed = speed_test(SUITE)
