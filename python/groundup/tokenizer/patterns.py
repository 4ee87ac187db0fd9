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

# Hindi and mathematics. docs/tokenizer.md states each rule with examples, which are tested.
# A word keeps its vowel signs, virama, nukta and joiners, so a letter is never parted from its
# marks ("क्षमा" is one chunk; GPT-4's rule makes three of it). A quantity is one chunk: currency
# sign, digits, decimals, and the letters or the sign of a unit or a variable that follow ("₹1,500",
# "३.१४", "2x", "१०किमी", "25°C"). What superscripts and subscripts stand on keeps them ("x²",
# "∫₀¹"). A space may lead each of these. Digits are bounded: at most three in a row, 15 in a chunk,
# and 8 superscripts and subscripts, so that no chunk is a giant number.
_SCRIPTS = "⁰-ₜ"  # U+2070 to U+209C: letters, signs and brackets among them too
_JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner: they steer a conjunct's shape
_OPERATORS = r"\p{Sm}*/^\-"
_WORD = rf"(?:(?![{_SCRIPTS}])[\p{{L}}\p{{M}}{_JOINERS}])"
_SCRIPT = rf"(?:[¹²³{_SCRIPTS}][\p{{M}}{_JOINERS}]*)"
_NUMBER = r"\p{Nd}{1,3}(?:,\p{Nd}{2,3}){0,3}(?:\.\p{Nd}{1,3})?"
_UNIT = rf"(?:[%‰′″]|\p{{Sc}}(?!\p{{Nd}})|°?{_WORD}*)"
_SIGN = rf"(?:(?![{_SCRIPTS}]|\p{{Sc}}\p{{Nd}})[^\s\p{{L}}\p{{N}}{_OPERATORS}])"
INDIC_MATH = "|".join(
    (
        rf"'(?i:[sdmt]|ll|ve|re)(?![\p{{L}}\p{{M}}{_JOINERS}])",
        rf" ?{_WORD}+{_SCRIPT}{{0,8}}",
        rf" ?\p{{Sc}}?{_NUMBER}{_UNIT}{_SCRIPT}{{0,8}}",
        rf" ?{_SCRIPT}{{1,8}}",
        rf" ?\p{{N}}[\p{{M}}{_JOINERS}]*",
        rf" ?(?:(?![{_SCRIPTS}])[{_OPERATORS}]\p{{M}}*)+{_SCRIPT}{{0,8}}",
        rf" ?{_SIGN}+{_SCRIPT}{{0,8}}[\r\n]*",
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
