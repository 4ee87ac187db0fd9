"""Ids are tiktoken's ids, on its vocabularies and on any other, from any thread."""

import base64
import multiprocessing
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup import _C

TIKTOKEN = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "none": r"[\s\S]+",
}
SHARED = {"bpe/r50k_base.tiktoken": "gpt2", "bpe/cl100k_base.tiktoken": "gpt4"}
texts = st.one_of(
    st.text(st.sampled_from("abc '1\n"), max_size=80),
    st.text(
        st.sampled_from("aAsS'  \t\r\n/.09\x00\x85\u017f\u0301\u0915\u093e\u4e2dé\U0001f600"),
        max_size=40,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)


class Pair:
    """One vocabulary in tiktoken and here."""

    def __init__(self, tokens: list[bytes], pattern: str) -> None:
        self.tokens = tokens
        self.rows = _C.bpe_splits(tokens)
        self.ours = _C.BpeEncoder(tokens, self.rows, pattern, True)
        self.decoder = _C.BpeDecoder(tokens)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        self.theirs = tiktoken.Encoding(
            pattern, pat_str=TIKTOKEN[pattern], mergeable_ranks=ranks, special_tokens={}
        )


def library_text() -> str:
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [*sorted(folder.glob("*.py")), *sorted(folder.glob("pydoc_data/*.py"))]
    return "".join(path.read_text(encoding="utf-8") for path in paths)[:2_000_000]


@cache
def trained(pattern: str) -> Pair:
    """2,000 merges of library text and of letters without sense, where one string arises in many
    ways."""
    counts = _C.ChunkCounts()
    noise = "".join("abc '1\n"[i * i * 7919 % 104729 % 7] for i in range(20_000))
    counts.add_texts([library_text()[:300_000], noise, "é\u0915\u093e\U0001f600 " * 50], pattern, 1)
    merges, _ = _C.bpe_train(counts, 2000, "smallest_pair", 1, 1)
    tokens = [bytes([value]) for value in range(256)]
    for left, right, _fresh in merges.tolist():
        tokens.append(tokens[left] + tokens[right])
    return Pair(list(dict.fromkeys(tokens)), pattern)


@cache
def shared(path: Path, pattern: str) -> Pair:
    lines = path.read_bytes().split(b"\n")
    ranked = [line.split() for line in lines if line]
    assert [int(rank) for _, rank in ranked] == list(range(len(ranked)))
    return Pair([base64.b64decode(token) for token, _ in ranked], pattern)


@pytest.mark.parametrize("pattern", sorted(TIKTOKEN))
@settings(max_examples=400, deadline=None)
@given(text=texts)
def test_ids_are_tiktokens_on_a_trained_vocabulary(pattern, text):
    pair = trained(pattern)
    ids = pair.ours.encode(text)
    assert ids == pair.theirs.encode_ordinary(text)
    assert pair.decoder.decode_bytes(ids) == text.encode()


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_library_text_gives_tiktokens_ids(pattern):
    pair, text = trained(pattern), library_text()
    assert pair.ours.encode_to_numpy(text).tolist() == pair.theirs.encode_ordinary(text)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("text", ["hindi_premchand/premchand.txt", "tinyshakespeare/input.txt"])
def test_shared_text_gives_tiktokens_ids_on_its_own_ranks(data_file, name, text):
    pair = shared(data_file(name), SHARED[name])
    content = data_file(text).read_text(encoding="utf-8")[:1_500_000]
    assert pair.ours.encode_to_numpy(content).tolist() == pair.theirs.encode_ordinary(content)


@pytest.mark.parametrize("name", SHARED)
def test_any_text_gives_tiktokens_ids_on_its_own_ranks(data_file, name):
    pair = shared(data_file(name), SHARED[name])

    @settings(max_examples=300, deadline=None)
    @given(text=texts)
    def check(text: str) -> None:
        assert pair.ours.encode(text) == pair.theirs.encode_ordinary(text)

    check()


def slow_merge(chunk: bytes, pairs: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """The lowest rank first, the leftmost of equals: the definition."""
    ids = list(chunk)
    while len(ids) > 1:
        ranked = [(*pairs[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in pairs]
        if not ranked:
            break
        _, fresh, at = min(ranked, key=lambda entry: (entry[0], entry[2]))
        ids[at : at + 2] = [fresh]
    return ids


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface", "first_seen"])
@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=12),
    long=st.text("abc", min_size=65, max_size=200),
)
def test_learned_merges_apply_in_order_to_short_and_long_chunks(ties, words, long):
    counts = _C.ChunkCounts()
    counts.add_texts(words, "none", 1)
    merges, _ = _C.bpe_train(counts, 60, ties, 1, 1)
    tokens = [bytes([value]) for value in range(256)]
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for rank, (left, right, fresh) in enumerate(merges.tolist()):
        tokens.append(tokens[left] + tokens[right])
        pairs[left, right] = (rank, fresh)
    encoder = _C.BpeEncoder(tokens, merges, "none", False)
    for text in [*words, long]:
        assert encoder.encode(text) == slow_merge(text.encode(), pairs)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", ["a", "ab", " ", "\n", "'", "0", "=", "\u0915", "é"])
def test_a_million_repeats_encode_to_the_end(unit):
    pair = trained("gpt4")
    text = unit * (1_000_000 // len(unit))
    ids = pair.ours.encode_to_numpy(text)
    assert pair.decoder.decode_bytes(ids) == text.encode()
    short = unit * 500  # tiktoken overflows its stack on long white space
    assert pair.ours.encode(short) == pair.theirs.encode_ordinary(short)


def test_a_long_chunk_gives_tiktokens_ids():
    pair = trained("none")
    text = library_text()[:20_000]
    assert pair.ours.encode(text) == pair.theirs.encode_ordinary(text)


def test_the_cache_answers_as_the_first_time():
    """More distinct chunks than the cache has slots, twice over, against a new encoder's ids."""
    pair = trained("gpt4")
    text = " ".join(f"w{i:x} {i}" for i in range(150_000))
    first = pair.ours.encode_to_numpy(text)
    assert np.array_equal(first, pair.ours.encode_to_numpy(text))
    assert first.tolist() == pair.theirs.encode_ordinary(text)


def test_chunks_of_many_ids_come_and_go():
    """More of 5 to 15 ids than the cache has room for, and some of up to 300 bytes, twice over."""
    pair = trained("gpt4")
    letters = np.random.default_rng(0).integers(97, 123, size=(45_000, 300), dtype="u1")
    lengths = [6 + i % 9 + (i % 11 * 29 if i % 5 == 0 else 0) for i in range(len(letters))]
    words = [bytes(row[:n]) for row, n in zip(letters, lengths, strict=True)]
    text = b" ".join(words).decode()
    ours = _C.BpeEncoder(pair.tokens, pair.rows, "gpt4", True)
    expected = pair.theirs.encode_ordinary(text)
    assert ours.encode(text) == expected
    assert ours.encode(text) == expected


@settings(max_examples=200, deadline=None)
@given(
    kinds=st.lists(st.text(st.sampled_from("abcé \n"), min_size=1, max_size=50), max_size=30),
    order=st.lists(st.integers(0, 29), max_size=300),
)
def test_new_chunks_among_known_ones_get_their_ids_in_their_places(kinds, order):
    """Of every length and number of ids at which the cache keeps it elsewhere or not at all."""
    pair = trained("gpt4")
    text = "".join(" " + kinds[i % len(kinds)] for i in order) if kinds else ""
    ours = _C.BpeEncoder(pair.tokens, pair.rows, "gpt4", True)
    expected = pair.theirs.encode_ordinary(text)
    assert ours.encode(text) == expected
    assert ours.encode(text) == expected


@pytest.mark.parametrize("n_kinds", [60, 70, 1_500, 12_000])
def test_a_cache_that_grows_keeps_what_it_has(n_kinds):
    """Each word first among new ones, then among known ones; words of 1 to 45 bytes."""
    pair = trained("gpt4")
    words = [
        f" {i * 7919 % n_kinds:x}{'abcdefghij' * (i % 5)}"[: 1 + i % 45] for i in range(n_kinds)
    ]
    text = "".join(words) + "".join(words[::-1]) + "".join(words[i // 3] for i in range(n_kinds))
    ours = _C.BpeEncoder(pair.tokens, pair.rows, "gpt4", True)
    expected = pair.theirs.encode_ordinary(text)
    assert ours.encode_to_numpy(text).tolist() == expected
    assert ours.encode_to_numpy(text).tolist() == expected


def test_eight_threads_share_one_encoder():
    pair = trained("gpt4")
    parts = [library_text()[at : at + 50_000] for at in range(0, 800_000, 50_000)]
    expected = [pair.ours.encode(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pair.ours.encode, parts * 4)) == expected * 4


def test_batches_equal_single_calls_whatever_the_threads():
    pair = trained("gpt2")
    parts = ["", "a", *library_text()[:200_000].splitlines(keepends=True), "x" * 300]
    expected = [pair.ours.encode(part) for part in parts]
    for threads in (1, 2, 8):
        assert pair.ours.encode_batch(parts, threads) == expected
        ids, ends = pair.ours.encode_batch_to_numpy(parts, threads)
        assert ends[0] == 0
        assert [ids[a:b].tolist() for a, b in pairwise(ends)] == expected
    arrays = [np.array(ids, dtype=np.uint32) for ids in expected]
    assert [pair.decoder.decode(ids, "strict") for ids in arrays] == parts


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none"])
def test_a_long_text_in_a_batch_is_cut_for_the_threads_and_joined_again(pattern):
    pair = trained(pattern)
    text = library_text()[:400_000]
    for parts in ([text], ["a", text, "", text[::-1], "b"]):
        expected = [pair.ours.encode(part) for part in parts]
        for threads in (1, 2, 8):
            assert pair.ours.encode_batch(parts, threads) == expected
            ids, ends = pair.ours.encode_batch_to_numpy(parts, threads)
            assert [ids[a:b].tolist() for a, b in pairwise(ends)] == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_a_list_holds_texts_that_grow_denser_or_thinner(threads):
    """How many ids a long text will have is told by its first piece, and told wrong here."""
    pair = trained("gpt4")
    thin, dense = " return" * 20_000, " \u4e2d\u0915" * 30_000
    texts = [thin + dense, dense + thin, "", dense + thin + dense, "b"]
    assert pair.ours.encode_batch(texts, threads) == [pair.ours.encode(text) for text in texts]


def test_a_list_takes_no_memory_for_ids_that_do_not_come():
    """Its first piece has an id for each byte, the other 10 MB one for seven."""
    code = (
        "import resource, sys\n"
        "from groundup.tokenizer import Tokenizer\n"
        "tok = Tokenizer.train([' return' * 9], 262)\n"
        "text = '\u2600\u2601\u2602\u2603' * 6000 + ' return' * 1_500_000\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "lists = tok.encode_batch([text], num_threads=1)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(sys.getsizeof(lists[0]), (peak - before) * 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, taken = map(int, done.stdout.split())
    assert size < 8 * 1_900_000
    assert taken < 3 * 8 * 1_900_000


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_offsets_are_the_characters_a_token_touches(pattern, text):
    pair = trained(pattern)
    ids, offsets = pair.ours.encode_with_offsets(text)
    assert ids.tolist() == pair.ours.encode(text)
    assert offsets.shape == (len(ids), 2)
    character_of = [n for n, char in enumerate(text) for _ in char.encode()]
    at = 0
    for token, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True):
        size = len(pair.tokens[token])
        assert (start, end) == (character_of[at], character_of[at + size - 1] + 1)
        at += size


def test_offsets_start_where_tiktokens_do():
    pair, text = trained("gpt4"), "héllo \U0001f600 \u0915\u094d\u0937 it's"
    ids, offsets = pair.ours.encode_with_offsets(text)
    assert offsets[:, 0].tolist() == pair.theirs.decode_with_offsets(ids.tolist())[1]


def test_chunks_cut_elsewhere_encode_alone():
    pair = trained("none")
    encode = pair.ours.encode_chunks
    ends = np.array([0, 3, 3, 7, 9], dtype=np.int64)
    expected = [id for part in ("the", "them", "od") for id in pair.ours.encode(part)]
    assert encode(b"thethemod", ends).tolist() == expected
    assert encode(b"\xff\xfe", np.array([1, 2], dtype=np.int64)).tolist() == [255, 254]
    assert encode(b"", np.array([], dtype=np.int64)).tolist() == []


def test_a_forked_child_encodes_and_trains():
    pair = trained("gpt4")
    pair.ours.encode_batch(["warm up"] * 8, 2)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(in_child) == [pair.ours.encode("forked child")] * 3


def in_child() -> list[list[int]]:
    encoder = trained("gpt4").ours
    counts = _C.ChunkCounts()
    counts.add_texts(["some text " * 300_000], "gpt4", 2)
    _C.bpe_train(counts, 10, "smallest_pair", 1, 2)
    return [encoder.encode("forked child"), *encoder.encode_batch(["forked child"] * 2, 2)]


BYTES = [bytes([value]) for value in range(256)]


def ids_of(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


def rows(*values: tuple[int, int, int]) -> np.ndarray:
    return np.array(values, dtype=np.uint32).reshape(-1, 3)


def test_a_vocabulary_may_number_its_bytes_as_it_likes():
    tokens = [b"ab", *reversed(BYTES)]
    encoder = _C.BpeEncoder(
        tokens, rows((tokens.index(b"a"), tokens.index(b"b"), 0)), "gpt2", False
    )
    assert encoder.encode("abb") == [0, tokens.index(b"b")]


def test_whole_chunks_finds_tokens_that_no_merge_reaches():
    tokens = [*BYTES, b"hello"]
    assert _C.BpeEncoder(tokens, rows(), "gpt2", True).encode("hello hello") == [256, 32, *b"hello"]
    assert _C.BpeEncoder(tokens, rows(), "gpt2", False).encode("hello") == [*b"hello"]


def test_empty_text_and_no_ids_are_empty():
    encoder = trained("gpt2").ours
    assert encoder.encode("") == []
    assert encoder.encode_to_numpy("").dtype == np.uint32
    assert encoder.encode_batch([], 2) == []
    assert encoder.encode_batch_to_numpy([], 2)[1].tolist() == [0]


@pytest.mark.parametrize(
    ("tokens", "merges", "error", "message"),
    [
        (BYTES[1:], rows(), ValueError, "a token for each of the 256 bytes, but byte 0 has none"),
        (BYTES, rows((97, 98, 256)), ValueError, "merges row 0: expected ids below 256, got 256"),
        (
            [*BYTES, b"ax"],
            rows((97, 98, 256)),
            ValueError,
            "row 0: expected token 256 to be the bytes",
        ),
        (
            [*BYTES, b""],
            rows((97, 98, 256)),
            ValueError,
            "row 0: expected token 256 to be the bytes",
        ),
        (["a"], rows(), TypeError, "bytes"),
        (
            BYTES,
            rows().astype(np.int64),
            TypeError,
            "merges: expected a NumPy array of dtype uint32",
        ),
        (
            BYTES,
            rows().reshape(0, 2),
            ValueError,
            r"merges: expected shape \(n, 3\).* got \(0, 2\)",
        ),
    ],
)
def test_a_vocabulary_that_cannot_work_is_refused(tokens, merges, error, message):
    with pytest.raises(error, match=message):
        _C.BpeEncoder(tokens, merges, "gpt2", False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.encode("\ud800"), UnicodeEncodeError, "surrogates"),
        (lambda e: e.encode(b"a"), TypeError, "incompatible function arguments"),
        (lambda e: e.encode_batch(["a"], 0), ValueError, "threads: expected 1 or more, got 0"),
        (lambda e: e.encode_chunks(b"ab", np.array([2, 1])), ValueError, "ends: .* got 1 after 2"),
        (lambda e: e.encode_chunks(b"ab", np.array([3])), ValueError, "2 bytes, got 3 after 0"),
        (lambda e: e.encode_chunks(b"ab", np.array([-1])), ValueError, "got -1 after 0"),
        (lambda e: e.encode_chunks(b"ab", np.array([1])), ValueError, "end of the text, 2, got 1"),
        (lambda e: e.encode_chunks(b"ab", np.array([], int)), ValueError, "2, got no ends; the"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_in_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call(trained("gpt2").ours)


def test_a_sequence_that_makes_its_items_anew_is_held_while_it_is_read():
    class Squares(Sequence):
        def __len__(self):
            return 300

        def __getitem__(self, i):
            if not 0 <= i < len(self):
                raise IndexError(i)
            return f"é{i * i} " * 40

    encoder = _C.BpeEncoder(BYTES, np.zeros((0, 3), np.uint32), "gpt2", False)
    lists = encoder.encode_batch(Squares(), 2)
    assert [bytes(ids).decode() for ids in lists] == list(Squares())
