"""Writes csrc/bpe/unicode_tables.inc: the class of every code point, as the tokenizers see it.

    python tools/unicode_tables.py            # writes the file
    python tools/unicode_tables.py --check    # exit code 1 when the committed file differs

The classes are asked of tiktoken's own regex engine, because a scanner that must cut text where
tiktoken cuts it needs tiktoken's edition of Unicode, which no other library promises to share.
"""

import argparse
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "csrc" / "bpe" / "unicode_tables.inc"
BLOCK = 64  # the code points that share all UTF-8 bytes but the last

# (regex, bit), the bits of csrc/bpe/unicode.h; what nothing matches is a symbol.
CLASSES = [
    (r"[\p{Lu}\p{Lt}]", 1),
    (r"\p{Ll}", 2),
    (r"[\p{Lm}\p{Lo}]", 4),
    (r"\p{M}", 8),
    (r"\p{N}", 16),
    (r"[^\S\r\n]", 32),
    (r"[\r\n]", 64),
]
SYMBOL = 128
DECIMALS, MATH_SIGNS = r"\p{Nd}", r"\p{Sm}"  # told apart within their classes by "indic-math"


def matching(pattern: str) -> set[int]:
    """The code points that `pattern`, which matches one character, accepts in tiktoken."""
    import tiktoken

    ranks = {bytes([value]): value for value in range(256)}
    encoding = tiktoken.Encoding(
        "classes", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
    )
    found: set[int] = set()
    for first in range(0, 0x110000, 0x1000):
        text = (
            "".join(map(chr, range(first, first + 0x1000))) if not 0xD800 <= first < 0xE000 else ""
        )
        found |= {ord(char) for char in bytes(encoding.encode_ordinary(text)).decode()}
    return found


def classes() -> bytearray:
    kinds = bytearray([SYMBOL]) * 0x110000
    for pattern, bit in CLASSES:
        for point in matching(pattern):
            if kinds[point] != SYMBOL:
                raise SystemExit(f"U+{point:04X} is in two classes: {kinds[point]} and {bit}")
            kinds[point] = bit
    return kinds


def rows(values: list[int] | bytes | bytearray) -> str:
    return "\n".join(
        "    " + " ".join(f"{value}," for value in values[at : at + 24])
        for at in range(0, len(values), 24)
    )


def ranges(pattern: str) -> str:
    """The non-ASCII code points that match, as rows of {first, last}."""
    found: list[list[int]] = []
    for point in sorted(matching(pattern)):
        if point < 0x80:
            continue
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    rows = [
        ", ".join(f"{{{a}, {b}}}" for a, b in found[at : at + 6]) for at in range(0, len(found), 6)
    ]
    return "\n".join(f"    {row}," for row in rows)


def table(kinds: bytearray) -> str:
    blocks: dict[bytes, int] = {}
    index = [
        blocks.setdefault(bytes(kinds[at : at + BLOCK]), len(blocks))
        for at in range(0, len(kinds), BLOCK)
    ]
    used = max(at for at, block in enumerate(index) if block != index[-1]) + 1
    return f"""\
// Written by tools/unicode_tables.py; do not edit. {len(blocks)} blocks of {BLOCK} code points.
// clang-format off
// Code points from {used} * {BLOCK} on are symbols.
static constexpr std::uint32_t kUnicodeBlocks = {used};
static constexpr std::uint16_t kUnicodeIndex[{used}] = {{
{rows(index[:used])}
}};
static constexpr std::uint8_t kUnicodeKinds[{len(blocks)} * {BLOCK}] = {{
{rows(b"".join(blocks))}
}};
const std::uint8_t kAsciiKinds[128] = {{
{rows(kinds[:128])}
}};
struct CodePoints {{
  std::uint32_t first, last;
}};
static constexpr CodePoints kDecimals[] = {{  // Nd beyond ASCII
{ranges(DECIMALS)}
}};
static constexpr CodePoints kMathSigns[] = {{  // Sm beyond ASCII
{ranges(MATH_SIGNS)}
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
