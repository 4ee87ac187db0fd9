"""Text that every machine with Python has, and the vocabularies that tests share."""

import base64
import functools
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from groundup.tokenizer import PATTERNS, Tokenizer, engine

MIXED = (
    "It's 12,345.67 o'clock; DON'T shout.\r\n\r\n  def f(x):\n\treturn x**2  # ½ ≠ ³\n"
    "क्षमा ज्ञान 2x + y² = ∫₀¹ x dx का मान १२३ · naïve café ﬁ ſ'S 你好，世界 🙂👩‍👩‍👧"
    " \u3000\x85end   "
)


@pytest.fixture(scope="session")
def library_files() -> list[Path]:
    """The interpreter's own sources, some 5 MB of English and code, sorted by name.

    Without the native core a twentieth of them: the reference takes its time.
    """
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return files if engine.native_core() else files[::20]


@pytest.fixture(scope="session")
def library_text(library_files: list[Path]) -> str:
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in library_files)


@pytest.fixture(scope="session")
def mixed_text(library_text: str) -> str:
    """Some 40 KB: many scripts, and a piece of the library."""
    return MIXED * 20 + library_text[:30_000]


@pytest.fixture(scope="session")
def trained(mixed_text: str) -> Tokenizer:
    return Tokenizer.train([mixed_text], 700, special_tokens=["<|endoftext|>", "<|pad|>"])


@pytest.fixture(scope="session")
def published(data_file: Callable[[str], Path]) -> Callable[[str], tuple[Tokenizer, object]]:
    """published("cl100k_base") is our tokenizer of OpenAI's ranks, and tiktoken's."""
    tiktoken = pytest.importorskip("tiktoken")
    patterns = {"r50k_base": "gpt2", "cl100k_base": "gpt4", "o200k_base": "gpt4o"}

    @functools.cache
    def make(name: str) -> tuple[Tokenizer, object]:
        path = data_file(f"bpe/{name}.tiktoken")
        lines = (line.split() for line in path.read_bytes().splitlines())
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        specials = {"<|endoftext|>": len(ranks) + 1, "<|fim|>": len(ranks) + 7}
        theirs = tiktoken.Encoding(
            name,
            pat_str=PATTERNS[patterns[name]],
            mergeable_ranks=ranks,
            special_tokens=specials,
        )
        ours = Tokenizer.from_tiktoken(path, patterns[name], special_tokens=specials)
        return ours, theirs

    return make
