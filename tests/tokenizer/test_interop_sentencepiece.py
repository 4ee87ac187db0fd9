"""SentencePiece's BPE models: ids as SentencePiece gives them, and what is refused."""

import io
import struct
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import Tokenizer
from groundup.tokenizer.sentencepiece_model import read_model

LETTERS = " \n\tabct कखि्ा१é😀\u200d你▂\x00"


def trained_there(texts, **options) -> bytes:
    spm = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    wanted = {
        "model_type": "bpe",
        "vocab_size": 700,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
    }
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        **wanted | options,
    )
    return model.getvalue()


KINDS = {
    "plain": {},
    "across words": {"split_by_whitespace": False},
    "few letters": {"character_coverage": 0.98},
    "runs of spaces": {"allow_whitespace_only_pieces": True, "split_digits": True},
    "user-defined": {
        "user_defined_symbols": ["<sep>", "  ", "▁▁", "ab", "\n", "ि"],
        "control_symbols": ["<pad>"],
    },
}


@pytest.fixture(scope="module", params=KINDS)
def both(request, mixed_text, tmp_path_factory):
    """Ours and SentencePiece's of one model."""
    spm = pytest.importorskip("sentencepiece")
    model = trained_there(mixed_text.split("\n"), **KINDS[request.param])
    path = tmp_path_factory.mktemp("sentencepiece") / "m.model"
    path.write_bytes(model)
    return Tokenizer.from_sentencepiece(path), spm.SentencePieceProcessor(model_proto=model)


def test_ids_are_sentencepieces(both, mixed_text):
    ours, theirs = both
    for text in (mixed_text[:20_000], *mixed_text.split("\n")):
        assert ours.encode_ordinary(text) == theirs.encode(text)
    assert ours.n_vocab == theirs.get_piece_size()
    assert ours.decode(ours.encode_ordinary(mixed_text)) == mixed_text


@given(st.text(LETTERS, max_size=40) | st.text(max_size=20).filter(lambda text: "▁" not in text))
def test_ids_of_any_text_are_sentencepieces(both, text):
    ours, theirs = both
    ids = ours.encode_ordinary(text)
    assert ids == theirs.encode(text)
    assert ours.encode_to_numpy(text).tolist() == ids
    assert ours.decode(ids) == text
    assert list(ours.explain(text).ids) == ids


def test_shared_hindi_is_encoded_alike(both, data_file):
    ours, theirs = both
    text = data_file("hindi_premchand/premchand.txt").read_text(encoding="utf-8")
    lines = text[:300_000].split("\n")
    assert ours.encode_batch(lines, disallowed_special=()) == theirs.encode(lines)


def test_every_piece_has_its_text(both):
    ours, theirs = both
    for i, token in enumerate(ours.token_byte_values()):
        piece = theirs.id_to_piece(i)
        if theirs.is_byte(i):
            assert token == bytes([int(piece[3:5], 16)])
        else:
            assert token.decode() == piece.replace("▁", " ")


def test_it_is_saved_and_explained(both, tmp_path, mixed_text):
    ours, _ = both
    ours.save(tmp_path / "first.json")
    again = Tokenizer.load(tmp_path / "first.json")
    again.save(tmp_path / "second.json")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    assert again == ours
    assert again.encode_ordinary(mixed_text) == ours.encode_ordinary(mixed_text)
    assert again.token_byte_values() == ours.token_byte_values()
    assert str(again.explain("龍 naïve")) == str(ours.explain("龍 naïve"))
    for i in range(ours.n_vocab):
        if i not in ours._vocabulary.decode_only:
            str(ours.explain(i))


def test_formats_of_bytes_do_not_take_it(both, tmp_path):
    ours, _ = both
    for export in (
        ours.to_hf,
        ours.to_tiktoken,
        lambda: ours.to_gpt2(tmp_path / "a", tmp_path / "b"),
        lambda: ours.truncate(300),
    ):
        with pytest.raises(ValueError, match=r"base is bytes; this|not say how text|'s\s+ranks"):
            export()


def test_a_space_before_the_text_is_left_to_the_caller(tmp_path, mixed_text):
    spm = pytest.importorskip("sentencepiece")
    model = trained_there(mixed_text.split("\n"), add_dummy_prefix=True)
    (tmp_path / "m.model").write_bytes(model)
    with pytest.warns(UserWarning, match=r"add_dummy_prefix.* encode \" \" \+ text"):
        ours = Tokenizer.from_sentencepiece(tmp_path / "m.model")
    theirs = spm.SentencePieceProcessor(model_proto=model)
    for text in mixed_text.split("\n"):
        assert not text or ours.encode(" " + text) == theirs.encode(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "unigram", "vocab_size": 500}, "expected a BPE model, got one of type uni"),
        ({"normalization_rule_name": "nmt_nfkc"}, "it normalizes text before splitting"),
        ({"remove_extra_whitespaces": True}, "it removes spaces from text before splitting"),
        ({"byte_fallback": False}, "it has no bytes for letters it does not know"),
        ({"treat_whitespace_as_suffix": True}, "it treats white space as a suffix"),
    ],
)
def test_what_encodes_otherwise_is_refused(tmp_path, mixed_text, options, message):
    model = trained_there(mixed_text[:5000].split("\n"), **{"vocab_size": 480} | options)
    (tmp_path / "m.model").write_bytes(model)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_sentencepiece(tmp_path / "m.model")


