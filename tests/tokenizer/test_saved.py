"""The tokenizer's own file: whole, the same when saved again, and read with suspicion."""

import copy
import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import PATTERNS, Tokenizer


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "tok.json"
    trained.save(path)
    return path


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\W"])
@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface"])
def test_a_second_save_is_equal_byte_for_byte(tmp_path, mixed_text, pattern, ties):
    tok = Tokenizer.train(
        [mixed_text], 400, pattern=pattern, ties=ties, special_tokens=["<|b|>", "<|a|>"]
    )
    tok.save(tmp_path / "first.json")
    again = Tokenizer.load(tmp_path / "first.json")
    again.save(tmp_path / "second.json")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    assert again == tok
    assert again.merge_counts.tolist() == tok.merge_counts.tolist()
    assert again.encode(mixed_text) == tok.encode(mixed_text)
    assert [str(again.explain(i)) for i in range(400)] == [str(tok.explain(i)) for i in range(400)]


def test_imported_vocabularies_are_saved_too(tmp_path, trained, mixed_text):
    trained.to_tiktoken(tmp_path / "ranks.tiktoken")
    ranks = Tokenizer.from_tiktoken(
        tmp_path / "ranks.tiktoken", "gpt4", special_tokens={"<|x|>": 5000}
    )
    trained.to_hf(tmp_path / "tokenizer.json")
    merges = Tokenizer.from_hf(tmp_path)
    for tok in (ranks, merges):
        tok.save(tmp_path / "first.json")
        again = Tokenizer.load(tmp_path / "first.json")
        again.save(tmp_path / "second.json")
        assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
        assert again == tok
        assert again.encode(mixed_text) == trained.encode(mixed_text)


@pytest.mark.parametrize("name", ["cl100k_base", "gpt2"])
def test_published_vocabularies_are_saved_too(tmp_path, data_file, published, name, library_text):
    if name == "gpt2":
        tok = Tokenizer.from_gpt2(data_file("bpe/vocab.bpe"), data_file("bpe/encoder.json"))
    else:
        tok, _ = published(name)
    tok.save(tmp_path / "tok.json")
    again = Tokenizer.load(tmp_path / "tok.json")
    assert again == tok
    assert again.encode(library_text[:50_000]) == tok.encode(library_text[:50_000])


def test_tokenizers_travel_to_worker_processes(trained, mixed_text):
    again = pickle.loads(pickle.dumps(trained))  # noqa: S301 - our own bytes
    assert again == trained
    assert again.encode(mixed_text) == trained.encode(mixed_text)


