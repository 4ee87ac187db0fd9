"""Token ids survive the disk, and a file that is not whole is told."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.shards import DamagedShardError, Tokens, map_shard, read_header, write_shard


@pytest.mark.parametrize(("vocab_size", "width"), [(1, 2), (65_536, 2), (65_537, 4), (1 << 32, 4)])
def test_ids_take_two_bytes_below_65536_and_four_above(tmp_path, vocab_size, width):
    path = tmp_path / "a.tokens"
    ids = np.array([0, vocab_size - 1, 0], dtype=np.int64)
    write_shard(path, ids, vocab_size=vocab_size, tokenizer_hash=b"h" * 32)
    assert path.stat().st_size == 64 + 3 * width
    header, mapped = map_shard(path)
    assert (header.bytes_per_token, header.n_tokens) == (width, 3)
    assert (header.vocab_size, header.tokenizer_hash) == (vocab_size, b"h" * 32)
    assert mapped.tolist() == ids.tolist()
    assert not mapped.flags.writeable


def test_an_empty_shard_is_a_shard(tmp_path):
    write_shard(tmp_path / "a", np.empty(0, np.int64), vocab_size=5)
    assert len(map_shard(tmp_path / "a")[1]) == 0
    assert len(Tokens([tmp_path / "a"])) == 0


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6), cut=st.data())
def test_shards_read_as_one_sequence(tmp_path_factory, lengths, cut):
    folder = tmp_path_factory.mktemp("shards")
    whole = np.arange(sum(lengths))
    starts = np.cumsum([0, *lengths])
    paths = []
    for number, (start, length) in enumerate(zip(starts, lengths, strict=False)):
        paths.append(folder / f"{number}")
        write_shard(paths[-1], whole[start : start + length], vocab_size=100)
    tokens = Tokens(paths)
    start = cut.draw(st.integers(0, len(whole)))
    stop = cut.draw(st.integers(start, len(whole)))
    assert len(tokens) == len(whole)
    assert tokens.read(start, stop).tolist() == list(range(start, stop))
    assert tokens.read(start, stop).dtype == np.int64


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (3, 2)])
def test_a_range_outside_the_tokens_is_told(tmp_path, start, stop):
    write_shard(tmp_path / "a", np.arange(3), vocab_size=5)
    with pytest.raises(IndexError, match=r"tokens: expected a range in \[0, 3\)"):
        Tokens([tmp_path / "a"]).read(start, stop)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 7], r"ids: expected token ids in \[0, 7\), got 7"),
        ([-1, 3], r"ids: expected token ids in \[0, 7\), got -1"),
        ([[1]], r"ids: expected integers \(n,\), got int64 \(1, 1\)"),
        ([0.5], "ids: expected integers .* got float64"),
    ],
)
def test_ids_that_fit_no_shard_are_told_and_nothing_is_written(tmp_path, ids, message):
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path / "a", np.array(ids), vocab_size=7)
    assert not list(tmp_path.iterdir())


def _written(tmp_path, **changes):
    path = tmp_path / "a.tokens"
    write_shard(path, np.arange(10), vocab_size=50)
    return path


@pytest.mark.parametrize("length", [*range(8, 84, 5), 83])
def test_a_shard_cut_anywhere_is_told(tmp_path, length):
    path = _written(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="cut short"):
        map_shard(path)


@pytest.mark.parametrize("contents", [b"", b"GUTOK", b"PK\x03\x04" * 30, bytes(200)])
def test_a_foreign_file_is_told(tmp_path, contents):
    (tmp_path / "a").write_bytes(contents)
    with pytest.raises(ValueError, match="expected token ids written by `groundup prepare`"):
        map_shard(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        map_shard(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("offset", "layout", "value", "message"),
    [
        (8, "<I", 2, "expected format version 1, got 2"),
        (12, "<I", 3, "the header is damaged"),
        (12, "<I", 4, "cut short"),
        (16, "<Q", 1 << 63, "cut short"),
        (16, "<Q", 9, "goes on past its end"),
        (24, "<Q", 0, "the header is damaged"),
        (24, "<Q", 1 << 60, "the header is damaged"),
    ],
)
def test_a_header_that_lies_is_told(tmp_path, offset, layout, value, message):
    path = _written(tmp_path)
    contents = bytearray(path.read_bytes())
    struct.pack_into(layout, contents, offset, value)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        map_shard(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_no_contents_crash_the_reader(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(b"GUTOKENS" + contents)
    with contextlib.suppress(ValueError):
        assert read_header(path).n_tokens * 2 <= len(contents)


def test_shards_of_two_tokenizers_are_told(tmp_path):
    write_shard(tmp_path / "a", np.arange(3), vocab_size=5)
    write_shard(tmp_path / "b", np.arange(3), vocab_size=6)
    write_shard(tmp_path / "c", np.arange(3), vocab_size=5, tokenizer_hash=b"x" * 32)
    for other in "bc":
        with pytest.raises(ValueError, match="made by another tokenizer than"):
            Tokens([tmp_path / "a", tmp_path / other])


def test_an_id_outside_the_vocabulary_is_told_with_its_file_and_place(tmp_path):
    for name in "abc":
        write_shard(tmp_path / name, np.arange(10) if name != "b" else np.arange(0), vocab_size=50)
    tokens = Tokens([tmp_path / name for name in "abc"])
    contents = bytearray((tmp_path / "c").read_bytes())
    struct.pack_into("<H", contents, 64 + 2 * 7, 50)
    (tmp_path / "c").write_bytes(contents)
    assert tokens.read(4, 17).tolist() == [*range(4, 10), *range(7)]
    with pytest.raises(DamagedShardError, match=r"c: expected token ids in \[0, 50\), got 50 at"):
        Tokens([tmp_path / name for name in "abc"]).read(4, 18)
    with pytest.raises(DamagedShardError, match="at position 7: the file is damaged; prepare it"):
        tokens.read(17, 18)
