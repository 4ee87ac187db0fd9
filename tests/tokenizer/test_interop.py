"""Vocabularies of other libraries: what is read and written, and what is refused."""

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import PATTERNS, Tokenizer

TEXT = "It's 12,345 o'clock.\n\n  def f(x): क्षमा naïve 🙂 <|endoftext|>"


@pytest.fixture(scope="module")
def hf_json(trained):
    return json.loads(trained.to_hf().to_str())


def _read(parsed, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parsed), encoding="utf-8")
    return Tokenizer.from_hf(path)


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\p{L}+|[^\s\p{L}]"])
def test_hugging_face_round_trip(tmp_path, mixed_text, pattern):
    tokenizers = pytest.importorskip("tokenizers")
    tok = Tokenizer.train([mixed_text], 500, pattern=pattern, special_tokens=["<|endoftext|>"])
    path = tmp_path / "tokenizer.json"
    tok.to_hf(path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    assert theirs.get_vocab_size() == tok.n_vocab
    assert theirs.encode(TEXT).ids == tok.encode(TEXT, allowed_special="all")
    assert theirs.encode(mixed_text).ids == tok.encode(mixed_text)
    assert theirs.decode(tok.encode(mixed_text)) == mixed_text
    for source in (path, str(path), tmp_path, theirs):
        again = Tokenizer.from_hf(source)
        assert again == tok
        assert again.encode(mixed_text) == tok.encode(mixed_text)


def test_transformers_tokenizers_are_read(trained, mixed_text):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=trained.to_hf())
    with pytest.warns(UserWarning, match="post_processor is left out"):
        ours = Tokenizer.from_hf(theirs)
    assert ours.encode(mixed_text) == theirs.encode(mixed_text)


def test_special_tokens_before_the_bytes_keep_their_ids(mixed_text):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator([mixed_text], trainer)
    tok = Tokenizer.from_hf(theirs)
    assert tok.special_tokens == {"<s>": 0, "</s>": 1}
    text = "<s>" + mixed_text + "</s>"
    assert tok.encode(text, allowed_special="all") == theirs.encode(text).ids
    assert tok.to_hf().encode(text).ids == theirs.encode(text).ids
    with pytest.raises(ValueError, match="ids do not follow the order of its merges"):
        tok.truncate(400)
    with pytest.raises(ValueError, match="tiktoken's format cannot express that"):
        tok.to_tiktoken()


def test_merges_are_read_in_both_spellings(hf_json, trained, tmp_path):
    older = copy.deepcopy(hf_json)
    older["model"]["merges"] = [" ".join(pair) for pair in older["model"]["merges"]]
    del older["model"]["type"]
    assert _read(older, tmp_path) == trained


@pytest.mark.parametrize("name", ["cl100k_base", "r50k_base"])
def test_published_ranks_go_to_hugging_face_with_their_gaps(published, name, library_text):
    pytest.importorskip("tokenizers")
    ours, _ = published(name)
    theirs = ours.to_hf()
    text = library_text[:100_000] + "<|fim|>"
    assert theirs.encode(text).ids == ours.encode(text, allowed_special="all")
    again = Tokenizer.from_hf(theirs)
    assert again.encode(text, allowed_special="all") == ours.encode(text, allowed_special="all")


def test_gpt2_s_own_files(data_file, published, library_text):
    ours = Tokenizer.from_gpt2(data_file("bpe/vocab.bpe"), data_file("bpe/encoder.json"))
    assert (ours.n_vocab, ours.eot_token) == (50257, 50256)
    _, theirs = published("r50k_base")
    assert ours.decode(ours.encode(library_text)) == library_text
    as_r50k = {token: i for i, token in enumerate(ours.token_byte_values())}
    assert as_r50k[b" the"] == 262
    text = library_text[:500_000]
    assert ours.encode(text) == theirs.encode(text)
    assert ours.to_tiktoken().encode(text) == theirs.encode(text)


