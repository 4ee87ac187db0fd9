"""The text that the BPE benchmark works on: real, found on the machine, told by its SHA-256.

    python -m benchmarks.corpora        what each corpus is here: documents, bytes, distinct chunks

"english" is the interpreter's library and what site-packages hold of sources, English and code.
"hindi" is read through GROUNDUP_DATA: prose and stories first, then sentences and sums.
"""

import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Unavailable
from groundup import _native
from groundup.data.corpora import standard_library

HINDI = (
    "hindi_premchand/premchand.txt",
    "hindi_discourse/stories.txt",
    "pratham_hi/stories.txt",
    "tatoeba/hin.txt",
    "ntrex/newstest2019-ref.hin.txt",
    "multimwp/Algebraic-Hindi.txt",
    "multimwp/Simple-Hindi.txt",
    "multimwp/simple_hi_en_answers.jsonl",
    "udhr/hin.txt",
)
_LINES = 400  # of a book, in one document


@dataclass(frozen=True, eq=False)
class Corpus:
    texts: tuple[str, ...]

    @functools.cached_property
    def encoded(self) -> bytes:
        return "".join(self.texts).encode()

    @property
    def n_bytes(self) -> int:
        return len(self.encoded)

    @functools.cached_property
    def file(self) -> Path:
        """All of it in one file, in the page cache; it goes when the process does."""
        path = Path(_folder().name) / f"{id(self)}.txt"
        path.write_bytes(self.encoded)
        return path

    @functools.cached_property
    def described(self) -> Mapping[str, int | str]:
        found: dict[str, int | str] = {
            "bytes": self.n_bytes,
            "documents": len(self.texts),
            "sha256": hashlib.sha256(self.encoded).hexdigest()[:16],
        }
        core = _native.core()
        if core is not None:
            counts = core.ChunkCounts()
            counts.add_texts(self.texts, "gpt2", core.usable_threads())
            found |= {"chunks": counts.n_chunks, "distinct chunks": len(counts)}
        return found

    def read_again(self) -> Callable[[], None]:
        """Reads its bytes from the page cache, into memory that is there: the least of any work."""
        file, buffer = self.file, bytearray(self.n_bytes)

        def read() -> None:
            with file.open("rb", buffering=0) as stream:
                stream.readinto(buffer)

        return read

    def halves(self) -> tuple["Corpus", "Corpus"]:
        """Every second document, and the others."""
        return Corpus(self.texts[::2]), Corpus(self.texts[1::2])


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="groundup-bench-")


@functools.cache
def english(max_bytes: int) -> Corpus:
    """The standard library first, then installed packages, whole files, at most max_bytes."""
    texts: list[str] = []
    left = max_bytes
    packages = dict.fromkeys(p for p in sys.path if p.endswith(("site-packages", "dist-packages")))
    for folder in (None, *packages):
        if folder is not None and not Path(folder).is_dir():
            continue
        try:
            found = [document.text for document in standard_library(left, folder=folder)]
        except FileNotFoundError:  # a folder of packages without sources
            continue
        texts += found
        left -= sum(len(text.encode()) for text in found)
    return Corpus(tuple(texts))


@functools.cache
def hindi(max_bytes: int) -> Corpus:
    """Some hundred lines a document. Raises Unavailable where GROUNDUP_DATA holds none of it."""
    texts: list[str] = []
    left = max_bytes
    for name in HINDI:
        for folder in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep):
            if folder and (path := Path(folder) / name).is_file():
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
                for at in range(0, len(lines), _LINES):
                    text = "".join(lines[at : at + _LINES])
                    if len(text.encode()) <= left:
                        texts.append(text)
                        left -= len(text.encode())
                break
    if not texts:
        raise Unavailable(f"{HINDI[0]} and the like are not in a folder of GROUNDUP_DATA")
    return Corpus(tuple(texts))


if __name__ == "__main__":
    print(json.dumps({"english": dict(english(10**8).described)}, indent=1))
    print(json.dumps({"hindi": dict(hindi(2 * 10**7).described)}, indent=1))
