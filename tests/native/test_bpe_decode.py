"""Ids to bytes by the native decoder, tiktoken's files, and every way to cut tokens in two."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native.isolation import on_every_other_instruction_set, require_pass

from groundup import _C

BYTES = [bytes([byte]) for byte in range(256)]
tokens_of_any_length = st.lists(st.binary(max_size=40), max_size=20)
crowded = st.lists(st.text("ab", max_size=9).map(str.encode), max_size=40)


@given(tokens_of_any_length, st.data())
def test_ids_are_the_bytes_of_their_tokens_in_every_container(tokens, data):
    used = [i for i, token in enumerate(tokens) if token]
    ids = data.draw(st.lists(st.sampled_from(used), max_size=600)) if used else []
    decoder = _C.BpeDecoder(tokens)
    joined = b"".join(tokens[i] for i in ids)
    assert decoder.decode_bytes(ids) == joined
    assert decoder.decode(ids, "replace") == joined.decode("utf-8", "replace")
    for dtype in (np.uint16, np.int32, np.uint32, np.int64):
        assert decoder.decode_bytes(np.array(ids, dtype=dtype)) == joined


def test_many_ids_among_giant_tokens():
    tokens = [b"x" * 5_000, b"y" * 16, b"z" * 15, b"a"]
    ids = [i * i % 7 % 4 for i in range(2000)]
    decoder = _C.BpeDecoder(tokens)
    joined = b"".join(tokens[i] for i in ids)
    assert decoder.decode_bytes(ids) == joined
    assert decoder.decode_bytes(np.array(ids * 20)) == joined * 20
    assert decoder.decode(ids, "strict") == joined.decode()
    assert decoder.decode(np.array(ids * 20), "strict") == joined.decode() * 20


@given(st.lists(st.text(max_size=40).map(lambda text: text.encode("utf-8", "ignore")), max_size=9))
def test_one_letter_that_is_not_ascii_is_seen_wherever_it_stands(tokens):
    used = [i for i, token in enumerate(tokens) if token]
    text = b"".join(tokens).decode()
    decoded = _C.BpeDecoder(tokens).decode(used, "strict")
    assert decoded == text
    assert decoded.isascii() == text.isascii()
    assert {decoded: 1}[text] == 1


scripts = st.text(st.sampled_from("a \nक\u094dा₹中éÿ\u0100\uffff\u200d"), min_size=30, max_size=150)
faults = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from([0x41, 0x80, 0xBF, 0xC1, 0xC3, 0xE0, 0xED, 0xF0, 0xFF])
    ),
    max_size=3,
)


@given(scripts, faults, st.integers(0, 20))
def test_utf8_and_what_is_not_quite_decodes_as_python_s_own(text, faults, cut):
    """Wherever a vector begins, and whichever byte is wrong, missing or too many."""
    encoded = bytearray(text.encode()[cut:])
    for place, byte in faults:
        if place < len(encoded):
            encoded[place] = byte
    decoder = _C.BpeDecoder(BYTES)
    decoded = decoder.decode(list(encoded), "replace")
    assert decoded == encoded.decode("utf-8", "replace")
    assert decoder.decode(np.array(encoded, dtype=np.uint16), "replace") == decoded
    assert {decoded: 1}[encoded.decode("utf-8", "replace")] == 1


def test_every_character_of_two_and_three_bytes_decodes_at_every_offset():
    decoder = _C.BpeDecoder(BYTES)
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)]))
    for offset in range(17):
        text = "a" * offset + characters[:: 1 + offset % 3]
        assert (
            decoder.decode(np.frombuffer(text.encode(), np.uint8).astype(np.uint16), "strict")
            == text
        )


@on_every_other_instruction_set(telling="utf8 or every_character")
def test_every_instruction_set_decodes_alike(isa, tests):
    require_pass(isa, tests + " and not every_instruction_set", "test_bpe_decode.py")


@pytest.mark.parametrize(
    "ids",
    [
        [4], [-1], [2], [2**64], [-(2**70)], [2**32], [0, None], [True], ["a"], [0.0], (0,), "a", 0,
        np.array([4]), np.array([-1]), np.array([2]), np.array([0.0]), np.array([[0]]), np.array(0),
        np.array([0, 0, 0, 0])[::2], np.array([0], dtype=">i8"), np.array([0], dtype=np.uint64),
    ],
)  # fmt: skip
def test_what_is_not_plainly_ids_is_left_to_the_caller(ids):
    decoder = _C.BpeDecoder([b"a", b"b", b"", b"c"])
    assert decoder.decode_bytes(ids) is None
    assert decoder.decode(ids, "strict") is None


def test_invalid_utf8_is_treated_as_asked():
    decoder = _C.BpeDecoder(BYTES)
    assert decoder.decode([0xE2, 0x82, 65], "replace") == "\ufffdA"
    with pytest.raises(UnicodeDecodeError):
        decoder.decode([0xE2], "strict")


def slow_splits(tokens):
    ids = {token: i for i, token in reversed([*enumerate(tokens)]) if token}
    return [
        [ids[token[:cut]], ids[token[cut:]], i]
        for i, token in enumerate(tokens)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]


@given(st.one_of(crowded, tokens_of_any_length))
def test_every_cut_into_two_tokens_is_listed_once(tokens):
    assert _C.bpe_splits(tokens).tolist() == slow_splits(tokens)
    assert _C.bpe_splits(tokens).dtype == np.uint32


def test_giant_tokens_are_cut_at_once_or_refused():
    tokens = [*BYTES, *(b"%04d" % i * 500 for i in range(3000))]
    assert len(_C.bpe_splits(tokens)) == 0
    chain = [*BYTES, *(b"a" * n for n in range(2, 1000))]
    assert len(_C.bpe_splits(chain)) == 999 * 998 // 2
    with pytest.raises(ValueError, match=r"expected at most .* ways to cut tokens into two"):
        _C.bpe_splits([*BYTES, *(b"a" * n for n in range(2, 5000))])


def lines_of(tokens):
    lines = (base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(tokens) if t)
    return b"".join(lines)


@given(st.lists(st.binary(max_size=12), unique=True, min_size=2))
def test_ranks_are_read_as_they_were_written(tokens):
    while not tokens[-1]:
        tokens.pop()
    assert _C.bpe_read_ranks(lines_of(tokens)) == tokens
    assert _C.bpe_read_ranks(lines_of(tokens).rstrip()) == tokens
    assert _C.bpe_read_ranks(b"\n".join(reversed(lines_of(tokens).split(b"\n")))) == tokens


@given(st.binary(max_size=30))
def test_any_other_bytes_are_refused_or_are_what_base64_says(tail):
    lines = lines_of(BYTES) + tail
    tokens = _C.bpe_read_ranks(lines)
    if tokens is not None:
        fields = [line.split(b" ") for line in lines.split(b"\n") if line]
        for token, rank in fields:
            assert tokens[int(rank)] == base64.b64decode(token, validate=True)


@pytest.mark.parametrize(
    "line",
    [b"YQ==", b"YQ== ", b" 1", b"YQ== -1", b"YQ== 1 ", b"YQ= 1", b"YQ=a 1", b"Y=== 1", b"==== 1",
     b"YQ==YQ== 1", b"YQ== 16777216", b"YQ== 123456789", b"YQ== x", b"YQ==\t1", b"YQ== 1\r",
     b"YQ== 0\nYg== 0", b"YQ== 0\nYQ== 1", b"", b"\n\n"],
)  # fmt: skip
def test_a_line_of_another_form_is_refused(line):
    assert _C.bpe_read_ranks(line) is None


@pytest.mark.parametrize("kind", [_C.BpeEncoder, _C.BpeDecoder, _C.ChunkCounts])
def test_an_object_that_init_never_saw_is_refused(kind):
    class Half(kind):
        def __init__(self):
            pass

    calls = {
        _C.BpeEncoder: lambda e: e.encode("a"),
        _C.BpeDecoder: lambda d: d.decode([1], "strict"),
        _C.ChunkCounts: lambda c: c.items(),
    }
    with pytest.raises(TypeError, match="expected one made by calling it, got one from __new__"):
        calls[kind](kind.__new__(kind))
    with pytest.raises(TypeError, match="__init__"):
        Half()
    with pytest.raises(TypeError, match="got one from __new__"):
        _C.bpe_train(_C.ChunkCounts.__new__(_C.ChunkCounts), 1, "huggingface", 1, 1)
    with pytest.raises(TypeError, match="expected a ChunkCounts, got int"):
        _C.bpe_train(5, 1, "huggingface", 1, 1)
