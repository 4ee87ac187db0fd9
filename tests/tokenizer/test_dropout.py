"""BPE-dropout: the reference's distribution, exact at 0, bytes at 1, repeatable by its seed."""

import math
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.reference import bpe
from groundup.tokenizer import Tokenizer


@pytest.fixture(scope="module", params=["gpt4", r"\w+|\s+|[^\w\s]+"])
def tok(request, mixed_text):
    return Tokenizer.train([mixed_text], 600, pattern=request.param, special_tokens=["<|e|>"])


@given(text=st.text(max_size=60), dropout=st.floats(0, 1), seed=st.integers(0, 2**64 - 1))
def test_any_draw_gives_the_text_back_and_the_same_seed_the_same_ids(tok, text, dropout, seed):
    ids = tok.encode(text, dropout=dropout, seed=seed)
    assert tok.decode(ids) == text
    assert tok.encode(text, dropout=dropout, seed=seed) == ids
    as_array = tok.encode_to_numpy(text, dropout=dropout, seed=seed, dtype=np.uint16)
    assert as_array.tolist() == ids


def test_none_dropped_is_exact_and_all_dropped_is_bytes(tok, mixed_text):
    assert tok.encode(mixed_text, dropout=0.0, seed=1) == tok.encode(mixed_text)
    assert tok.encode(mixed_text, dropout=1) == list(mixed_text.encode())
    long = "abc" * 50_000
    assert tok.decode(tok.encode(long, dropout=0.1, seed=3)) == long


def test_special_tokens_stay_whole_and_each_piece_has_its_own_draws(tok):
    text = "the other thing<|e|>the other thing"
    special = tok.special_tokens["<|e|>"]
    halves = set()
    for seed in range(50):
        ids = tok.encode(text, allowed_special="all", dropout=0.5, seed=seed)
        at = ids.index(special)
        halves.add(ids[:at] == ids[at + 1 :])
    assert halves == {True, False} or halves == {False}


def test_without_a_seed_the_draws_differ(tok):
    text = "the other thing, the whole thing and nothing else " * 5
    assert len({tuple(tok.encode(text, dropout=0.5)) for _ in range(5)}) > 1


@pytest.mark.parametrize("word", ["thethe", "a" * 7, "the" * 22], ids=["word", "runs", "long"])
@pytest.mark.parametrize("whole_chunks", [False, True], ids=["merges", "ranks"])
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_the_draws_are_the_references(dropout, word, whole_chunks):
    """How many ids come, and for a short word which: 2,000 draws each, judged by chi-squared."""
    merges = [(116, 104, 256), (256, 101, 257), (257, 116, 258), (104, 101, 259), (97, 97, 260)]
    merges += [(260, 260, 261), (260, 97, 262), (257, 257, 263)]
    ours = Tokenizer.train([], 256, pattern="none")
    ours = _with_merges(merges, whole_chunks)
    if whole_chunks:
        rows = ours.merges.tolist()
        first = {}
        ranks = {(a, b): (first.setdefault(new, at), new) for at, (a, b, new) in enumerate(rows)}
    else:
        ranks = bpe.ranks_of(merges)
    random, n = Random(7), 2000 if len(word) < 10 else 400
    kind = len if len(word) > 10 else tuple
    expected = Counter(
        kind(bpe.encode_chunk_with_dropout(word.encode(), ranks, dropout, random)) for _ in range(n)
    )
    got = Counter(kind(ours.encode(word, dropout=dropout, seed=seed)) for seed in range(n))
    # Two samples of one size: sum (a - b)^2 / (a + b); rare outcomes count as one.
    rare = [key for key in expected | got if expected[key] + got[key] < 20]
    for counts in (expected, got):
        counts["rare"] = sum(counts.pop(key, 0) for key in rare)
    outcomes = [key for key in expected | got if expected[key] + got[key]]
    distance = sum((expected[k] - got[k]) ** 2 / (expected[k] + got[k]) for k in outcomes)
    freedom = max(len(outcomes) - 1, 1)
    assert distance < freedom + 5 * math.sqrt(2 * freedom) + 10


def _with_merges(merges, whole_chunks):
    from groundup.tokenizer.interop_tiktoken import vocabulary_of_tokens
    from groundup.tokenizer.patterns import find_pattern
    from groundup.tokenizer.vocabulary import Vocabulary, merge_rows

    tokens, pattern = bpe.tokens_of(merges), find_pattern("none")
    if whole_chunks:
        return Tokenizer(vocabulary_of_tokens(tokens, pattern, {}, "ranks"))
    return Tokenizer(Vocabulary(tokens, merge_rows(merges), pattern, {}))


@pytest.mark.parametrize("dropout", [-0.1, 1.01, math.nan, "0.5", math.inf])
def test_what_is_no_probability_is_told_in_a_sentence(tok, dropout):
    with pytest.raises(ValueError, match="dropout: expected a number from 0 to 1, got"):
        tok.encode("a", dropout=dropout, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a"])
def test_what_is_no_seed_is_told_in_a_sentence(tok, seed):
    with pytest.raises(ValueError, match=r"seed: expected a whole number from 0 to 2\^64 - 1, got"):
        tok.encode("a", dropout=0.5, seed=seed)