def field(tag: int, value: int | float | bytes | str) -> bytes:
    def number(value: int) -> bytes:
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + number(rest) if rest else bytes([low])

    if isinstance(value, int):
        return number(tag << 3) + number(value)
    if isinstance(value, float):
        return number(tag << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(value)) + value


def piece(text: str | bytes, score: float = 0.0, kind: int | None = None) -> bytes:
    message = field(1, text) + field(2, score)
    return field(1, message if kind is None else message + field(3, kind))


BYTES = b"".join(piece(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256))
SPECS = field(2, field(3, 2) + field(35, 1)) + field(3, field(3, 0) + field(4, 0))
AB = piece("▁", -1.0) + piece("a", -2.0) + piece("b", -3.0)


def made(tmp_path, contents: bytes) -> Tokenizer:
    (tmp_path / "m.model").write_bytes(contents)
    return Tokenizer.from_sentencepiece(tmp_path / "m.model")


def test_scores_rank_and_unreachable_pieces_are_for_decoding_only(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    # "aab" is never made: "ab" comes before "aa".
    pieces = AB + piece("aab", -7.0) + piece("aa", -5.0) + piece("ab", -4.0) + piece("ba", -6.0)
    model = piece("<unk>", 0.0, 2) + BYTES + pieces + SPECS
    ours, theirs = made(tmp_path, model), spm.SentencePieceProcessor(model_proto=model)
    for text in ("aab", "aaab", "baab", "aa b ab", "bababa", "aaaaa"):
        assert ours.encode(text) == theirs.encode(text)
    assert ours.decode([theirs.piece_to_id("aab")]) == "aab"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "expected a SentencePiece model, but it has no pieces; is the file whole"),
        (b"\x0a", "but it ends inside a number"),
        (b"\x0a\x05ab", "but it ends inside a field"),
        (b"\xff" * 20, "but a number does not end"),
        (b"\x00\x01", "but a field has no number"),
        (b"\x0b", "but a field is of kind 3"),
        (b"\x08\x01", "but a number stands where text or a message should"),
        (piece("a", float("nan")), "but the score of 'a' is no number"),
        (piece(""), "but one of its pieces is empty"),
        (piece(b"\xff"), "expected a SentencePiece model, but 'utf-8' codec"),
        (piece("a", 0.0, 9), "but the type of 'a' is 9"),
        (field(1, field(1, 5)), "but a number stands where text"),
        (AB + field(2, field(3, 7)), "but its model type is 7"),
        (AB + field(2, field(3, b"x")), "but bytes stand where a number should"),
        (AB, "expected a BPE model, got one of type unigram"),
        (AB + SPECS, "expected a piece for each byte, but <0x00> is none"),
        (BYTES + SPECS, "expected a piece for the space"),
        (BYTES + AB + AB + SPECS, "the piece '▁' stands there twice"),
        (BYTES + AB + piece("ac", -4.0) + SPECS, "the piece 'ac' holds 'c', which is no piece"),
        (BYTES + AB + piece("a b") + SPECS, "the piece 'a b' holds a space that is not"),
        (BYTES + AB + piece("x", 0.0, 5) + SPECS, "the piece 'x' is of type unused"),
        (BYTES + AB + piece("<0x1>", 0.0, 6) + SPECS, "the byte '<0x1>' is not spelled"),
        (
            BYTES + AB + piece("ab", -4.0) + piece("ba", -4.0) + SPECS,
            "the pieces 'ab' and 'ba' have one score, -4.0",
        ),
    ],
)
def test_damaged_models_are_told_in_a_sentence(tmp_path, contents, message):
    with pytest.raises(ValueError, match=message) as error:
        made(tmp_path, contents)
    assert str(error.value).startswith(str(tmp_path))


def test_fields_that_stand_twice_are_joined_and_unknown_ones_passed_over(tmp_path):
    split = field(2, field(3, 1)) + field(99, 1.5) + field(2, field(3, 2)) + field(2, field(35, 1))
    spaces = field(3, field(3, 0)) + field(3, field(4, 0))
    assert made(tmp_path, BYTES + AB + split + spaces) == made(tmp_path, BYTES + AB + SPECS)


@given(at=st.integers(0, 8000), gone=st.integers(0, 60), there=st.binary(max_size=12))
def test_any_damage_reads_or_is_a_value_error(tmp_path_factory, at, gone, there):
    whole = BYTES + AB + piece("ab", -4.0) + piece("▁ab", -5.0) + piece("é", -6.0) + SPECS
    at %= len(whole)
    path = tmp_path_factory.mktemp("fuzz") / "m.model"
    path.write_bytes(whole[:at] + there + whole[at + gone :])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tok = Tokenizer.from_sentencepiece(path)
    except ValueError:
        return
    assert tok.decode(tok.encode_ordinary("ab é x")) == "ab é x"


def test_the_reader_needs_no_text(tmp_path):
    model = read_model(BYTES + AB + SPECS, "m.model")
    assert (len(model.pieces), model.byte_fallback, model.adds_dummy_prefix) == (259, True, False)
