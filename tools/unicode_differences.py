"""Writes tests/tokenizer/regex_differences.txt: where the regex module's Unicode is not tiktoken's.

    python tools/unicode_differences.py

The native scanners have tiktoken's edition of Unicode (tools/unicode_tables.py), which is Hugging
Face's as well; without the native core text is cut by the regex module, whose edition is its own.
Each line is a class, the code points about which the two differ, and who counts them to the class.
"""

import sys
from pathlib import Path

import regex
from unicode_tables import edition, matching

TARGET = Path(__file__).resolve().parent.parent / "tests" / "tokenizer" / "regex_differences.txt"
CLASSES = [r"\p{L}", r"\p{Lu}", r"\p{Lt}", r"\p{Ll}", r"\p{Lm}", r"\p{Lo}", r"\p{M}", r"\p{N}"]
CLASSES += [r"\p{Nd}", r"\p{Sm}", r"\p{Sc}", r"\s"]
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
TEXT = "".join(map(chr, POINTS))


def ranges(points: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for point in sorted(points):
        if found and found[-1][1] == point - 1:
            found[-1] = (found[-1][0], point)
        else:
            found.append((point, point))
    return found


def listing() -> str:
    lines = [
        "# Written by tools/unicode_differences.py; do not edit.",
        f"# regex {regex.__version__}; tiktoken: Unicode {edition()}.",
    ]
    for pattern in CLASSES:
        ours = matching(pattern)
        theirs = {ord(character) for character in regex.findall(pattern, TEXT)}
        lines.append(f"# {pattern}: {len(ours ^ theirs)} code points")
        for who, points in (("regex", theirs - ours), ("tiktoken", ours - theirs)):
            lines += [f"{pattern} {a:04X}..{b:04X} {who}" for a, b in ranges(points)]
    return "\n".join(lines) + "\n"


def main() -> int:
    TARGET.write_text(listing())
    print(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