def test_a_tiktoken_file_round_trip(trained, mixed_text, tmp_path):
    path = tmp_path / "ours.tiktoken"
    trained.to_tiktoken(path)
    lines = [line.split() for line in path.read_bytes().splitlines()]
    assert [int(rank) for _, rank in lines] == list(range(698))
    tokens = [base64.b64decode(token) for token, _ in lines]
    assert tokens == trained.token_byte_values()[:698]
    again = Tokenizer.from_tiktoken(path, "gpt4", special_tokens=trained.special_tokens)
    assert again.encode(mixed_text) == trained.encode(mixed_text)
    assert again.eot_token == trained.eot_token
    assert again.truncate(400).encode(mixed_text) == trained.truncate(400).encode(mixed_text)


def test_special_tokens_that_tiktoken_would_choose_among_are_refused():
    pytest.importorskip("tiktoken")
    names = ["<|end", "<|a|>", "<|endoftext|>"]
    tok = Tokenizer.train(["ab"], 260, special_tokens=names)
    with pytest.raises(ValueError, match=r"takes either of '<\|end' and '<\|endoftext\|>'"):
        tok.to_tiktoken()


def test_a_tiktoken_encoding_round_trip(trained, mixed_text):
    pytest.importorskip("tiktoken")
    encoding = trained.to_tiktoken(name="ours")
    assert encoding.name == "ours"
    assert encoding.n_vocab == trained.n_vocab
    again = Tokenizer.from_tiktoken(encoding)
    assert again.pattern == "gpt4"
    assert again.special_tokens == trained.special_tokens
    assert again.encode(mixed_text) == trained.encode(mixed_text)


@pytest.mark.parametrize("pattern", [r"\w+|\W+", r"a$|.|\n", r"\d{1,2}+|\D"])
def test_a_regex_that_others_read_differently_is_not_exported(pattern):
    tok = Tokenizer.train(["some text"], 260, pattern=pattern)
    for export in (tok.to_hf, tok.to_tiktoken):
        with pytest.raises(ValueError, match="here and there read differently; spell it out"):
            export()


def test_a_tiktoken_file_needs_a_pattern(trained, tmp_path):
    path = tmp_path / "ours.tiktoken"
    trained.to_tiktoken(path)
    with pytest.raises(ValueError, match="does not say how text is split; pass pattern='gpt2'"):
        Tokenizer.from_tiktoken(path)


def _lines(**changes: object) -> list[bytes]:
    return [base64.b64encode(bytes([byte])) + b" %d" % byte for byte in range(256)]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "expected one token a line, got an empty file"),
        (b"\n".join(_lines()[:-1]), "expected a token for each of the 256 bytes, but byte 255"),
        (b"\n".join([*_lines(), b"YWI="]), r"line 257 to be base64 .* got b'YWI='; is the file"),
        (b"\n".join([*_lines(), b"YWI 256"]), "expected line 257"),
        (b"\n".join([*_lines(), b"YWI= x"]), "expected line 257"),
        (b"\n".join([*_lines(), b"YWI= 7"]), r"b'\\x07' and b'ab' both have rank 7"),
        (b"\n".join([*_lines(), b"YQ== 256"]), "line 257 gives the token b'a' a second rank"),
        (b"\n".join([*_lines(), b"YWI= -1"]), "expected ranks from 0"),
        (b"\n".join([*_lines(), b"YWI= 999999999999"]), "expected ranks from 0 to 16777215"),
        (b"\xff\xfe\x00binary", "expected line 1"),
    ],
)
def test_damaged_tiktoken_files_are_told_in_a_sentence(tmp_path, contents, message):
    path = tmp_path / "bad.tiktoken"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_tiktoken(path, "gpt4")


def test_tokens_that_repeat_each_other_are_refused(tmp_path):
    path = tmp_path / "giants.tiktoken"
    giants = (base64.b64encode(b"a" * n) + b" %d" % (n - 1 + 255) for n in range(2, 3000))
    path.write_bytes(b"\n".join([*_lines(), *giants]))
    with pytest.raises(ValueError, match=r"giants\.tiktoken: tokens: expected .* ways to cut"):
        Tokenizer.from_tiktoken(path, "gpt4")


