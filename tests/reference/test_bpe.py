"""The plain BPE against examples done by hand and against three published trainers."""

import doctest
import inspect
import json

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import bpe

ENGLISH = inspect.getsource(inspect) + (inspect.getdoc(json) or "")

words = st.dictionaries(
    st.text("ab \n", max_size=9).map(str.encode), st.integers(1, 5), max_size=12
)


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(bpe)
    assert result.attempted >= 3
    assert result.failed == 0


def test_windows_overlap_when_counted_and_not_when_merged():
    assert bpe.get_stats([1, 1, 1, 1]) == {(1, 1): 3}
    assert bpe.merge([1, 1, 1, 1, 1], (1, 1), 2) == [2, 2, 1]


def test_minbpe_published_example():
    """minbpe's README: three merges turn aaabdaaabac into XdXac, ids 258 100 258 97 99."""
    merges, _ = bpe.train({b"aaabdaaabac": 1}, 3, ties="first_seen")
    ids = bpe.encode_chunk(list(b"aaabdaaabac"), bpe.ranks_of(merges))
    assert ids == [258, 100, 258, 97, 99]
    assert bpe.decode(ids, bpe.tokens_of(merges)) == "aaabdaaabac"


def test_wikipedia_example_by_hand():
    """aaabdaaabac: aa is merged first (4 windows); then aa+a and a+b occur twice each."""
    merges, counts = bpe.train_plainly({b"aaabdaaabac": 1}, 2, ties="smallest_pair")
    assert merges == [(97, 97, 256), (97, 98, 257)]
    assert counts == [4, 2]


def test_three_tie_rules_choose_three_pairs():
    chunks = {b"zq": 1, b"\x00\x01": 1, b"ab": 1}
    first = {ties: bpe.train(chunks, 1, ties=ties)[0][0][:2] for ties in bpe.TIES}
    assert first == {
        "smallest_pair": (0, 1),
        "huggingface": (ord("a"), ord("b")),
        "first_seen": (ord("z"), ord("q")),
    }


def test_first_seen_looks_at_the_text_as_it_stands_now():
    """After ab is merged, the tie is between X+c (second place) and d+d (first place)."""
    merges, _ = bpe.train({b"dd": 2, b"abc": 2, b"ab": 9}, 2, ties="first_seen")
    assert merges == [(97, 98, 256), (100, 100, 257)]


@given(words, st.sampled_from(bpe.TIES))
def test_no_string_is_learned_twice(chunks, ties):
    """Two ways to one string would need its bytes to stand merged in two ways at one time."""
    chunks.pop(b"", None)
    tokens = bpe.tokens_of(bpe.train(chunks, 20, ties=ties)[0])
    assert len(set(tokens)) == len(tokens)


def test_a_chunk_counts_as_often_as_it_occurs():
    merges, counts = bpe.train({b"ab": 2, b"cd": 7}, 1)
    assert merges == [(99, 100, 256)]
    assert counts == [7]


def test_training_stops_when_no_pair_is_frequent_enough():
    chunks = {b"abab": 3, b"xy": 2}
    merges, counts = bpe.train(chunks, 100, min_frequency=3)
    assert merges[1:] == [(256, 256, 257)]
    assert counts == [6, 3]
    assert bpe.train({b"a": 5}, 10) == ([], [])
    assert bpe.train({}, 10) == ([], [])
    assert bpe.train({b"ab": 1}, 0) == ([], [])


@given(
    words,
    st.sampled_from(bpe.TIES),
    st.integers(1, 3),
    st.integers(0, 12),
    st.none() | st.integers(1, 5),
    st.integers(0, 6),
)
def test_the_faster_trainer_learns_the_same(
    chunks, ties, min_frequency, n_merges, max_token_length, n_known
):
    chunks.pop(b"", None)
    rows, _ = bpe.train({b"abba ab": 2, b"bbb": 1}, n_known)
    rules = {
        "ties": ties,
        "min_frequency": min_frequency,
        "max_token_length": max_token_length,
        "known": [(left, right) for left, right, _ in rows],
    }
    plain = bpe.train_plainly(chunks, n_merges, **rules)
    assert bpe.train(chunks, n_merges, **rules) == plain


@given(
    st.dictionaries(st.text("aéß🙂 ", max_size=9).map(str.encode), st.integers(1, 5), max_size=9),
    st.sampled_from(bpe.TIES),
    st.sets(st.sampled_from("éß🙂")).map(sorted),
    st.text("aéß🙂 ", max_size=30),
)
def test_code_points_merge_as_letters_of_one_byte_would(chunks, ties, alphabet, text):
    """With one byte in the place of each character that is in the alphabet, the same merges."""
    chunks.pop(b"", None)
    merges, counts = bpe.train_plainly(chunks, 9, ties=ties, alphabet=alphabet)
    assert bpe.train(chunks, 9, ties=ties, alphabet=alphabet) == (merges, counts)
    ids = bpe.encode(text, merges, r"\X+", alphabet)
    tokens = bpe.tokens_of(merges, alphabet)
    assert bpe.decode(ids, tokens) == text
    assert all(len(tokens[i]) == 1 or tokens[i].decode() for i in ids)
    if alphabet == ["ß", "é", "🙂"]:
        short = {chunk.decode().translate(_SHORT).encode(): n for chunk, n in chunks.items()}
        by_ids = ties if ties == "first_seen" else "smallest_pair"  # for code points both are one
        expected, _ = bpe.train_plainly(short, 9, ties=by_ids)
        wide = {ord(c): 256 + place for place, c in enumerate("xyz")}
        wide |= {256 + row: 259 + row for row in range(9)}
        assert [tuple(wide.get(i, i) for i in row) for row in expected] == merges


