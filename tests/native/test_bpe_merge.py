"""Merges are those of rustbpe, of Hugging Face's trainer and of minbpe, by the rule of ties."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rustbpe
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from groundup import _C
from groundup.reference import bpe

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Few letters, so that counts tie, runs overlap and one string arises in two ways.
corpora = st.lists(
    st.one_of(
        st.text(st.sampled_from("ab"), max_size=60),
        st.text(st.sampled_from("abc "), max_size=60),
        st.text(st.sampled_from("aAbB '1\n"), max_size=60),
        st.text(st.sampled_from("xक े\u0301é\x00 "), max_size=60),
    ),
    min_size=1,
    max_size=6,
)


def train(texts, n_merges, ties="smallest_pair", min_frequency=1, pattern="gpt2", threads=1):
    counts = _C.ChunkCounts()
    counts.add_texts(texts, pattern, threads)
    return _C.bpe_train(counts, n_merges, ties, min_frequency, threads)


def token_bytes(merges: np.ndarray) -> list[bytes]:
    tokens = [bytes([value]) for value in range(256)]
    for left, right, fresh in merges.tolist():
        assert fresh == len(tokens)
        tokens.append(tokens[left] + tokens[right])
    return tokens


def rustbpe_tokens(texts: list[str], n_merges: int) -> list[bytes]:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size=256 + n_merges, pattern=GPT2)
    return [bytes(token) for token, _ in tokenizer.get_mergeable_ranks()]


def huggingface_merges(
    texts: list[str], n_merges: int, min_frequency: int
) -> list[tuple[str, str]]:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + n_merges,
        min_frequency=min_frequency,
        show_progress=False,
        initial_alphabet=alphabet,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def in_huggingface_letters(merges: np.ndarray) -> list[tuple[str, str]]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + n) for n, byte in enumerate(others)}
    spelled = ["".join(letters[byte] for byte in token) for token in token_bytes(merges)]
    return [(spelled[left], spelled[right]) for left, right, _ in merges.tolist()]


def minbpe_merges(texts: list[str], n_merges: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """minbpe's RegexTokenizer.train: count all, max() takes the first seen, replace everywhere."""
    chunks = []
    for text in texts:
        encoded, begin = text.encode(), 0
        for end in _C.split(text, "gpt2").tolist():
            chunks.append(list(encoded[begin:end]))
            begin = end
    merges, best_counts = [], []
    for fresh in range(256, 256 + n_merges):
        counts: dict[tuple[int, int], int] = {}
        for ids in chunks:
            for pair in pairwise(ids):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = max(counts, key=counts.__getitem__)
        merges.append((*best, fresh))
        best_counts.append(counts[best])
        for n, ids in enumerate(chunks):
            replaced: list[int] = []
            for symbol in ids:
                if replaced and (replaced[-1], symbol) == best:
                    replaced[-1] = fresh
                else:
                    replaced.append(symbol)
            chunks[n] = replaced
    return merges, best_counts


def library_text(n_characters: int) -> list[str]:
    """The interpreter's own sources: real English and code that every machine has."""
    texts, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        texts.append(path.read_text(encoding="utf-8"))
        size += len(texts[-1])
        if size >= n_characters:
            return texts
    return texts


@settings(max_examples=200, deadline=None)
@given(texts=corpora, n_merges=st.sampled_from([0, 1, 3, 10, 40]))
def test_smallest_pair_equals_rustbpe(texts, n_merges):
    assert token_bytes(train(texts, n_merges)[0]) == rustbpe_tokens(texts, n_merges)


@settings(max_examples=200, deadline=None)
@given(texts=corpora, n_merges=st.sampled_from([1, 3, 10, 40]), min_frequency=st.integers(0, 4))
def test_huggingface_equals_its_trainer(texts, n_merges, min_frequency):
    merges, _ = train(texts, n_merges, "huggingface", min_frequency)
    assert in_huggingface_letters(merges) == huggingface_merges(texts, n_merges, min_frequency)