def test_special_ids_must_be_free(trained, tmp_path):
    path = tmp_path / "ours.tiktoken"
    trained.to_tiktoken(path)
    with pytest.raises(
        ValueError, match="id 97 is both the special token '<x>' and the token b'a'"
    ):
        Tokenizer.from_tiktoken(path, "gpt4", special_tokens={"<x>": 97})
    with pytest.raises(ValueError, match="two special tokens have one id"):
        Tokenizer.from_tiktoken(path, "gpt4", special_tokens={"<x>": 900, "<y>": 900})
    with pytest.raises(ValueError, match="expected the id of '<x>' to be a whole number, got 'a'"):
        Tokenizer.from_tiktoken(path, "gpt4", special_tokens={"<x>": "a"})


def _set(path: str, value: object):
    """A change to a tokenizer.json: a dotted path and what to put there."""

    def change(parsed):
        *parents, last = path.split(".")
        for parent in parents:
            parsed = parsed[int(parent) if isinstance(parsed, list) else parent]
        parsed[int(last) if isinstance(parsed, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("model.type", "Unigram"), "expected a BPE model, got 'Unigram'"),
        (_set("model", None), "expected model to be an object, got None"),
        (_set("normalizer", {"type": "NFC"}), r"normalizes text before splitting \(NFC\)"),
        (_set("model.dropout", 0.1), "its model sets dropout"),
        (_set("model.byte_fallback", True), "expected the decoders ByteFallback and Fuse"),
        (_set("model.end_of_word_suffix", "</w>"), "its model sets end_of_word_suffix"),
        (_set("decoder", {"type": "WordPiece"}), "expected a ByteLevel decoder, got WordPiece"),
        (_set("pre_tokenizer", None), "expected a ByteLevel pre-tokenizer, got none"),
        (_set("pre_tokenizer", {"type": "Metaspace"}), "ByteLevel pre-tokenizer, got Metaspace"),
        (_set("pre_tokenizer.pretokenizers.0.type", "Digits"), "expected one Split before"),
        (_set("pre_tokenizer.pretokenizers.0.behavior", "Removed"), "Split that is Isolated"),
        (
            _set("pre_tokenizer.pretokenizers.0.pattern", {"Regex": "("}),
            r"tokenizer.json: pattern: .* no regular expression",
        ),
        (_set("pre_tokenizer.pretokenizers.0.pattern", {"Regex": r"\p{L}+$|."}), r"holds '\$'"),
        (
            _set("pre_tokenizer.pretokenizers.0.pattern", {"Regex": r"\d{1,3}+|."}),
            r"holds '\{1,3\}\+'",
        ),
        (_set("pre_tokenizer.pretokenizers.1.add_prefix_space", True), "adds a space before"),
        (_set("pre_tokenizer.pretokenizers.1.use_regex", True), "splits by two patterns"),
        (_set("model.vocab", []), r"expected model.vocab to be an object, got \[\]"),
        (_set("model.vocab.a", "x"), "expected the id of 'a' to be a whole number, got 'x'"),
        (_set("model.vocab.a", 2**60), "expected the id of 'a' from 0 to"),
        (_set("model.vocab.a", True), "expected the id of 'a' to be a whole number, got True"),
        (_set("model.vocab.a", 98), "b'a' and b'b' both have id 98|b'b' and b'a' both"),
        (_set("model.vocab.語", 9999), "'語' is not spelled in GPT-2's letters"),
        (_set("model.merges", {}), "expected model.merges to be a list"),
        (_set("model.merges.0", "ab"), "merge 0: expected two parts with a space between"),
        (_set("model.merges.0", ["a"]), r'merge 0: expected "left right" or'),
        (_set("model.merges.0", ["a", "☃"]), "merge 0 is of 'a' and '☃', but '☃' has no id"),
        (_set("added_tokens.0.lstrip", True), "sets lstrip"),
        (_set("added_tokens.0.id", 97), "id 97 is both the special token"),
        (_set("added_tokens.0.id", None), "expected the id of .* to be a whole number, got None"),
        (_set("added_tokens.0.content", ""), "a special token is empty"),
        (_set("added_tokens.0", 5), "expected an added token to be an object, got 5"),
        (_set("added_tokens", "x"), "expected added_tokens to be a list"),
    ],
)
def test_what_cannot_be_expressed_is_refused_in_a_sentence(hf_json, tmp_path, change, message):
    parsed = copy.deepcopy(hf_json)
    change(parsed)
    with pytest.raises(ValueError, match=message):
        _read(parsed, tmp_path)


