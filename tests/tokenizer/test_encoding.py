"""Any text has ids, they are tiktoken's, and every way to ask gives the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.tokenizer import PATTERNS, Tokenizer, engine
from groundup.tokenizer.interop_tiktoken import vocabulary_of_tokens
from groundup.tokenizer.patterns import find_pattern

# Text that is likely to hit a pattern's edges, and any text (without the native core, up to what
# every version of Unicode has: the regex module knows newer letters).
_LAST = 0x10FFFF if engine.native_core() else 0x02FF
texts = st.one_of(
    st.text(st.sampled_from("aZ'sSlLvVeErRdm 19\n\r\t.-/+=²₀कि्\u200dé👩ſ\u3000\x85"), max_size=40),
    st.text(st.characters(max_codepoint=_LAST, exclude_categories=["Cs"]), max_size=40),
)


@pytest.fixture(scope="module", params=[*PATTERNS, r"\w+|[^\w\s]+"])
def by_pattern(request, mixed_text):
    return Tokenizer.train([mixed_text], 500, pattern=request.param, special_tokens=["<|e|>"])


@given(text=texts)
def test_any_text_comes_back(by_pattern, text):
    ids = by_pattern.encode(text)
    assert by_pattern.decode(ids) == text
    assert by_pattern.decode_bytes(ids) == text.encode()


@given(text=texts)
def test_every_way_to_encode_gives_the_same_ids(by_pattern, text):
    ids = by_pattern.encode_ordinary(text)
    as_array = by_pattern.encode_to_numpy(text)
    assert as_array.dtype == np.uint32
    assert as_array.tolist() == ids
    assert by_pattern.encode_batch([text, "", text]) == [ids, [], ids]
    assert by_pattern.encode_ordinary_batch([text], num_threads=2) == [ids]
    assert by_pattern.encode_with_offsets(text)[0].tolist() == ids
    assert list(by_pattern.encode_iter(iter(text))) == ids


@given(text=texts)
def test_offsets_hold_the_token_and_cover_the_text(by_pattern, text):
    ids, offsets = by_pattern.encode_with_offsets(text)
    tokens = by_pattern.token_byte_values()
    covered = 0
    for i, (begin, end) in zip(ids.tolist(), offsets.tolist(), strict=True):
        assert begin < end
        assert tokens[i] in text[begin:end].encode()
        assert begin <= covered <= end
        covered = end
    assert covered == len(text)


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base"])
def test_published_ranks_encode_as_tiktoken(published, name, library_text, mixed_text):
    ours, theirs = published(name)
    for text in (mixed_text, library_text[:1_000_000]):
        ids = ours.encode_to_numpy(text)
        assert np.array_equal(ids, theirs.encode_to_numpy(text))
        assert ours.decode(ids) == text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base"])
def test_published_ranks_encode_books_as_tiktoken(published, name, data_file):
    ours, theirs = published(name)
    for file in (
        "tinyshakespeare/input.txt",
        "hindi_discourse/stories.txt",
        "taylorswift/taylorswift.txt",
    ):
        text = data_file(file).read_text(encoding="utf-8")
        assert np.array_equal(ours.encode_to_numpy(text), theirs.encode_to_numpy(text))


def test_tiny_shakespeare_is_338025_gpt2_tokens(published, data_file):
    ours, _ = published("r50k_base")
    text = data_file("tinyshakespeare/input.txt").read_text(encoding="utf-8")
    assert len(ours.encode_to_numpy(text)) == 338025


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_any_text_encodes_as_tiktoken(published, text):
    ours, theirs = published("cl100k_base")
    assert ours.encode(text) == theirs.encode(text)


@pytest.fixture(scope="module", params=["gpt2", "gpt4", "gpt4o", "indic-math"])
def with_tiktoken(request, mixed_text):
    pytest.importorskip("tiktoken")
    tok = Tokenizer.train([mixed_text], 600, pattern=request.param)
    return tok, tok.to_tiktoken()


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_trained_vocabularies_encode_alike_in_tiktoken(with_tiktoken, text):
    tok, theirs = with_tiktoken
    assert tok.encode(text) == theirs.encode(text)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("ab", min_size=2, max_size=6), unique=True, max_size=12),
    st.text("ab ", max_size=30),
)
def test_any_list_of_ranks_encodes_as_tiktoken(tokens, text):
    """Ranks in any order: a token may rank before its parts, or have none."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {token.encode(): 256 + i for i, token in enumerate(tokens)}
    theirs = tiktoken.Encoding("any", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer(vocabulary_of_tokens(list(ranks), find_pattern(r"\S+|\s+"), {}, "ranks"))
    assert ours.encode(text) == theirs.encode(text)


@pytest.mark.parametrize(
    "text", ["\ud83d", "a\udc00b", "\ud83d\ude42", "ok \ud83d\ud83d\ude42 \ude42", "क\ud800्"]
)
def test_surrogates_encode_as_tiktoken(trained, text):
    """A pair is its character, half of one is U+FFFD."""
    pytest.importorskip("tiktoken")
    assert trained.encode(text) == trained.to_tiktoken().encode(text)
    assert trained.encode_batch([text, "a"]) == [trained.encode(text), trained.encode("a")]
    assert trained.encode_to_numpy(text).tolist() == trained.encode(text)
    Tokenizer.train([text], 257)


def test_offsets_refuse_a_pair_of_surrogates(trained):
    assert trained.encode_with_offsets("\ud83d a")[1].tolist()[-1][1] == 3
    with pytest.raises(ValueError, match="expected Unicode text, got a surrogate pair"):
        trained.encode_with_offsets("\ud83d\ude42")


@pytest.mark.parametrize("character", ["a", " ", "\n", "7", "!", "क"])
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "gpt4o", "none"])
def test_a_repeated_character_is_linear(character, pattern):
    tok = Tokenizer.train([character * 300], 280, pattern=pattern)
    text = character * 200_000
    assert tok.decode(tok.encode(text)) == text


