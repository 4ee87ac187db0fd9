"""Ids to text: any bytes, bad ids, and streams that never show half a character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import Tokenizer


@given(st.data())
def test_any_ids_decode_to_their_bytes(trained, data):
    ids = data.draw(st.lists(st.integers(0, trained.n_vocab - 1), max_size=30))
    tokens = trained.token_byte_values()
    joined = b"".join(tokens[i] for i in ids)
    assert trained.decode_bytes(ids) == joined
    assert trained.decode(ids) == joined.decode("utf-8", "replace")
    assert trained.decode_batch([ids, [], ids]) == [trained.decode(ids), "", trained.decode(ids)]
    streamed = trained.stream_decoder()
    assert "".join([*map(streamed.decode, ids), streamed.finish()]) == trained.decode(ids)


def test_a_stream_never_shows_half_a_character(trained):
    stream = trained.stream_decoder()
    shown = [stream.decode(byte) for byte in "é🙂".encode()]
    assert shown == ["", "é", "", "", "", "🙂"]
    assert [stream.decode(0xE2), stream.finish(), stream.finish()] == ["", "\ufffd", ""]
    assert stream.decode([0xE2, 0x82, 0xAC]) == "€"
    assert stream.decode(np.array([65, 66])) == "AB"
    assert stream.decode(trained.eot_token) == "<|endoftext|>"


@given(st.text(st.sampled_from("a क्षि\u200d👩🏽🚀🇮🇳é\u0301"), max_size=30), st.data())
def test_a_stream_that_is_cut_anywhere_shows_whole_characters_only(trained, text, data):
    """Joiners, modifiers and flags: what has come is shown up to its last whole code point."""
    ids = data.draw(st.sampled_from([list(text.encode()), trained.encode_ordinary(text)]))
    tokens = trained.token_byte_values()
    stream, shown, come = trained.stream_decoder("strict"), "", b""
    for i in ids:
        shown += stream.decode(i)
        come += tokens[i]
        assert shown == come.decode("utf-8", "ignore")
    assert shown + stream.finish() == text


def test_a_stream_takes_the_ids_that_numpy_and_torch_give():
    torch = pytest.importorskip("torch")
    tok = Tokenizer.train([], 256)
    stream = tok.stream_decoder()
    ids = [np.int64(104), np.uint32(105), torch.tensor(33), torch.tensor([33, 33]), np.array([46])]
    assert "".join(map(stream.decode, ids)) == "hi!!!."


def test_errors_chooses_what_half_a_character_does(trained):
    assert trained.decode([0xE2, 0x82]) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        trained.decode([0xE2, 0x82], errors="strict")
    with pytest.raises(UnicodeDecodeError):
        trained.stream_decoder("strict").decode(0xFF)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_any_whole_number_dtype_decodes(trained, dtype):
    assert trained.decode(np.array([104, 105], dtype=dtype)) == "hi"
    assert trained.decode(np.array([104, 0, 105, 0], dtype=dtype)[::2]) == "hi"


def test_a_tensor_decodes(trained):
    torch = pytest.importorskip("torch")
    assert trained.decode(torch.tensor([104, 105])) == "hi"
    assert trained.stream_decoder().decode(torch.tensor([104, 105])) == "hi"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([700], "700 is no token; this vocabulary has ids from 0 to 699"),
        ([5, -1], "-1 is no token"),
        ([2**40], f"{2**40} is no token"),
        ([2**70], f"{2**70} is no token"),
        ([1.5], r"expected a list of whole numbers, got \[1\.5\]"),
        (["a"], r"expected a list of whole numbers, got \['a'\]"),
        (np.array([True]), "expected a list of whole numbers"),
        ([[1, 2]], r"got shape \(1, 2\); use decode_batch"),
        ([[1], [2, 3]], "expected a list of whole numbers"),
        (5, "expected a list of whole numbers, got 5"),
        ("text", "expected a list of whole numbers"),
        (None, "expected a list of whole numbers, got None"),
    ],
)
def test_bad_ids_are_told_in_a_sentence(trained, ids, message):
    with pytest.raises(ValueError, match=f"^ids: .*{message}"):
        trained.decode(ids)
    with pytest.raises(ValueError, match=message):
        trained.decode_batch([[1], ids])


def test_no_ids_are_no_text(trained):
    assert trained.decode([]) == ""
    assert trained.decode(np.array([], dtype=np.int64)) == ""
    assert trained.decode_batch([]) == []