def test_saving_leaves_the_old_file_when_it_fails(trained, tmp_path):
    folder = tmp_path / "tok.json"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="expected a regular file or none"):
        trained.save(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, 'expected "format": "groundup.tokenizer", got \'other\'; for token'),
        ({"version": 3}, "expected a format version from 1 to 2, got 3; install a groundup that"),
        ({"version": "1"}, "expected version to be a whole number, got '1'"),
        ({"base": "codepoints"}, 'expected "base": "bytes", got \'codepoints\''),
        ({"base": "code points"}, 'expected "base": "bytes", got \'code points\''),
        ({"base": "code points", "version": 2}, "expected tokens of whole characters"),
        ({"pattern": "gpt4"}, "expected pattern to be an object, got 'gpt4'"),
        ({"pattern": {"name": "gpt9"}}, "expected one of gpt2, gpt4"),
        ({"pattern": {"name": r"\s+"}}, "it knows no pattern of the name"),
        ({"pattern": {"regex": "(["}}, "is no regular expression"),
        ({"pattern": {"regex": "\ud800"}}, "to be Unicode, got"),
        ({"special_tokens": []}, "expected special_tokens to be an object"),
        ({"special_tokens": {"<x>": 97}}, "id 97 is both the special token '<x>' and"),
        ({"special_tokens": {"<x>": -1}}, "expected the id of '<x>' from 0"),
        ({"special_tokens": {"<x>": 10**4000}}, "expected the id of '<x>' from 0"),
        (
            {"special_tokens": {"<x>": 1 << 21}},
            "most ids to be tokens, but of 2097153 only 699 are",
        ),
        ({"special_tokens": {"": 900}}, "a special token is empty"),
        ({"whole_chunks": 1}, "expected whole_chunks to be true or false, got 1"),
        ({"merges": None}, "expected merges to be a list, got None"),
        ({"merges": [[97, 98, 256]]}, r"expected merge 0 to be \[left, right, new id, count\]"),
        ({"merges": [[97, 98, 256, -1]]}, "expected merge 0 to be"),
        ({"merges": [[97, 98, 256, 2**64]]}, "expected merge 0 to be"),
        ({"merges": [[97, 98.0, 256, 1]]}, "expected merge 0 to be"),
        (
            {"merges": [[97, 300, 256, 1]]},
            r"merge 0 is \(97, 300\) -> 256, but it can only join",
        ),
        ({"merges": [[97, 98, 257, 1]]}, "but it can only join ids below 256 and make"),
        (
            {
                "merges": [
                    [n, n, 256 + n - 97 if n == 97 else n + 1, 1] for n in [97, *range(256, 400)]
                ]
            },
            "would take more than 256 MiB",
        ),
        ({"ties": "random"}, "expected ties to be one of"),
        ({"ties": None}, "expected ties to be a text, got None"),
        ({"min_frequency": "1"}, "expected min_frequency to be a whole number"),
        ({"seen": {"x": "y"}}, "expected seen to go by token, got 'x'"),
        ({"seen": {"9" * 5000: "y"}}, "expected seen to go by token"),
        ({"seen": {"300": 5}}, "expected what was seen of 300 to be a text, got 5"),
        ({"tokens": "YQ=="}, "expected tokens to be a list"),
        ({"tokens": ["YQ==", "?"]}, "token 1 is no base64"),
        ({"tokens": ["YQ==", "क"]}, "token 1 is no base64"),
        ({"tokens": ["YQ==", 5]}, "expected token 1 to be a text, got 5"),
        (
            {"tokens": ["YQ=="], "merges": [], "seen": {}},
            "expected a token for each of the 256 bytes",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_a_sentence(written, tmp_path, changes, message):
    fields = json.loads(written.read_text(encoding="utf-8")) | changes
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.load(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "expected JSON, but Expecting value"),
        (b"[]", r"expected the file to be an object, got \[\]"),
        (b"\xff\xfe{}", "expected JSON, but"),
        (b"[" * 100_000, "expected JSON, but maximum recursion depth"),
        (b'{"version": 1' + b"0" * 5000 + b"}", "expected JSON, but Exceeds the limit"),
        (b'{"format": 1, "format": 2}', "the key 'format' stands twice"),
        (b"{}", 'expected "format": "groundup.tokenizer", got None'),
    ],
)
def test_what_is_no_tokenizer_is_told_in_a_sentence(tmp_path, contents, message):
    path = tmp_path / "bad.json"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(path)


def test_a_large_hostile_file_is_refused_at_once(written, tmp_path):
    path = tmp_path / "hostile.json"
    keys = ",".join(f'"{i}":0' for i in range(200_000))
    path.write_text(f'{{{keys},"199999":0}}')
    with pytest.raises(ValueError, match="the key '199999' stands twice"):
        Tokenizer.load(path)
    fields = json.loads(written.read_text(encoding="utf-8"))
    doubling = [[97, 97, 256, 1], *([255 + i, 255 + i, 256 + i, 1] for i in range(1, 200_000))]
    path.write_text(json.dumps({**fields, "merges": doubling, "seen": {}}))
    with pytest.raises(ValueError, match="its tokens would take more than 256 MiB"):
        Tokenizer.load(path)


