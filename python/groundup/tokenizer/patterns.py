"""How text is cut into chunks before any merging: no token ever crosses a chunk's edge.

Each pattern is one regular expression that the `regex` module, tiktoken (fancy-regex) and
Hugging Face tokenizers (Oniguruma) read alike: no `$` (an end of line to Oniguruma), no
possessive `{1,3}+` (a repeated group to Oniguruma), no set algebra (spelled three ways).
tiktoken's own strings use the possessive forms for speed; they cut the same chunks.
"""

import re
from typing import NamedTuple

import regex

from groundup.reference import bpe
from groundup.tokenizer import own_regex

# Superscripts and subscripts, U+2070 to U+209C: letters, signs and brackets among them too.
_SCRIPTS = "⁰-ₜ"
_OPERATORS = r"\p{Sm}*/^\-"
_JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner: they steer a conjunct's shape

# GPT-2's: an ASCII contraction, or a run of letters, of digits or of other signs, each with
# at most one space before it. Source: openai/gpt-2, encoder.py.
GPT2 = "|".join(
    (
        r"'(?:[sdmt]|ll|ve|re)",
        r" ?\p{L}+",
        r" ?\p{N}+",
        r" ?[^\s\p{L}\p{N}]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# GPT-4's (cl100k_base as tiktoken has it today): contractions in either case, any one sign
# before a word, digits in threes, line ends kept with the signs or blanks before them.
# White space that ends the text is one chunk; the string first published lacked that rule.
GPT4 = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s+(?![\s\S])",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s",
    )
)

# GPT-4o's (o200k_base): words are cut between lower and upper case, carry their combining
# marks, and take the contraction that follows.
_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# Hindi and mathematics. A word keeps its vowel signs, virama, nukta and joiners, so a letter
# is never parted from its marks ("क्षमा" is one chunk; GPT-4's rule makes three of it).
# Digits go in threes in any script; a power ("²", "ⁿ⁺¹") and an index ("₀") are chunks of
# their own, and so are operators, which keep a combining mark (= with U+0338 is "not equal"):
# "2x" is 2, x; "x²-4" is x, ², -, 4; "∫₀¹" is ∫, ₀, ¹. Only a space may lead a word.
INDIC_MATH = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",
        rf" ?(?:(?![{_SCRIPTS}])[\p{{L}}\p{{M}}{_JOINERS}])+",
        r"\p{Nd}{1,3}",
        "[¹²³⁰-ⁿ]+",
        "[₀-ₜ]+",
        r"\p{N}",
        rf" ?(?:(?![{_SCRIPTS}])[{_OPERATORS}]\p{{M}}*)+",
        rf" ?(?:(?![{_SCRIPTS}])[^\s\p{{L}}\p{{N}}{_OPERATORS}])+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# No cutting at all: the whole text is one chunk, as in minbpe's BasicTokenizer.
NONE = r"[\s\S]+"

PATTERNS: dict[str, str] = {
    "gpt2": GPT2,
    "gpt4": GPT4,
    "gpt4o": GPT4O,
    "indic-math": INDIC_MATH,
    "none": NONE,
}

# The same patterns as others write them: tiktoken's possessive forms and GPT-2's first one.
_OTHER_SPELLINGS: dict[str, str] = {
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s": "gpt4",
}


class Pattern(NamedTuple):
    """A way to split: one of PATTERNS by its name, or (name None) a regex of one's own."""

    name: str | None
    regex: str


def find_pattern(pattern: str) -> Pattern:
    """The pattern of that name or with that regular expression.

    A regex of one's own is read by the `regex` module; text that it does not match makes chunks
    too, so that nothing is lost. ValueError for one that does not compile, that would take too
    much to compile, that calls itself, or that looks like a misspelt name.
    """
    if not isinstance(pattern, str):
        raise ValueError(f"pattern: expected a name or a regular expression, got {pattern!r}.")
    if pattern in PATTERNS:
        return Pattern(pattern, PATTERNS[pattern])
    if pattern in _OTHER_SPELLINGS:
        return find_pattern(_OTHER_SPELLINGS[pattern])
    for name, known in PATTERNS.items():
        if pattern == known:
            return Pattern(name, known)
    if re.fullmatch(r"[A-Za-z0-9_-]*", pattern):
        raise ValueError(
            f"pattern: expected one of {', '.join(PATTERNS)} or a regular expression, "
            f"got {pattern!r}."
        )
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise ValueError(f"pattern: expected Unicode text, got {pattern!r}.")
    own_regex.compiled(pattern)
    return Pattern(None, pattern)


def read_pattern(pattern: str, source: str) -> Pattern:
    """`find_pattern` for one that stands in the file `source`."""
    try:
        return find_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def split(text: str, pattern: Pattern) -> list[bytes]:
    """The chunks of `text` in order, cut by the regex module."""
    if pattern.name is None:
        return own_regex.split(text, pattern.regex)
    return bpe.split(text, pattern.regex)


# What three engines read in three ways. \w and \b: whether a combining mark is part of a word.
# ^ and $: ends of lines or of the text. x{1,3}+: possessive, or a group repeated. \h: a blank or
# a hex digit. The rest exists in one of them only.
_NOT_PORTABLE = regex.compile(r"\\[wWbBhHZzAGKRX]|(?<!\\)(?:\\\\)*[$^]|\{[\d,]+\}\+|&&|--|\[\[")
_NEGATION = regex.compile(r"\[\^")


def check_portable(pattern: Pattern, reader: str) -> None:
    """ValueError where a regex of one's own would cut otherwise in `reader` than here."""
    if pattern.name is None and (odd := _NOT_PORTABLE.search(_NEGATION.sub("[", pattern.regex))):
        raise ValueError(
            f"{reader}: the pattern holds {odd.group()!r}, which regular expressions here and "
            r"there read differently; spell it out, as [\p{L}\p{M}\p{N}_] for \w."
        )