@pytest.mark.parametrize("cut", [1, 7, 1000, 70_000])
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "gpt4o", "indic-math", "none", r"\w+|\s"])
def test_a_text_in_parts_gives_the_ids_of_the_whole(mixed_text, library_text, cut, pattern):
    text = (mixed_text + library_text[:100_000])[: 100_000 if cut > 1 else 20_000]
    tok = Tokenizer.train([text], 300, pattern=pattern)
    parts = (text[i : i + cut] for i in range(0, len(text), cut))
    assert list(tok.encode_iter(parts)) == tok.encode(text)


def test_parts_are_encoded_before_the_last_has_come(library_text):
    tok = Tokenizer.train([library_text[:10_000]], 300)
    n_read = 0

    def parts():
        nonlocal n_read
        for i in range(0, 1_000_000, 1000):
            n_read += 1
            yield library_text[i : i + 1000]

    next(tok.encode_iter(parts()))
    assert n_read < 200


def test_special_tokens_are_found_across_parts(library_text):
    text = library_text[:150_000].replace("self", "<| end of text |>")
    tok = Tokenizer.train([text], 300, special_tokens=["<| end of text |>"])
    for cut in (5, 4999):
        parts = (text[i : i + cut] for i in range(0, len(text), cut))
        ids = list(tok.encode_iter(parts, allowed_special="all"))
        assert ids == tok.encode(text, allowed_special="all")
    with pytest.raises(ValueError, match="disallowed special token"):
        list(tok.encode_iter([text]))
    ordinary = list(tok.encode_iter([text], disallowed_special=()))
    assert ordinary == tok.encode_ordinary(text)


def test_what_is_no_text_is_told_in_a_sentence(trained):
    for encode in (trained.encode, trained.encode_ordinary, trained.encode_to_numpy):
        with pytest.raises(TypeError, match=r"text: expected str, got bytes\."):
            encode(b"bytes")
    with pytest.raises(TypeError, match=r"expected a list of str, got one str; pass \[text\]"):
        trained.encode_batch("text")
    with pytest.raises(TypeError, match=r"text: expected str, got int\."):
        trained.encode_batch(["text", 5])
    with pytest.raises(ValueError, match="num_threads: expected a whole number from 1"):
        trained.encode_batch(["text"], num_threads=0)
