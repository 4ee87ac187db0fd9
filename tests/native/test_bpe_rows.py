"""The native reader of the tokenizer's own file takes what `json` takes, or nothing."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup import _native

_C = _native.core()
pytestmark = pytest.mark.skipif(_C is None, reason="needs the native core")

BYTES = [bytes([byte]) for byte in range(256)]


def read(text: str, width: int = 3):
    return _C.bpe_read_rows(text.encode(), 0, width)


ids = st.integers(0, (1 << 24) - 1)


@given(
    st.lists(st.tuples(ids, ids, ids, st.integers(0, (1 << 64) - 1)), max_size=8),
    st.sampled_from([None, 0, 2]),
)
def test_rows_are_read_in_any_layout(rows, indent):
    spelled = json.dumps(rows, indent=indent)[1:] + " }\n"
    merges, counts = read(spelled, 4)
    assert merges.tolist() == [list(row[:3]) for row in rows]
    assert counts.tolist() == [row[3] for row in rows]
    narrow = json.dumps([row[:3] for row in rows], indent=indent)[1:] + "}"
    merges, counts = read(narrow)
    assert merges.tolist() == [list(row[:3]) for row in rows]
    assert merges.dtype == np.uint32
    assert len(counts) == 0


@given(st.text("[]{},.-0123456789 \n\t", max_size=30))
def test_whatever_is_read_json_reads_too(text):
    found = read(text)
    if found is not None:
        assert json.loads('{"merges": [' + text)["merges"] == found[0].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "]",
        "]}x",
        "]}\x00",
        "[1,2,3]",
        "[1,2,3],]}",
        "[01,2,3]]}",
        "[1,2,-3]]}",
        "[1,2,3.0]]}",
        "[1,2]]}",
        "[1,2,3,4]]}",
        "[1,2,16777216]]}",
        "[1,2,18446744073709551616]]}",
        "[1,2,3],,[1,2,3]]}",
        "\u00a0[1,2,3]]}",
    ],
)
def test_anything_else_is_left_to_the_slow_reader(text):
    assert read(text) is None


def test_the_largest_numbers_are_read():
    merges, counts = read("[16777215,0,1,18446744073709551615]]}", 4)
    assert (merges.tolist(), counts.tolist()) == ([[16777215, 0, 1]], [2**64 - 1])
    assert read("[1,0,1,18446744073709551616]]}", 4) is None


def test_arguments_that_would_read_beyond_are_refused():
    with pytest.raises(ValueError, match="expected begin within contents"):
        _C.bpe_read_rows(b"]}", 3, 3)
    with pytest.raises(ValueError, match="and width 3 or 4"):
        _C.bpe_read_rows(b"]}", 0, 5)


def rows_of(*rows):
    return np.array(rows, dtype=np.uint32).reshape(-1, 3)


def test_tokens_follow_from_rows():
    rows = rows_of((97, 98, 256), (256, 256, 257), (0, 257, 258))
    assert _C.bpe_tokens_of_rows(rows, 1 << 20) == [*BYTES, b"ab", b"abab", b"\0abab"]
    assert _C.bpe_tokens_of_rows(rows_of(), 256) == BYTES


@pytest.mark.parametrize(
    "rows", [[(97, 256, 256)], [(256, 97, 256)], [(97, 98, 257)], [(97, 98, 255)]]
)
def test_rows_that_make_no_tokens_make_none(rows):
    assert _C.bpe_tokens_of_rows(rows_of(*rows), 1 << 20) is None


def test_tokens_stay_within_their_bound():
    doubling = [(97, 97, 256), *((i, i, i + 1) for i in range(256, 100_000))]
    assert _C.bpe_tokens_of_rows(rows_of(*doubling), 1 << 20) is None
    assert _C.bpe_tokens_of_rows(rows_of((97, 98, 256)), 258) == [*BYTES, b"ab"]
    assert _C.bpe_tokens_of_rows(rows_of((97, 98, 256)), 257) is None


@given(st.dictionaries(st.integers(0, (1 << 24) - 1), st.text(max_size=8), max_size=6))
def test_what_was_seen_is_judged_in_any_spelling(seen):
    rising = {str(i): text for i, text in sorted(seen.items())}
    last = max(seen, default=-1)
    assert _C.bpe_last_seen(json.dumps(rising, ensure_ascii=False)[1:-1].encode()) == last
    assert _C.bpe_last_seen(json.dumps(rising, indent=2, ensure_ascii=False)[1:-1].encode()) == last


@given(st.text('"0123456789:, \\nut/dD8fa\x00\x1f\x7f', max_size=24))
def test_what_is_judged_well_json_reads_too(text):
    between = '"0": "' + text
    last = _C.bpe_last_seen(between.encode())
    if last > -2:
        read = json.loads("{" + between + "}")
        assert max(map(int, read)) == last
        "".join(read.values()).encode()


@pytest.mark.parametrize(
    "between",
    [
        '"1": "a", "1": "b"',
        '"2": "a", "1": "b"',
        '"01": "a"',
        '"1": "a",',
        '"1": 5',
        '"1": ["a"]',
        '"1" "a"',
        '1: "a"',
        '"1": "\n"',
        r'"1": "\ud83d\ude00"',
        r'"1": "\x41"',
        r'"1": "\u12"',
        '"1": "a',
        '"1": "\\',
        '"16777216": "a"',
        '" 1": "a"',
        '"": "a"',
        "}",
    ],
)
def test_what_is_amiss_or_rare_is_left_to_the_slow_reader(between):
    assert _C.bpe_last_seen(between.encode()) == -2
