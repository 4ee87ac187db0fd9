"""The patterns cut alike in the native scanners, tiktoken, Hugging Face and the regex module."""

import functools
import runpy
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

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


def _documented() -> list[tuple[str, str]]:
    """(text, chunks) of each row of docs/tokenizer.md's table of indic-math's rules."""
    page = (Path(__file__).parents[2] / "docs" / "tokenizer.md").read_text(encoding="utf-8")
    rules = page[page.index("### `indic-math`") :]
    return regex.findall(r"(?m)^\| .* \| `(.+)` \| `(.+)` \|$", rules[: rules.index("\n## ")])


@pytest.mark.parametrize(("text", "chunks"), _documented())
def test_indic_math_cuts_as_its_page_says_in_every_engine(text, chunks):
    tiktoken = pytest.importorskip("tiktoken")
    expected = chunks.split("¦")
    assert _chunks_of(text, "indic-math") == expected
    assert regex.findall(PATTERNS["indic-math"], text) == expected
    assert _hugging_face("indic-math")(text) == expected
    ranks = {bytes([value]): value for value in range(256)}
    for chunk in expected:
        ranks.setdefault(chunk.encode(), len(ranks))
    encoding = tiktoken.Encoding(
        "rules", pat_str=PATTERNS["indic-math"], mergeable_ranks=ranks, special_tokens={}
    )
    assert encoding.encode_ordinary(text) == [ranks[chunk.encode()] for chunk in expected]


def test_the_page_has_a_rule_for_everything_that_is_promised():
    text = " ".join(text for text, _ in _documented())
    promised = (
        "2x",
        "x²",
        "∫₀¹",
        "३.१४",
        "१२३",
        "₹500",
        "5kg",
        "क्षमा",
        "ज़",
        "हिं",
        "\u200d",
        "\u200c",
    )
    for example in promised:
        assert example in text


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("0५9,.,.²₁ⁿ₹$%°k का\u200d"), max_size=120))
def test_no_chunk_of_indic_math_is_a_giant_number(text):
    for chunk in _chunks_of(text, "indic-math"):
        assert len(regex.findall(r"\p{Nd}", chunk)) <= 15
        assert not regex.search(r"\p{Nd}{4}", chunk)
        assert len(regex.findall("[²₁ⁿ]", chunk)) <= 8


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("कa'sS1²ⁿ+!$ \n\u093e\u094d\u0902\u200d\u200c"), max_size=80))
def test_no_letter_is_parted_from_its_marks_or_joiners(text):
    before = ""
    for chunk in _chunks_of(text, "indic-math"):
        if regex.match(r"[\p{M}\u200c\u200d]", chunk):
            assert not regex.search(r"\p{L}[\p{M}\u200c\u200d]*\Z", before)
        before += chunk


DIFFERENCES = Path(__file__).parent / "regex_differences.txt"


def test_the_regex_module_differs_from_tiktoken_where_it_is_committed_and_nowhere_else(monkeypatch):
    pytest.importorskip("tiktoken")
    if f"regex {regex.__version__};" not in DIFFERENCES.read_text():
        pytest.skip("the list is of another edition; tools/unicode_differences.py makes one")
    tools = Path(__file__).parents[2] / "tools"
    monkeypatch.syspath_prepend(str(tools))
    assert runpy.run_path(str(tools / "unicode_differences.py"))["listing"]() == (
        DIFFERENCES.read_text()
    )


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != "none"])
def test_our_chunks_are_the_regex_module_s_but_for_the_committed_differences(name):
    rows = regex.findall(r"(?m)^\S+ (\w+)\.\.(\w+) (?:regex|tiktoken)$", DIFFERENCES.read_text())
    assert rows
    differing = {point for a, b in rows for point in range(int(a, 16), int(b, 16) + 1)}
    alike = [chr(p) for p in range(0, 0x30000, 37) if not 0xD800 <= p < 0xE000]
    for text in _everywhere([c for c in alike if ord(c) not in differing]):
        assert _chunks_of(text, name) == regex.findall(PATTERNS[name], text)


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