@pytest.mark.parametrize("part", [b"[],", b'"a":0,', b'{"a":', b"0,"])
def test_values_without_end_are_refused_before_they_are_made(tmp_path, part):
    path = tmp_path / "hostile.json"
    path.write_bytes(b"[" + part * (1 + (1 << 22)))
    with pytest.raises(ValueError, match=r"at most 4194304 values and 1048576 keys, got more"):
        Tokenizer.load(path)
    path.write_bytes(b"0 0\n" * (2 + (1 << 21)))
    with pytest.raises(ValueError, match="expected at most 2097152 lines, got more"):
        Tokenizer.from_minbpe(path)


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="expected a regular file, got a folder"):
        Tokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "read",
    [
        Tokenizer.load,
        Tokenizer.from_hf,
        lambda path: Tokenizer.from_tiktoken(path, "gpt4"),
        lambda path: Tokenizer.from_gpt2(path, path),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match=f"^{path}: .*regular file, got a pipe or a device"):
            read(path)
    with open(tmp_path / "huge", "wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ValueError, match="huge: expected a tokenizer's file of at most 128 MiB"):
        read(tmp_path / "huge")


def test_products_that_do_not_fit_their_tokens_are_refused(tmp_path, trained):
    trained.to_hf(tmp_path / "tokenizer.json")
    Tokenizer.from_hf(tmp_path).save(tmp_path / "tok.json")
    fields = json.loads((tmp_path / "tok.json").read_text(encoding="utf-8"))
    assert "tokens" not in fields or len(fields["tokens"]) == 698
    fields["tokens"] = [""] * 698
    (tmp_path / "tok.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="expected a token for each of the 256 bytes"):
        Tokenizer.load(tmp_path / "tok.json")


@given(at=st.integers(0, 30_000), gone=st.integers(0, 300), there=st.binary(max_size=8))
def test_any_damage_reads_or_is_a_value_error(written, tmp_path_factory, at, gone, there):
    whole = written.read_bytes()
    at %= len(whole)
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.json"
    path.write_bytes(whole[:at] + there + whole[at + gone :])
    try:
        tok = Tokenizer.load(path)
    except ValueError:
        return
    assert tok.decode(tok.encode_ordinary("any text")) == "any text"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(data=st.data())
def test_any_other_field_reads_or_is_a_value_error(written, tmp_path_factory, data):
    fields = json.loads(written.read_text(encoding="utf-8"))
    for key in data.draw(st.sets(st.sampled_from([*fields, "tokens"]), min_size=1, max_size=3)):
        value = copy.deepcopy(fields.get(key))
        if isinstance(value, list) and data.draw(st.booleans()):
            value[data.draw(st.integers(0, len(value) - 1))] = data.draw(
                _json | st.lists(st.integers(-1, 900), min_size=4, max_size=4)
            )
        else:
            value = data.draw(_json)
        fields[key] = value
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.json"
    path.write_text(json.dumps(fields))
    try:
        tok = Tokenizer.load(path)
    except ValueError:
        return
    assert tok.decode(tok.encode_ordinary("any text")) == "any text"
    str(tok.explain("any text"))


@pytest.mark.parametrize("indent", [None, 0, 1, 7])
def test_a_file_in_another_layout_is_the_same_tokenizer(written, trained, tmp_path, indent):
    fields = json.loads(written.read_text(encoding="utf-8"))
    path = tmp_path / "other.json"
    for order in (fields, dict(reversed(fields.items()))):
        path.write_text(json.dumps(order, indent=indent))
        again = Tokenizer.load(path)
        assert again == trained
        assert again.merge_counts.tolist() == trained.merge_counts.tolist()
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b'"merges": [\n', b'"merges": [], "merges": [\n', "the key 'merges' stands twice"),
        (b' "merges": [\n', b' "merges": [],\n "merges": [\n', "the key 'merges' stands twice"),
        (b"\n ]\n}\n", b"\n ]\n}\n0", "expected JSON, but Extra data"),
        (b"\n ]\n}\n", b"\n ]\n}\n\x00", "expected JSON, but Extra data"),
        (b"\n ]\n}\n", b"\n ]\n", "expected JSON, but"),
        (b"\n ]\n}\n", b",\n ]\n}\n", "expected JSON, but"),
        (b"[\n  [", b"[\n  [0", "expected JSON, but|merge 0 is"),
        (b"[\n  [", b"[\n  [-", "expected merge 0 to be"),
        (b", 256, ", b", 256, 5, ", r"expected merge 0 to be \[left, right, new id, count\]"),
        (b", 256, ", b", 256, 1.", "expected merge 0 to be|expected JSON"),
        (b", 256, ", b", 256, 99999999999999999999", "expected merge 0 to be"),
        (b'"seen": {', b'"seen": {"1": "a\\ud800",', "expected what was seen of 1 to be Unicode"),
        (b'"seen": {', b'"seen": {"00000000099999": "a",', "expected seen to go by token"),
        (b'"seen": {', '"seen": {"२": "a",'.encode(), "expected seen to go by token"),
    ],
)
def test_damage_where_the_native_reader_reads_is_told_the_same(
    written, tmp_path, before, after, message
):
    whole = written.read_bytes()
    assert before in whole
    path = tmp_path / "bad.json"
    path.write_bytes(whole.replace(before, after, 1))
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.load(path)
    assert str(error.value).startswith(str(path))
