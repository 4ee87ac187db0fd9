"""Writes csrc/bpe/unicode_tables.inc: the class of every code point, as tiktoken knows it.

    python tools/unicode_tables.py            # writes the file
    python tools/unicode_tables.py --check    # exit code 1 when the committed file differs

The classes are asked of tiktoken's own regex engine, because a scanner that must cut text where
tiktoken cuts it needs tiktoken's edition of Unicode, which no other library promises to share.
The file's first lines state that edition.
"""

import argparse
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "csrc" / "bpe" / "unicode_tables.inc"
BLOCK = 64  # the code points that share all UTF-8 bytes but the last
EDITIONS = ["18.0", "17.0", "16.0", "15.1", "15.0", "14.0"]  # newest first
SCRIPTS = "[\u2070-\u209c]"  # superscripts and subscripts but for three, letters among them

# The classes in the order of csrc/bpe/unicode.h. The first that matches is a code point's.
CLASSES = [
    r"[\p{Lu}\p{Lt}]",
    r"\p{Ll}",
    rf"(?!{SCRIPTS})[\p{{Lm}}\p{{Lo}}]",
    r"\p{M}",
    r"\p{Nd}",
    r"(?![\u00b2\u00b3\u00b9])(?!" + SCRIPTS + r")\p{N}",
    r"[^\S\r\n]",
    r"[\r\n]",
    r"\p{Sc}",
    rf"(?!{SCRIPTS})[\p{{Sm}}*/^\-]",
    r"[\u200c\u200d]",
    rf"(?={SCRIPTS})\p{{L}}",
    rf"[\u00b2\u00b3\u00b9]|(?={SCRIPTS})\p{{N}}",
    SCRIPTS,
    r"[\s\S]",
]
LETTER, MARK = 2, 3


def encoding(pattern: str):
    import tiktoken

    ranks = {bytes([value]): value for value in range(256)}
    return tiktoken.Encoding("one", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def edition() -> str:
    """The newest Unicode whose new characters tiktoken's engine knows by \\p{Age}."""
    for version in EDITIONS:
        try:
            encoding(rf"\p{{Age={version}}}")
        except ValueError:
            continue
        return version
    raise SystemExit(f"tiktoken's Unicode is older than {EDITIONS[-1]}")


def matching(pattern: str) -> set[int]:
    """The code points that `pattern`, which matches one character, accepts in tiktoken."""
    cut = encoding(pattern)
    found: set[int] = set()
    for first in range(0, 0x110000, 0x1000):
        text = (
            "".join(map(chr, range(first, first + 0x1000))) if not 0xD800 <= first < 0xE000 else ""
        )
        found |= {ord(char) for char in bytes(cut.encode_ordinary(text)).decode()}
    return found


def classes() -> bytearray:
    """The number of each code point's class; a surrogate's is the last."""
    kinds = bytearray([len(CLASSES) - 1]) * 0x110000
    for number, pattern in reversed([*enumerate(CLASSES)]):
        for point in matching(pattern):
            kinds[point] = number
    return kinds


def rows(values: list[int] | bytes | bytearray) -> str:
    return "\n".join(
        "    " + " ".join(f"{value}," for value in values[at : at + 24])
        for at in range(0, len(values), 24)
    )


def devanagari(kinds: bytearray, number: int) -> list[int]:
    """U+0900 to U+097F as 16 bytes: bit r of byte c is whether U+0900 + 16 * r + c is of it."""
    return [
        sum((kinds[0x900 + 16 * row + column] == number) << row for row in range(8))
        for column in range(16)
    ]


def table(kinds: bytearray) -> str:
    blocks: dict[bytes, int] = {}
    index = [
        blocks.setdefault(bytes(kinds[at : at + BLOCK]), len(blocks))
        for at in range(0, len(kinds), BLOCK)
    ]
    used = max(at for at, block in enumerate(index) if block != index[-1]) + 1
    return f"""\
// Written by tools/unicode_tables.py; do not edit. Unicode {edition()}, as tiktoken has it:
// {len(blocks)} blocks of {BLOCK} code points.
// clang-format off
// Code points from {used} * {BLOCK} on are of the last class.
const std::uint32_t kUnicodeBlocks = {used};
const std::uint16_t kUnicodeIndex[{used}] = {{
{rows(index[:used])}
}};
const std::uint8_t kUnicodeClasses[{len(blocks)} * {BLOCK}] = {{
{rows(b"".join(blocks))}
}};
const std::uint8_t kDevanagariLetters[16] = {{
{rows(devanagari(kinds, LETTER))}
}};
const std::uint8_t kDevanagariMarks[16] = {{
{rows(devanagari(kinds, MARK))}
}};
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file")
    check = parser.parse_args().check
    text = table(classes())
    if check:
        same = TARGET.is_file() and TARGET.read_text() == text
        print("the tables are up to date" if same else f"{TARGET.name} differs: run {sys.argv[0]}")
        return 0 if same else 1
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
