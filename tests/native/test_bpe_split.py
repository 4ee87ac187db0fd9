"""Chunks are tiktoken's chunks: every code point, adversarial alphabets, and in linear time.

The scanners look at 64 bytes at a time, so texts have to be longer than that to be telling.
"""

import functools
import runpy
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from native.isolation import on_every_other_instruction_set, require_pass
from tokenizers import Regex, pre_tokenizers

from groundup import _C
from groundup.tokenizer import PATTERNS

# tiktoken 0.14, tiktoken_ext/openai_public.py.
TIKTOKEN = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "gpt4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
TIKTOKEN["indic-math"] = PATTERNS["indic-math"]
NAMES = sorted(TIKTOKEN)
CONTEXTS = "a@A@1@ @@.@'@s\n@\r\n @'s@क@ा@\u200d@²@$@ "

# What scanners get wrong: contractions in every case (U+017F and U+1E9E fold, U+212A does not
# matter), kinds of white space, digits beyond ASCII, marks, letters without case, joiners, NUL.
ALPHABET = (
    "aAbZsSdDmMtTlLvVrReE'''  \t\n\r/.,019\x00\x0b\x0c\x85\u00a0\u00b2\u0130\u0131\u017f\u01c5"
    "\u02b0\u0301\u0308\u0915\u0939\u093e\u094d\u06f1\u1e9e\u200d\u2028\u2029\u212a\u3000\u4e2d\ufeff"
    "+-*^=\u2260\u0338\u00b9\u2070\u207f\u207b\u2080\u2099\u222b\u00bd\u200céÉΩ\U0001f600\U0001f468\U000e0100"
)
texts = st.one_of(
    st.text(st.sampled_from(ALPHABET), max_size=24),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=24),
)
# Real text is letters and spaces; the rest is what makes windows end where they should not.
WORDS = ["the", "of", "in", "said", "Word", "WORD", "की", "है", "में", "हिंदी", "क्षमा", "ज़"]
RARE = [
    "'s",
    "n't",
    "'LL",
    "\r\n",
    "\n    ",
    ".\n/",
    "1234",
    "12.5",
    "₹1,00,000",
    "x²₁",
    "你好",
    "Ая",
]
UNITS = [*ALPHABET, *RARE, *WORDS * 3, *" \n'" * 8]
windows = st.lists(st.sampled_from(UNITS), min_size=20, max_size=120).map("".join)


def chunks(text: str, pattern: str) -> list[str]:
    encoded = text.encode()
    ends = _C.split(text, pattern).tolist()
    return [encoded[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]


@functools.cache
def _splitter(regex: str) -> pre_tokenizers.Split:
    return pre_tokenizers.Split(Regex(regex), "isolated")


def oniguruma_chunks(text: str, pattern: str) -> list[str]:
    """The same expression in Hugging Face's engine, which says `\\z` for tiktoken's `$`."""
    regex = TIKTOKEN[pattern].replace("++", "+").replace("?+", "?").replace("*+", "*")
    regex = regex.replace("{1,3}+", "{1,3}").replace(r"\s+$", r"\s+\z")
    return [chunk for chunk, _ in _splitter(regex).pre_tokenize_str(text)]


def tiktoken_agrees(text: str, pattern: str) -> bool:
    """Each of our chunks is a token of its own: tiktoken then gives one id for each, or differs."""
    ours = [chunk.encode() for chunk in chunks(text, pattern)]
    ranks = {bytes([value]): value for value in range(256)}
    for chunk in ours:
        ranks.setdefault(chunk, len(ranks))
    encoding = tiktoken.Encoding(
        "chunks", pat_str=TIKTOKEN[pattern], mergeable_ranks=ranks, special_tokens={}
    )
    return encoding.encode_ordinary(text) == [ranks[chunk] for chunk in ours]


@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("end", [0x1000, pytest.param(0x110000, marks=pytest.mark.slow)])
def test_every_code_point_splits_as_its_class_in_tiktoken(pattern, end):
    """Each code point after and before letters, digits, blanks, line ends, signs and itself."""
    for first in range(0, end, 32):  # short texts: Hugging Face's splitting is quadratic in them
        unassigned = 0x40000 <= first < 0xE0000 or first >= 0xF0000
        contexts = CONTEXTS[: 11 if unassigned else None]
        text = "".join(contexts.replace("@", chr(point)) for point in range(first, first + 32))
        if not 0xD800 <= first < 0xE000:
            assert chunks(text, pattern) == oniguruma_chunks(text, pattern)


def test_committed_unicode_tables_are_tiktokens_on_every_code_point():
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "unicode_tables.py"))
    assert tool["table"](tool["classes"]()) == tool["TARGET"].read_text()


