"""Code points as the base: whole characters are tokens, or bytes, and never anything between."""

import copy
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import bpe
from groundup.tokenizer import PATTERNS, ChunkCounts, Tokenizer

SCRIPTS = "ab é ß की क्षमा ज़ 你好\u200d🙂👩 ±"
TEXTS = st.text(SCRIPTS, max_size=40)
CHUNKS = st.dictionaries(
    st.text(SCRIPTS, min_size=1, max_size=9).map(str.encode)
    | st.binary(min_size=1, max_size=5)
    | st.text("aé🙂", min_size=1, max_size=4).map(lambda text: text.encode() + b"\xe0\xa4"),
    st.integers(1, 9),
    max_size=8,
)


def _trained(text, vocab_size=400, **options):
    return Tokenizer.train([text], vocab_size, base="codepoints", **options)


def test_ids_are_bytes_then_characters_by_code_point_then_merges_then_specials():
    tok = _trained("की की की é a", 266, special_tokens=["<|x|>"], character_coverage=1)
    tokens = [token.decode() for token in tok.token_byte_values()[256:]]
    assert tokens == ["é", "क", "ी", " क", " की", "<|x|>"][:4] + tokens[4:]
    assert tok.token_byte_values()[:256] == [bytes([byte]) for byte in range(256)]
    assert tok.special_tokens == {"<|x|>": tok.n_vocab - 1}
    assert len(tok.merges) == len(tok.merge_counts) == tok.n_vocab - 256 - 3 - 1


@settings(max_examples=60)
@given(
    CHUNKS,
    st.sampled_from(bpe.TIES),
    st.sampled_from([0, 0.5, 0.9, 1]),
    st.none() | st.integers(1, 12),
    st.integers(0, 6),
    TEXTS,
)
def test_training_and_ids_are_the_reference_s(chunks, ties, coverage, longest, n_known, text):
    counts = ChunkCounts("none")
    counts.add_counts(chunks)
    characters = counts._chunks.characters()
    assert characters == _characters(chunks)
    alphabet = bpe.alphabet_of(characters, coverage)
    rules = {"ties": ties, "max_token_length": longest, "alphabet": alphabet}
    merges, seen = bpe.train(chunks, 40, **rules)
    n_base = 256 + len(alphabet)
    plan = {"ties": ties, "max_token_length": longest, "pattern": "none"}
    first = Tokenizer.train_from_counts(
        counts, n_base + n_known, base="codepoints", character_coverage=coverage, **plan
    )
    tok = Tokenizer.train_from_counts(counts, n_base + 40, extend=first, **plan)
    assert tok.merges.tolist() == [list(row) for row in merges]
    assert tok.merge_counts.tolist() == seen
    assert tok.token_byte_values() == bpe.tokens_of(merges, alphabet)
    for each in (text, "".join(bytes(c).decode(errors="ignore") for c in chunks)):
        ids = bpe.encode(each, merges, PATTERNS["none"], alphabet)
        assert tok.encode(each) == tok.encode_to_numpy(each).tolist() == ids
        assert tok.encode_batch([each, each]) == [ids, ids]
        assert tok.decode(ids) == each


def _characters(chunks):
    found = {}
    for chunk, count in chunks.items():
        for character in chunk.decode(errors="surrogateescape"):
            if not "\ud800" <= character <= "\udfff":
                found[character] = found.get(character, 0) + count
    return found


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_no_token_is_a_part_of_a_character_but_a_single_byte(cut_anywhere, text):
    ids = cut_anywhere.encode(text, disallowed_special=())
    assert cut_anywhere.decode(ids, errors="strict") == text
    for token in map(cut_anywhere.token_byte_values().__getitem__, ids):
        assert len(token) == 1 or token.decode()


@pytest.fixture(scope="module")
def cut_anywhere(mixed_text):
    return _trained(mixed_text, 600, pattern="indic-math", special_tokens=["<|endoftext|>"])


def test_rare_characters_stay_bytes_and_merge_with_nothing():
    text = "कक " * 2000 + "ख"
    tok = _trained(text, 300)
    assert tok._vocabulary.alphabet == ["क"]
    assert tok.encode("ख") == list("ख".encode())
    whole = _trained(text, 300, character_coverage=1)
    assert whole._vocabulary.alphabet == ["क", "ख"]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "indic-math"])
def test_merges_are_hugging_face_s(mixed_text, pattern):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(PATTERNS[pattern]), "isolated"
    )
    ours = _trained(mixed_text, 900, pattern=pattern, ties="huggingface", character_coverage=1)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(set(mixed_text)) + len(ours.merges), show_progress=False
    )
    theirs.train_from_iterator([mixed_text], trainer)
    assert (
        json.loads(ours.to_hf().to_str())["model"]["merges"]
        == (json.loads(theirs.to_str())["model"]["merges"])
    )
    assert ours == _trained(mixed_text, 900, pattern=pattern, character_coverage=1)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_hugging_face_loads_it_with_the_same_ids_and_it_comes_back(tmp_path, mixed_text, pattern):
    tokenizers = pytest.importorskip("tokenizers")
    text = mixed_text[:6000]
    tok = _trained(text, 700, pattern=pattern, special_tokens=["<|endoftext|>"])
    tok.to_hf(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for each in (mixed_text[:12000], "ﷺ<0xE0> 🙂 \x00", ""):
        ids = tok.encode_ordinary(each)
        assert theirs.encode(each).ids == ids
        assert theirs.decode(ids) == each
    assert theirs.encode("a<|endoftext|>").ids[-1] == tok.eot_token
    assert Tokenizer.from_hf(tmp_path / "tokenizer.json") == tok


def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path, cut_anywhere, mixed_text):
    cut_anywhere.save(tmp_path / "a.json")
    again = Tokenizer.load(tmp_path / "a.json")
    assert again == cut_anywhere
    assert again.encode(mixed_text) == cut_anywhere.encode(mixed_text)
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    relaid = json.dumps(json.loads((tmp_path / "a.json").read_bytes()))
    (tmp_path / "c.json").write_text(relaid)
    assert Tokenizer.load(tmp_path / "c.json") == cut_anywhere


