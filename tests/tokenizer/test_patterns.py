"""The patterns cut alike in the native scanners, tiktoken, Hugging Face and the regex module."""

import functools
import sys
import unicodedata
from collections.abc import Iterator

import pytest
import regex

from groundup.tokenizer import PATTERNS, Tokenizer
from groundup.tokenizer.patterns import find_pattern

CONTEXTS = ["{}", "a{}b", " {}", " {}{}a", " {} 1", "1{}2", "!{}!", "'{}", "{}\n", "a {}{} "]
CONTEXTS += [" \n{} x", "{}'s", "'{}l", "'{}e", "={}=", "²{}₀", "क{}", "{}\u200d{}"]


def _chunks_of(text: str, name: str) -> list[str]:
    tok = _untrained(name)
    return [chunk.decode() for chunk in tok._encoder.split(text)]


@functools.cache
def _untrained(name: str) -> Tokenizer:
    return Tokenizer.train([], 256, pattern=name)


def _everywhere(characters: list[str]) -> Iterator[str]:
    """For each character a text with it in every context, "q9" between."""
    for character in characters:  # one by one: Hugging Face's splitting is quadratic in the text
        yield "q9".join(context.replace("{}", character) for context in CONTEXTS)


def _assigned_for_long() -> list[str]:
    """Characters that Unicode 3.2 had, which every library's tables know."""
    old = unicodedata.ucd_3_2_0
    return [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if old.category(chr(code)) not in ("Cn", "Cs", "Co")
    ]


def _hugging_face(name: str):
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERNS[name]), "isolated")
    return lambda text: [chunk for chunk, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != "none"])
def test_our_chunks_are_hugging_face_s(name):
    """A sample; tests/native compares every code point."""
    theirs = _hugging_face(name)
    for text in _everywhere(_assigned_for_long()[::29]):
        assert _chunks_of(text, name) == theirs(text)


@pytest.mark.parametrize("name", list(PATTERNS))
def test_every_text_is_covered_by_matches(name):
    for text in _everywhere(_assigned_for_long()[::101]):
        assert "".join(regex.findall(PATTERNS[name], text)) == text


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("2x + y = 5", "2|x| +| y| =| |5"),
        ("x² + y² = r²", "x|²| +| y|²| =| r|²"),
        ("∫₀¹ x² dx", "∫|₀|¹| x|²| dx"),
        ("α + β = γ", "α| +| β| =| γ"),
        ("xⁿ⁺¹=aₙ₊₁", "x|ⁿ⁺¹|=|a|ₙ₊₁"),
        ("x²-4=0", "x|²|-|4|=|0"),
        ("f(x)", "f|(|x|)"),
        ("है क्षमा ज्ञान", "है| क्षमा| ज्ञान"),
        ("क्\u200dष न\u200cम", "क्\u200dष| न\u200cम"),
        ("2x + y = 5 है", "2|x| +| y| =| |5| है"),
        ("ज़ पढ़ाई", "ज़| पढ़ाई"),
        ("१२३४ 1/3", "१२३|४| |1|/|3"),
        ("=\u0338 ≠", "=\u0338| ≠"),
        ("don't", "don|'t"),
        ("a==b->c", "a|==|b|->|c"),
        ("❤️ 👨‍👩!", "❤️| 👨‍👩!"),
        ("½Ⅷ", "½|Ⅷ"),
    ],
)
def test_indic_math_keeps_marks_with_letters_and_signs_apart(text, chunks):
    assert "|".join(_chunks_of(text, "indic-math")) == chunks


def test_gpt4_cuts_where_tiktoken_does_today():
    """The first published string made two chunks of white space that ends the text."""
    assert _chunks_of("a\n  ", "gpt4") == ["a", "\n  "]
    assert _chunks_of("a\n  b", "gpt4") == ["a", "\n", " ", " b"]


def test_patterns_are_known_by_the_spellings_of_others():
    from_tiktoken = pytest.importorskip("tiktoken_ext.openai_public")
    assert find_pattern(from_tiktoken.r50k_pat_str).name == "gpt2"
    original = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    assert find_pattern(original).name == "gpt2"
    for name, pattern in PATTERNS.items():
        assert find_pattern(pattern).name == name


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?r)\w+ ?", r"reads from right to left.*leave out \(\?r\)"),
        ("a\ud800", "expected Unicode"),
    ],
)
def test_a_regex_that_would_lose_text_is_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        find_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?R)", r"calls a group again by \(\?R\)"),
        ("(?:a|(?R))*", r"calls a group again by \(\?R\)"),
        ("(?P<x>a(?&x)?)", r"calls a group again by \(\?&x\)"),
        ("(((a{1000}){1000}){1000})", "repeats its parts more than 65536 times in all"),
        ("a{1000}{1000}", "repeats its parts more than 65536 times"),
        ("(?:(?:ab?){,1000}){1000}", "repeats its parts more than 65536 times"),
        ("a{100000000}", "repeats its parts more than 65536 times"),
        ("a" * 20_000, "expected one of|at most 16384 characters, got 20000"),
        ("(" * 5000, "is no regular expression"),
        ("[", "is no regular expression: unterminated character set"),
    ],
)
def test_a_regex_that_would_take_too_much_is_refused_before_it_is_compiled(pattern, message):
    with pytest.raises(ValueError, match=message):
        find_pattern(pattern)


@pytest.mark.parametrize("pattern", ["[(?R)]+", r"\(\?R\)|a{3}", r"[]{99999999}]|a", "(?>a+){2,}"])
def test_what_only_looks_like_too_much_is_taken(pattern):
    assert find_pattern(pattern).regex == pattern


def test_backtracking_without_end_is_refused():
    with pytest.raises(ValueError, match=r"tries too many ways to match: 0\.5 s were not enough"):
        Tokenizer.train(["a" * 3000], 260, pattern="(a+)+$b")
    tok = Tokenizer.train(["ab"], 257, pattern="(a+)+$b")
    with pytest.raises(ValueError, match="make its repeats exclude one another or possessive"):
        tok.encode("a" * 3000)


def test_what_a_pattern_leaves_out_is_kept():
    tok = Tokenizer.train(["abc 123 abc 123"], 270, pattern=r"[a-z]+")
    assert _chunks_of("ab 12 cd!", "none") == ["ab 12 cd!"]
    assert [c.decode() for c in tok._encoder.split("ab 12 cd!")] == ["ab", " 12 ", "cd", "!"]
    pytest.importorskip("tiktoken")
    assert tok.to_tiktoken().encode("ab 12 cd!") == tok.encode("ab 12 cd!")