@settings(max_examples=200, deadline=None)
@given(texts=corpora, n_merges=st.sampled_from([1, 3, 10, 40]))
def test_first_seen_equals_minbpe(texts, n_merges):
    merges, counts = train(texts, n_merges, "first_seen")
    expected, expected_counts = minbpe_merges(texts, n_merges)
    assert [tuple(row) for row in merges.tolist()] == expected
    assert counts.tolist() == expected_counts


def test_library_text_gives_rustbpes_merges():
    texts = library_text(1_000_000)
    assert token_bytes(train(texts, 3000, threads=2)[0]) == rustbpe_tokens(texts, 3000)


def test_library_text_gives_huggingfaces_merges():
    texts = library_text(1_000_000)
    merges, _ = train(texts, 3000, "huggingface", threads=2)
    assert in_huggingface_letters(merges) == huggingface_merges(texts, 3000, 0)


@pytest.mark.slow
def test_library_text_gives_huggingfaces_merges_at_32k():
    texts = library_text(100_000_000)
    merges, _ = train(texts, 32_000, "huggingface", threads=2)
    assert in_huggingface_letters(merges) == huggingface_merges(texts, 32_000, 0)


@pytest.mark.parametrize("name", ["hindi_premchand/premchand.txt", "tinyshakespeare/input.txt"])
def test_shared_text_gives_both_peers_merges(data_file, name):
    texts = data_file(name).read_text(encoding="utf-8")[:500_000].splitlines(keepends=True)
    assert token_bytes(train(texts, 2000)[0]) == rustbpe_tokens(texts, 2000)
    merges, _ = train(texts, 2000, "huggingface")
    assert in_huggingface_letters(merges) == huggingface_merges(texts, 2000, 0)


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface", "first_seen"])
@settings(max_examples=200, deadline=None)
@given(texts=corpora)
def test_no_string_is_learned_twice(ties, texts):
    """docs/bpe.md shows why: so no rule is needed for a merge whose string exists."""
    tokens = token_bytes(train(texts, 60, ties)[0])
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface", "first_seen"])
def test_overlapping_windows_all_count_and_leftmost_merges_first(ties):
    counts = _C.ChunkCounts()
    counts.add_chunks([b"aaaaa"], [10])
    merges, merged = _C.bpe_train(counts, 10, ties, 1, 1)
    # aaaaa: 4 windows; X X a: (X, X) 1 and (X, a) 1; which goes first is the tie's rule.
    assert merges[0].tolist() == [97, 97, 256]
    assert merged[0] == 40
    assert merged[1] == 10
    assert token_bytes(merges)[-1] == b"aaaaa"


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface", "first_seen"])
@settings(max_examples=100, deadline=None)
@given(
    chunks=st.dictionaries(
        st.text("abcd", min_size=2, max_size=6).map(str.encode), st.integers(1, 99), max_size=12
    ),
    letters=st.dictionaries(
        st.sampled_from([bytes([letter]) for letter in range(97, 117)]), st.integers(1, 10**6)
    ),
    n_merges=st.integers(1, 30),
    min_frequency=st.integers(1, 40),
)
def test_rare_pairs_come_when_all_others_are_merged(ties, chunks, letters, n_merges, min_frequency):
    """Frequent chunks without a pair make training expect more of pairs than there is to come."""
    counted = letters | chunks
    counts = _C.ChunkCounts()
    counts.add_chunks(list(counted), list(counted.values()))
    merges, merged = _C.bpe_train(counts, n_merges, ties, min_frequency, 1)
    rows, expected = bpe.train(counted, n_merges, ties=ties, min_frequency=min_frequency)
    assert merges.tolist() == [list(row) for row in rows]
    assert merged.tolist() == expected


UNITS = (" ", "a", "की", "^", "\n", "\n   ", "👩\u200d", "👩\u200d👩\u200d👧", "ab\r\n", "é9")


