"""Words and text that every machine has, for lessons without their data: Python's own library."""

import builtins
import keyword
import os
import sys
from pathlib import Path


def names_of_python() -> str:
    """Words that every machine has, one a line: identifiers of Python's own library, in letters."""
    words: set[str] = set()
    for name in [*sys.stdlib_module_names, *dir(builtins), *keyword.kwlist]:
        words.update(part for part in name.lower().split("_") if part.isascii() and part.isalpha())
    for path in sorted(Path(os.__file__).parent.glob("*.py"))[:60]:
        source = path.read_text(encoding="utf-8", errors="replace")
        for word in source.replace("_", " ").split():
            if word.isascii() and word.isalpha() and word.islower() and 2 < len(word) < 13:
                words.add(word)
    return "\n".join(sorted(words))


def text_of_python(n_characters: int = 1_100_000) -> str:
    """A long text that every machine has: documentation and code of Python's own library."""
    pieces: list[str] = []
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        pieces.append(path.read_text(encoding="utf-8", errors="replace"))
        if sum(map(len, pieces)) >= n_characters:
            break
    return "".join(c for c in "".join(pieces)[:n_characters] if c == "\n" or " " <= c <= "~")