def test_a_missing_byte_is_refused(hf_json, tmp_path):
    parsed = copy.deepcopy(hf_json)
    del parsed["model"]["vocab"]["~"]
    with pytest.raises(ValueError, match=r"but byte 126 has none|'~' has no id"):
        _read(parsed, tmp_path)


def test_what_hugging_face_adds_around_a_text_is_left_out_with_a_warning(hf_json, tmp_path):
    parsed = copy.deepcopy(hf_json)
    parsed["post_processor"] = {"type": "TemplateProcessing"}
    parsed["truncation"] = {"max_length": 5}
    with pytest.warns(UserWarning, match="truncation, post_processor is left out"):
        _read(parsed, tmp_path)


def test_only_tokenizers_are_read():
    with pytest.raises(ValueError, match=r"expected a path or a tokenizer .* got int"):
        Tokenizer.from_hf(5)


def test_ids_of_one_token_twice_cannot_be_exported(mixed_text, trained):
    """A special token named as the letters of an ordinary one would take its place."""
    tok = Tokenizer.train([mixed_text], 400, special_tokens=["a"])
    with pytest.raises(ValueError, match=r"'a' would be both 399 and 97|rename the special"):
        tok.to_hf()


@pytest.mark.parametrize(
    ("vocab_bpe", "encoder_json", "message"),
    [
        ("#version: 0.2\na b c\n", "{}", "merge 0: expected two parts with a space between"),
        ("#version: 0.2\na b\n", "{}", "merge 0 is of 'a' and 'b', but 'a' has no id"),
        ("#version: 0.2\n", "{}", "expected a token for each of the 256 bytes"),
        ("#version: 0.2\n", "[]", r"expected the file to be an object, got \[\]"),
        ("#version: 0.2\n", '{"a": 1', "expected JSON, but"),
        ("#version: 0.2\n", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
    ],
)
def test_damaged_gpt2_files_are_told_in_a_sentence(tmp_path, vocab_bpe, encoder_json, message):
    (tmp_path / "vocab.bpe").write_text(vocab_bpe)
    (tmp_path / "encoder.json").write_text(encoder_json)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_gpt2(tmp_path / "vocab.bpe", tmp_path / "encoder.json")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore:.* left out")
@given(data=st.data())
def test_any_change_to_a_tokenizer_json_reads_or_is_a_value_error(hf_json, data, tmp_path_factory):
    parsed = copy.deepcopy(hf_json)
    place, key = parsed, data.draw(st.sampled_from(list(parsed)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = list(place)[:5] if isinstance(place, dict) else range(min(5, len(place)))
        key = data.draw(st.sampled_from(list(keys)))
    place[key] = data.draw(_json)
    path = tmp_path_factory.mktemp("fuzz") / "tokenizer.json"
    path.write_text(json.dumps(parsed))
    try:
        tok = Tokenizer.from_hf(path)
    except ValueError:
        return
    assert tok.decode(tok.encode_ordinary(TEXT)) == TEXT


@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 60))
def test_any_damage_to_a_tiktoken_file_reads_or_is_a_value_error(
    tmp_path_factory, bytes_there, at, n_gone
):
    whole = b"\n".join([*_lines(), b"YWI= 256", b"YWJj 257"])
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.tiktoken"
    path.write_bytes(whole[:at] + bytes_there + whole[at + n_gone :])
    try:
        tok = Tokenizer.from_tiktoken(path, "gpt4")
    except ValueError:
        return
    assert tok.decode(tok.encode(TEXT[:30])) == TEXT[:30]