_SHORT = str.maketrans({"ß": "x", "é": "y", "🙂": "z"})


def test_no_token_is_longer_than_allowed():
    merges, _ = bpe.train({b"abcab": 3}, 20, max_token_length=3)
    assert max(map(len, bpe.tokens_of(merges))) == 3
    assert bpe.train({b"abcdabcd": 3}, 20, max_token_length=1) == ([], [])


@given(words, st.sampled_from(bpe.TIES), st.integers(0, 6))
def test_training_on_from_a_part_is_training_at_once(chunks, ties, n_known):
    chunks.pop(b"", None)
    whole = bpe.train_plainly(chunks, 12, ties=ties)
    known = [(left, right) for left, right, _ in whole[0][:n_known]]
    assert bpe.train_plainly(chunks, 12, ties=ties, known=known) == whole


@pytest.mark.parametrize("ties", bpe.TIES)
def test_the_faster_trainer_learns_the_same_from_real_text(ties):
    chunks = bpe.count_chunks([ENGLISH])
    assert bpe.train(chunks, 40, ties=ties) == bpe.train_plainly(chunks, 40, ties=ties)


@given(st.text())
def test_chunks_join_to_the_text(text):
    assert b"".join(bpe.split(text)) == text.encode()
    assert b"".join(bpe.split(text, "b+")) == text.encode()


@settings(max_examples=50)
@given(st.text())
def test_any_text_comes_back(text):
    merges, _ = bpe.train(bpe.count_chunks([text, "ab ab abc"]), 30)
    ids = bpe.encode(text, merges)
    assert bpe.decode(ids, bpe.tokens_of(merges)) == text


def test_half_a_character_decodes_to_the_replacement_sign():
    assert bpe.decode([0xE2, 0x82], bpe.tokens_of([])) == "\N{REPLACEMENT CHARACTER}"


@given(words, st.text("ab \n", max_size=20))
def test_everywhere_at_once_is_leftmost_first_for_trained_merges(chunks, text):
    chunks.pop(b"", None)
    ranks = bpe.ranks_of(bpe.train(chunks, 12)[0])
    ids = list(text.encode())
    assert bpe.encode_chunk(ids, ranks) == bpe.encode_chunk_leftmost(ids, ranks)


def test_a_list_in_another_order_needs_the_leftmost_rule():
    """aba ranks before its part ab: the first ab opens it before the second ab is merged."""
    a, b, ab, aba = 97, 98, 256, 257
    ranks = bpe.ranks_of([(ab, a, aba), (a, b, ab)])
    assert bpe.encode_chunk(list(b"abab"), ranks) == [ab, ab]
    assert bpe.encode_chunk_leftmost(list(b"abab"), ranks) == [aba, b]


def test_merges_are_rustbpe_s():
    rustbpe = pytest.importorskip("rustbpe")
    theirs = rustbpe.Tokenizer()
    theirs.train_from_iterator([ENGLISH], 256 + 400, pattern=bpe.GPT2_PATTERN)
    merges, _ = bpe.train(bpe.count_chunks([ENGLISH]), 400, ties="smallest_pair")
    published = {bytes(token): rank for token, rank in theirs.get_mergeable_ranks()}
    assert {token: i for i, token in enumerate(bpe.tokens_of(merges))} == published
    assert theirs.encode(ENGLISH) == bpe.encode(ENGLISH, merges)


def test_merges_are_hugging_face_s():
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    theirs.train_from_iterator(
        [ENGLISH],
        tokenizers.trainers.BpeTrainer(
            vocab_size=256 + 400, initial_alphabet=alphabet, show_progress=False
        ),
    )
    merges, _ = bpe.train(bpe.count_chunks([ENGLISH]), 400, ties="huggingface")
    tokens = bpe.tokens_of(merges)

    letters = {b: chr(b) for b in bpe._PRINTABLE}
    letters |= {b: chr(256 + i) for i, b in enumerate(bpe.HUGGINGFACE_BYTES[len(letters) :])}
    spelled = [["".join(letters[b] for b in tokens[i]) for i in row[:2]] for row in merges]
    assert json.loads(theirs.to_str())["model"]["merges"] == spelled


def test_the_pattern_is_gpt2_s():
    original = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    text = ENGLISH + " don't I'll  \n\n x²  १२ 12,345 'sup"
    assert bpe.split(text) == [chunk.encode() for chunk in regex.findall(original, text)]
