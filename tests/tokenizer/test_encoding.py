"""Any text has ids, they are tiktoken's, and every way to ask gives the same."""

import random
import signal

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
    narrow = by_pattern.encode_to_numpy(text, dtype=np.uint16)
    assert narrow.dtype == np.uint16
    assert narrow.tolist() == ids
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
    at = 0
    for i, (begin, end) in zip(*by_pattern.encode_with_offsets(text, unit="bytes"), strict=True):
        assert begin == at
        assert text.encode()[begin:end] == tokens[i]
        at = end
    assert at == len(text.encode())


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
    with pytest.raises(TypeError, match="texts: expected a list of str, got NoneType"):
        trained.encode_batch(None)
    for part in (1, b"a"):
        with pytest.raises(TypeError, match=r"texts: expected str, got (int|bytes)"):
            list(trained.encode_iter([part]))
    with pytest.raises(TypeError, match="expected parts of one text, got int"):
        list(trained.encode_iter(1))
    with pytest.raises(TypeError, match=r"errors: expected .*, got None"):
        trained.decode([65], errors=None)
    with pytest.raises(TypeError, match="batch: expected several lists of ids, got NoneType"):
        trained.decode_batch(None)
    with pytest.raises(ValueError, match=r"ids: expected a list of whole numbers, got 1\.5"):
        trained.stream_decoder().decode(1.5)
    with pytest.raises(ValueError, match="ids: 18446744073709551616 is no token"):
        trained.decode([2**64])
    with pytest.raises(TypeError, match=r"explain: expected a token's id or bytes, .* got float"):
        trained.explain(1.5)
    with pytest.raises(TypeError, match=r"text: expected str, got int\."):
        trained.encode_batch(["text", 5])
    with pytest.raises(ValueError, match="num_threads: expected a whole number from 1"):
        trained.encode_batch(["text"], num_threads=0)


def test_uint16_is_refused_where_ids_would_not_fit(trained, published):
    text = "a<|endoftext|>b"
    ids = trained.encode_to_numpy(text, allowed_special="all", dtype="uint16")
    assert ids.dtype == np.uint16
    assert ids.tolist() == trained.encode(text, allowed_special="all")
    assert trained.encode_to_numpy("", dtype="uint16").dtype == np.uint16
    with pytest.raises(ValueError, match=r"dtype: expected uint32 or uint16, got int64\."):
        trained.encode_to_numpy("a", dtype=np.int64)
    ours, _ = published("cl100k_base")
    with pytest.raises(ValueError, match="uint16 holds ids below 65536, and this vocabulary has"):
        ours.encode_to_numpy("a", dtype=np.uint16)
    with pytest.raises(ValueError, match=r'unit: expected "characters" or "bytes", got .bits.'):
        ours.encode_with_offsets("a", unit="bits")


class Sampler:
    """Random texts of all kinds: words in several scripts, marks, emoji, spaces, any character."""

    POOLS = (
        "abcdefgh THE the  I'm we'LL 3.14 0x1F == // \n\n\t\r\n",
        "कि्मखगघ ाीुू़ॐ१२३ ।\u200d\u200c",
        "éß²∫₀ſ ñÅ 你好 こんにちは 안녕 مرحبا",
        "👩\u200d👩\u200d👧😀🇮🇳\ufe0f",
    )

    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        parts = []
        for _ in range(self.random.randrange(30)):
            kind = self.random.randrange(6)
            if kind < 4:
                pool = self.POOLS[kind]
                parts.append("".join(self.random.choices(pool, k=self.random.randrange(1, 12))))
            elif kind == 4:
                parts.append(self.random.choice(" \n\ta'=") * self.random.randrange(1, 70))
            else:
                point = self.random.randrange(0x110000)
                parts.append("" if 0xD800 <= point < 0xE000 else chr(point))
        return "".join(parts)


@pytest.mark.parametrize(
    "n_texts", [500, pytest.param(10_000, marks=pytest.mark.slow)], ids=["500", "10000"]
)
@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base"])
def test_random_texts_encode_as_tiktoken(published, name, n_texts):
    ours, theirs = published(name)
    sampler = Sampler(n_texts)
    texts = [sampler.text() for _ in range(n_texts)]
    expected = theirs.encode_ordinary_batch(texts, num_threads=2)
    assert ours.encode_ordinary_batch(texts, num_threads=2) == expected
    assert [ours.encode_ordinary(text) for text in texts[:500]] == expected[:500]


@pytest.mark.parametrize(
    "n_texts", [500, pytest.param(10_000, marks=pytest.mark.slow)], ids=["500", "10000"]
)
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "gpt4o", "indic-math"])
def test_random_texts_encode_as_hugging_face(mixed_text, pattern, n_texts):
    pytest.importorskip("tokenizers")
    ours = Tokenizer.train([mixed_text], 700, pattern=pattern)
    theirs = ours.to_hf()
    sampler = Sampler(n_texts)
    for text in (sampler.text() for _ in range(n_texts)):
        assert ours.encode_ordinary(text) == theirs.encode(text).ids


@given(st.binary(max_size=60))
def test_every_string_of_bytes_comes_back_from_ids(by_pattern, chunk):
    """As text with the bytes for letters, and as ids of the bytes themselves."""
    as_text = chunk.decode("latin-1")
    assert by_pattern.decode(by_pattern.encode_ordinary(as_text)) == as_text
    ids = [by_pattern.token_byte_values().index(bytes([byte])) for byte in chunk]
    assert by_pattern.decode_bytes(ids) == chunk
    assert by_pattern.decode(ids) == chunk.decode("utf-8", "replace")


@pytest.mark.skipif(not engine.native_core(), reason="the reference is Python: it always listens")
def test_ctrl_c_ends_the_encoding_of_a_long_text_and_its_parts_give_the_same_ids(trained):
    sentence = "the cats of a long text, क्षमा "
    text = sentence * (1 << 20)  # more than is encoded between two looks
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        with pytest.raises(KeyboardInterrupt):
            ids = trained.encode_to_numpy(text)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "ids" not in locals(), "it was encoded to its end"
    two, three = (len(trained.encode(sentence * n)) for n in (2, 3))
    assert len(trained.encode_to_numpy(text)) == two + ((1 << 20) - 2) * (three - two)