@pytest.mark.parametrize("ties", ["smallest_pair", "first_seen"])
@pytest.mark.parametrize("alphabet", [None, "éकी\u200d👩👧"])
def test_twice_the_text_is_twice_the_work_at_most(ties, alphabet):
    for unit in UNITS:
        steps = []
        for n in (3000, 6000, 12000):
            counts = _C.ChunkCounts()
            counts.add_texts([unit * n], "none", 1)
            _C.bpe_train(counts, 1000, ties, 1, 1, alphabet=alphabet)
            steps.append(counts.n_training_steps)
        # A merge more, or two, and the few tokens that are left then.
        assert steps[1] <= 2 * steps[0] + 200, unit
        assert steps[2] <= 2 * steps[1] + 200, unit


def test_an_exhausted_corpus_stops_the_training():
    merges, counts = train(["abab"], 1000)
    assert token_bytes(merges)[256:] == [b"ab", b"abab"]
    assert counts.tolist() == [2, 1]
    assert counts.dtype == np.uint64
    assert merges.dtype == np.uint32


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["a b"]])
def test_a_corpus_without_pairs_has_no_merges(texts):
    merges, counts = train(texts, 10, pattern="gpt4")
    assert merges.shape == (len(merges), 3)
    assert len(merges) == len(counts) == (1 if texts == ["a b"] else 0)


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface", "first_seen"])
def test_no_merge_is_below_the_least_frequency(ties):
    text = ["abc abc abd bcd " * 3]
    _, all_counts = train(text, 100, ties)
    for least in (2, 3, 5, 1000):
        _, counts = train(text, 100, ties, least)
        assert counts.tolist() == [count for count in all_counts.tolist() if count >= least]


def test_counts_beyond_32_bits_are_exact():
    counts = _C.ChunkCounts()
    counts.add_chunks([b"ab", b"cd", b"cd!"], [(1 << 40) + 1, 1 << 40, 2])
    merges, merged = _C.bpe_train(counts, 2, "smallest_pair", 1, 1)
    assert merges[:, :2].tolist() == [[99, 100], [97, 98]]
    assert merged.tolist() == [(1 << 40) + 2, (1 << 40) + 1]


def test_counts_too_large_to_add_up_are_refused():
    counts = _C.ChunkCounts()
    counts.add_chunks([b"ab"], [1 << 62])
    with pytest.raises(ValueError, match=r"less than 2\^62; divide all counts"):
        _C.bpe_train(counts, 1, "smallest_pair", 1, 1)


def test_one_giant_chunk_trains():
    """A million letters without a cut: positions, not words, are the unit of work."""
    merges, counts = train(["ab" * 500_000], 30, pattern="none")
    assert token_bytes(merges)[256:260] == [b"ab" * (1 << n) for n in range(4)]
    assert counts[0] == 500_000


def test_training_leaves_the_counts_usable():
    counts = _C.ChunkCounts()
    counts.add_texts(["low lower lowest"], "gpt2", 1)
    first, _ = _C.bpe_train(counts, 5, "smallest_pair", 1, 1)
    second, _ = _C.bpe_train(counts, 5, "smallest_pair", 1, 1)
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, "alphabetical", 1, 1), "ties: expected 'smallest_pair', .* got 'alphabetical'"),
        ((-1, "first_seen", 1, 1), "n_merges: expected a number from 0 to .* got -1"),
        ((1, "first_seen", -2, 1), "min_frequency: expected 0 or more, got -2"),
        ((1, "first_seen", 1, 0), "threads: expected 1 or more, got 0"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        _C.bpe_train(_C.ChunkCounts(), *arguments)


@pytest.mark.skipif(os.name != "posix", reason="SIGINT is sent as on POSIX")
def test_ctrl_c_ends_a_long_training():
    script = (
        "from groundup import _C\n"
        "counts = _C.ChunkCounts()\n"
        "import random; r = random.Random(0)\n"
        "counts.add_texts([''.join(r.choice('abcdefgh') for _ in range(8_000_000))], 'none', 1)\n"
        "print('ready', flush=True)\n"
        "while True: _C.bpe_train(counts, 2_000_000, 'smallest_pair', 1, 1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        try:
            _, complaint = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in complaint
