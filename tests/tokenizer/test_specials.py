"""Special tokens in text: refused, taken as one, or spelled out, as tiktoken does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import Tokenizer, stream

NAMES = ["<|endoftext|>", "<|pad|>", "<|end", "क्ष§"]


@pytest.fixture(scope="module")
def tok(mixed_text):
    return Tokenizer.train([mixed_text], 400, special_tokens=NAMES)


@pytest.fixture(scope="module")
def in_tiktoken(mixed_text):
    """Without names that start with another: tiktoken's choice among those is not defined."""
    pytest.importorskip("tiktoken")
    names = [name for name in NAMES if name != "<|end"]
    tok = Tokenizer.train([mixed_text], 400, special_tokens=names)
    return tok, tok.to_tiktoken()


def test_a_special_token_in_text_is_refused_with_the_remedies(tok):
    with pytest.raises(ValueError, match=r"holds '<\|pad\|>', a disallowed special token") as error:
        tok.encode("a <|pad|> b")
    assert "pass allowed_special={'<|pad|>'}" in str(error.value)
    assert "pass disallowed_special=()" in str(error.value)
    for encode in (tok.encode_to_numpy, tok.encode_with_offsets):
        with pytest.raises(ValueError, match="disallowed special token"):
            encode("a <|pad|> b")
    with pytest.raises(ValueError, match="disallowed special token"):
        tok.encode_batch(["fine", "a <|pad|> b"])


def test_an_allowed_one_is_one_id(tok):
    ids = tok.encode("a<|pad|>b", allowed_special={"<|pad|>"})
    assert ids == [*tok.encode("a"), tok.special_tokens["<|pad|>"], *tok.encode("b")]
    assert tok.encode_to_numpy("a<|pad|>b", allowed_special="all").tolist() == ids
    assert tok.encode_batch(["a<|pad|>b", "a"], allowed_special="all") == [ids, tok.encode("a")]
    assert tok.decode(ids) == "a<|pad|>b"
    with pytest.raises(ValueError, match=r"holds '<\|endoftext\|>'"):
        tok.encode("<|pad|><|endoftext|>", allowed_special={"<|pad|>"})


def test_what_is_not_disallowed_is_ordinary_text(tok):
    spelled = tok.encode("a<|pad|>b", disallowed_special=())
    assert spelled == tok.encode_ordinary("a<|pad|>b")
    assert not set(spelled) & set(tok.special_tokens.values())
    others = tok.special_tokens_set - {"<|pad|>"}
    assert tok.encode("a<|pad|>b", disallowed_special=others) == spelled


def test_any_text_can_be_disallowed_and_an_unknown_name_allowed(tok):
    with pytest.raises(ValueError, match=r"holds 'secret'"):
        tok.encode("a secret", disallowed_special={"secret"})
    assert tok.encode("fine", allowed_special={"<|unknown|>"}) == tok.encode("fine")


def test_the_longer_wins_where_two_start_together(tok):
    ids = tok.encode("<|endoftext|><|end", allowed_special="all")
    assert ids == [tok.special_tokens["<|endoftext|>"], tok.special_tokens["<|end"]]


def test_offsets_of_special_tokens(tok):
    ids, offsets = tok.encode_with_offsets("é<|pad|>é", allowed_special="all")
    assert offsets[ids == tok.special_tokens["<|pad|>"]].tolist() == [[1, 8]]
    assert offsets[-1, 1] == 9


@given(
    st.lists(st.sampled_from([*NAMES, "a", " ", "\n", "é", "<|", "|>"])),
    st.sets(st.sampled_from(NAMES)),
)
def test_any_mix_encodes_as_tiktoken(in_tiktoken, parts, allowed):
    tok, theirs = in_tiktoken
    text = "".join(parts)
    assert tok.encode(text, allowed_special=allowed, disallowed_special=()) == theirs.encode(
        text, allowed_special=allowed, disallowed_special=()
    )


def test_a_set_is_asked_for_in_a_sentence(tok):
    with pytest.raises(ValueError, match='allowed_special: expected "all" or a set of names'):
        tok.encode("a", allowed_special="<|pad|>")
    with pytest.raises(ValueError, match='disallowed_special: expected "all" or a set of names'):
        tok.encode("a", disallowed_special="<|pad|>")
    for names in (None, 3, {3}):
        with pytest.raises(ValueError, match='allowed_special: expected "all" or a set of names'):
            tok.encode("a", allowed_special=names)
        with pytest.raises(ValueError, match='disallowed_special: expected "all" or a set of'):
            tok.encode("a", disallowed_special=names)


@pytest.mark.parametrize("cut", range(1, 20))
def test_disallowed_text_is_found_wherever_parts_are_cut(tok, monkeypatch, cut):
    monkeypatch.setattr(stream, "_PIECE_CHARACTERS", cut)
    with pytest.raises(ValueError, match="holds 'foo bar', a disallowed"):
        list(tok.encode_iter("one two foo bar three", disallowed_special={"foo bar"}))


def test_a_missing_end_of_text_is_told_with_its_remedy(tok):
    assert tok.eot_token == tok.special_tokens["<|endoftext|>"]
    with pytest.raises(ValueError, match=r'train with special_tokens=\["<\|endoftext\|>"\]'):
        _ = Tokenizer.train(["a"], 256).eot_token


def test_hundreds_of_special_tokens_are_found(mixed_text):
    names = [f"<|reserved_{i}|>" for i in range(1000)]
    tok = Tokenizer.train([mixed_text], 1300, special_tokens=names)
    ids = tok.encode("a<|reserved_17|><|reserved_999|>", allowed_special="all")
    assert ids[1:] == [tok.special_tokens[names[17]], tok.special_tokens[names[999]]]
    with pytest.raises(ValueError, match=r"holds '<\|reserved_3\|>'"):
        tok.encode("<|reserved_3|>")
