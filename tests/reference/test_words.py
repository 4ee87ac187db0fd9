"""Table tokenizers: what comes back whole, what is lost, and what no text can spell out."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import word2vec, words
from groundup.reference.words import CHARACTERS, WHITESPACE, WORDS, TableTokenizer

TEXT = "Don't panic, (dear) reader! हिन्दी में, जी हाँ। C'est l’été… 3.14 [x_1] {y} a--b\n"
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(words).failed == 0


@settings(max_examples=40)
@given(ANY_TEXT)
def test_words_and_signs_are_all_of_a_text_but_its_white_space(text):
    pieces = words.cut_words(text)
    assert "".join(pieces) == "".join(c for c in text if not words.regex.match(r"\s", c))


def test_a_word_keeps_its_vowel_signs_and_apostrophes():
    assert words.cut_words("हिन्दी क्षमा don't l’été 'so'") == [
        "हिन्दी",
        "क्षमा",
        "don't",
        "l’été",
        "'",
        "so",
        "'",
    ]


def test_joiners_belong_to_the_word_they_stand_in():
    text = "ශ්‍රී ලංකා می‌خواهم क्‍ष"
    assert words.cut_words(text) == word2vec.words_of(text) == text.split()
    assert words.cut_words("\u200dab \u200d") == ["\u200d", "ab", "\u200d"]


@settings(max_examples=40)
@given(ANY_TEXT)
def test_characters_come_back_exactly_when_the_table_has_them(text):
    assert (
        TableTokenizer.train([text], CHARACTERS).decode(
            TableTokenizer.train([text], CHARACTERS).encode(text)
        )
        == text
    )


@settings(max_examples=40)
@given(ANY_TEXT)
def test_with_byte_fallback_any_characters_come_back(text):
    tokenizer = TableTokenizer.train([TEXT], CHARACTERS, byte_fallback=True)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert 0 not in ids


@pytest.mark.parametrize("way", [WORDS, WHITESPACE])
@settings(max_examples=60)
@given(text=ANY_TEXT | st.text("hé ,("))
def test_with_byte_fallback_unknown_words_come_back_as_many_as_they_were(way, text):
    tokenizer = TableTokenizer.train(["he, ("], way, byte_fallback=True)
    assert tokenizer.decode(tokenizer.encode(text)) == way.join(way.cut(text))
    zebras = tokenizer.encode("zebra quagga")
    assert tokenizer.decode(zebras) == "zebra quagga"
    assert zebras == [2 + byte for byte in b"zebra quagga"]


@pytest.mark.parametrize("way", [WORDS, WHITESPACE])
@pytest.mark.parametrize("byte_fallback", [False, True])
@settings(max_examples=40)
@given(data=st.data())
def test_ids_of_words_come_back_from_their_text(way, byte_fallback, data):
    tokenizer = TableTokenizer.train([TEXT], way, byte_fallback=byte_fallback)
    whole = [0, 1, *range(tokenizer.first, tokenizer.n_vocab)]
    ids = data.draw(st.lists(st.sampled_from(whole)))
    assert tokenizer.encode(tokenizer.decode(ids), allow_special=True) == ids


def test_what_is_not_in_the_table_is_unknown_and_lost():
    tokenizer = TableTokenizer.train(["the cat sat"], WORDS)
    ids = tokenizer.encode("the dog sat")
    assert ids[1] == 0
    assert tokenizer.decode(ids) == "the <unk> sat"
    whole = TableTokenizer.train(["the cat sat"], WORDS, byte_fallback=True)
    assert whole.encode("the dog sat")[1:4] == [2 + byte for byte in b"dog"]
    assert whole.decode(whole.encode("the dog sat")) == "the dog sat"
    assert whole.decode([2 + 0xE0, whole.ids["the"]]) == "� the"


def test_the_most_frequent_pieces_get_the_first_ids():
    tokenizer = TableTokenizer.train(["b a c a", "b a"], WHITESPACE, max_pieces=2)
    assert tokenizer.pieces == ["a", "b"]
    assert tokenizer.ids == {"a": 2, "b": 3}
    assert tokenizer.n_vocab == 4


def test_documents_end_with_end_of_text_and_no_text_can_spell_it():
    tokenizer = TableTokenizer.train(["a b"], WHITESPACE)
    assert tokenizer.encode_documents(["a", "b <|endoftext|>"]) == [2, 1, 3, 0, 1]
    assert tokenizer.encode("a<|endoftext|>b", allow_special=True) == [2, 1, 3]
    assert tokenizer.decode([2, 1, 3]) == "a <|endoftext|> b"


def test_mistakes_are_sentences():
    with pytest.raises(ValueError, match="expected each once, got 'a' twice"):
        TableTokenizer(["a", "b", "a"], WORDS)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=f"expected 0 to 2, got {wrong}"):
            TableTokenizer(["a"], WORDS).decode([wrong])