@pytest.mark.parametrize("pattern", NAMES)
@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_chunks_are_those_of_tiktokens_expression(pattern, text):
    assert chunks(text, pattern) == oniguruma_chunks(text, pattern)


@pytest.mark.parametrize("pattern", NAMES)
@settings(max_examples=150, deadline=None)
@given(text=windows)
def test_chunks_across_windows_are_those_of_tiktokens_expression(pattern, text):
    assert chunks(text, pattern) == oniguruma_chunks(text, pattern)


@on_every_other_instruction_set("across_windows or hard_texts or class_in_tiktoken")
def test_every_instruction_set_cuts_alike(isa, tests):
    require_pass(isa, tests, "test_bpe_split.py")


@pytest.mark.parametrize("pattern", NAMES)
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_chunks_are_those_of_tiktoken_itself(pattern, text):
    assert tiktoken_agrees(text, pattern)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
@settings(max_examples=5_000, deadline=None)
@given(text=texts | windows)
def test_chunks_are_those_of_tiktokens_expression_at_length(pattern, text):
    assert chunks(text, pattern) == oniguruma_chunks(text, pattern)


@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize(
    "text",
    [
        "I'Ll they'RE it'\u017f'S 'tis DON'T ''s '\u017f\u017f",
        "x \n y\r\n\r\n  z\t\t\n \t",
        "  \n  ",
        "\u0915\u094d\u0937\u092e\u093e \u0915\u0940 \u0915\u093f\u0924\u093e\u092c\u0964",
        "\u0301AB \u0301ab \u4e2dA\u4e2dB \u01c5a HTTPServer's",
        "1234567 \u06f1\u06f2\u06f3\u06f4 x\u00b2\u00b3",
        "a//\n/\n b:/\r\n",
        "2x\u00b2 - 4\u2070\u2081 = \u222b\u2080\u00b9 \u00bd a=\u0338b **x ^\u0301--\n +\u207b",
        "\u200d\U0001f468\u200d\U0001f469 \ufeff\x00\x85\u2028\u00a0a",
    ],
)
def test_known_hard_texts_split_as_in_tiktoken(pattern, text):
    assert chunks(text, pattern) == oniguruma_chunks(text, pattern)
    assert tiktoken_agrees(text, pattern)


def test_none_keeps_the_text_whole():
    assert chunks("a b\n c", "none") == ["a b\n c"]


@pytest.mark.parametrize("pattern", [*NAMES, "none"])
def test_empty_text_has_no_chunk(pattern):
    ends = _C.split("", pattern)
    assert ends.shape == (0,)
    assert ends.dtype == np.int64


def test_a_pattern_without_scanner_is_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r"pattern: expected one with a native scanner .* got 'x'; .*regex"
    ):
        _C.split("a", "x")


def test_a_lone_surrogate_is_refused():
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        _C.split("a\ud800", "gpt2")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize(
    "unit", [" ", "a", "A", "'", "1", "\n", " \n", "\u0301", "\u4e2dA", "\u093e"]
)
def test_a_million_repeats_split_to_the_end(pattern, unit):
    """A scanner that is quadratic in a run would meet the timeout: each takes milliseconds."""
    assert _C.split(unit * 1_000_000, pattern)[-1] == len(unit.encode()) * 1_000_000