def test_training_on_keeps_every_id_and_truncating_is_training_for_less(mixed_text, cut_anywhere):
    more = Tokenizer.train([mixed_text], 700, extend=cut_anywhere)
    assert more.n_vocab == 700
    assert more.token_byte_values()[:600] == cut_anywhere.token_byte_values()
    assert more.pattern == "indic-math"
    less = _trained(mixed_text, 500, pattern="indic-math", special_tokens=["<|endoftext|>"])
    assert cut_anywhere.truncate(500) == less
    with pytest.raises(ValueError, match=r"truncate: expected a size from \d+ \(bytes, characters"):
        cut_anywhere.truncate(257)


def test_explanations_begin_with_characters(cut_anywhere):
    explained = str(cut_anywhere.explain("क्षमा\u0d00"))
    assert "⟨e0⟩ ⟨b4⟩ ⟨80⟩" in explained
    assert re.search(r"merge \d+, \d+ times", explained)
    character = cut_anywhere.explain("क".encode())
    assert str(character).startswith("'क'  id ")
    assert "a character" in str(character)
    assert not character.parts
    merges = list(cut_anywhere.explain_merges())
    assert len(merges) == len(cut_anywhere.merges)
    assert all(merge.count for merge, _ in merges)


def test_a_copy_encodes_alike(cut_anywhere, mixed_text):
    assert copy.deepcopy(cut_anywhere).encode(mixed_text) == cut_anywhere.encode(mixed_text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "words"}, "base: expected one of bytes, codepoints, got 'words'"),
        ({"character_coverage": 1}, 'character_coverage: expected base="codepoints"'),
        (
            {"base": "codepoints", "character_coverage": 1.5},
            "character_coverage: expected a share of the text's characters from 0 to 1, got 1.5",
        ),
        (
            {"base": "codepoints", "vocab_size": 257},
            r"expected a whole number from 259 \(256 bytes, 3 characters .* lower character_cover",
        ),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(["é ß 你"], **options)


def test_the_base_of_an_extended_tokenizer_stays(cut_anywhere):
    with pytest.raises(ValueError, match="base: expected that of the tokenizer to extend, code po"):
        Tokenizer.train(["a"], 700, base="bytes", extend=cut_anywhere)


def test_formats_that_cannot_say_it_refuse(tmp_path, cut_anywhere):
    for export in (cut_anywhere.to_tiktoken, lambda: cut_anywhere.to_tiktoken(tmp_path / "t")):
        with pytest.raises(ValueError, match=r"base is bytes; this one's is code\s+points"):
            export()
    tok = _trained("<0x41> " * 9, 300, pattern=r"\S+|\s+")
    assert b"<0x41>" in tok.token_byte_values()
    with pytest.raises(ValueError, match="would take the token '<0x41>' for a byte"):
        tok.to_hf()


def _file(tok, **changes):
    parsed = json.loads(tok.to_hf().to_str())
    return (
        parsed
        | {name: value for name, value in changes.items() if name in parsed}
        | {"model": parsed["model"] | {k: v for k, v in changes.items() if k in parsed["model"]}}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ignore_merges": True}, "ignore_merges and byte_fallback"),
        ({"decoder": None}, "expected the decoders ByteFallback and Fuse"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "expected one Split, or no pre-tokenizer"),
        ({"merges": [["é", "y"]]}, "merge 0 is of 'é' and 'y', but 'éy' is no token"),
        ({"merges": [["<0xE0>", "<0xA4>"]]}, "but '<0xE0><0xA4>' is no token of text"),
        ({"vocab": {"a": 0}, "merges": []}, "expected a token for each of the 256 bytes"),
    ],
)
def test_files_that_cannot_be_expressed_are_refused(tmp_path, changes, message):
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(_file(_trained("é é x", 262), **changes)))
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_hf(path)


def test_bytes_spelled_beside_their_letter_are_only_decoded():
    tokenizers = pytest.importorskip("tokenizers")
    parsed = _file(_trained("é éa", 262, character_coverage=1))
    n = max(parsed["model"]["vocab"].values()) + 1
    parsed["model"]["vocab"]["<0x41>"] = n
    theirs = tokenizers.Tokenizer.from_str(json.dumps(parsed))
    ours = Tokenizer.from_hf(theirs)
    assert ours.encode("A é") == theirs.encode("A é").ids
    assert ours.decode([n]) == theirs.decode([n]) == "A"
    assert Tokenizer.from_hf(ours.to_hf()) == ours
    assert Tokenizer.train(["A"], 300, extend=ours).decode([n]) == "A"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file | {"alphabet": "aé"}, "characters beyond ASCII, got 'a'"),
        (lambda file: file | {"alphabet": "éé"}, "its alphabet has a character twice"),
        (lambda file: file | {"base": "bytes"}, "an alphabet where the base is code points"),
        (lambda file: file | {"alphabet": 5}, "expected alphabet to be a text, got 5"),
        (
            lambda file: file | {"merges": [[0xC3, 0xA9, 258, 1]], "seen": {}},
            "expected tokens of whole characters|merge 0 joins a part of one",
        ),
    ],
)
def test_damaged_files_are_told(tmp_path, change, message):
    path = tmp_path / "tokenizer.json"
    _trained("é éß", 300, character_coverage=1).save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(path)
