"""Text to learn from: what every Python installation carries, or files of one's own.

The interpreter's library is some nine megabytes of real English and real code, the same on every
machine with that version of Python, and needs no network. A document is one source file or one
topic of `help()`: a validation split by document then never shares a file with the training text.
"""

import hashlib
import importlib
import os
import stat
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# Tests, vendored wheels and generated tables: not prose, not code that a person wrote to be read.
_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "_bundled", "lib-dynload", "__pycache__"}
    | {"test", "tests", "idle_test", "lib2to3", "encodings", "msilib", "pydoc_data"}
)
_LEFT_OUT_FILES = frozenset({"html/entities.py"})


class Document(NamedTuple):
    """A piece of text that stays whole when text is split for validation; `name` says whence."""

    name: str
    text: str


def standard_library(
    max_bytes: int = 8_000_000, folder: str | Path | None = None
) -> list[Document]:
    """The interpreter's own sources and documentation topics, at most max_bytes of UTF-8.

    Sorted by name. Where the library holds more than max_bytes, whole documents are drawn in the
    order of the SHA-256 of their names, so that the choice is the same on every machine and not
    the head of the alphabet. `folder` is the library to read (default: this interpreter's).

    Raises FileNotFoundError where the installation carries no sources (compiled or zipped only).
    """
    root = Path(folder) if folder is not None else Path(sysconfig.get_path("stdlib"))
    documents = [*_sources(root), *(_topics() if folder is None else ())]
    if not documents:
        raise FileNotFoundError(
            f"corpora: this Python carries no library sources to read (looked for .py files in "
            f"{root}); name text of your own with --text PATH"
        )
    return _at_most(documents, max_bytes)


def read_documents(paths: Sequence[str | Path], max_bytes: int | None = None) -> list[Document]:
    """Documents from text files and folders of them, in the order given, folders sorted by name.

    Each file is a document. With fewer than 100 files long ones are cut, at blank lines where there
    are any, so that a share of the text can be held out. Hidden files are left out; in a folder so
    are files that are not UTF-8, with one warning. max_bytes bounds what is read: whole documents
    first, the last one cut at a line.

    Raises FileNotFoundError for a missing path and ValueError for one that is empty, not UTF-8 or
    not a regular file.
    """
    if not paths:
        raise ValueError("text: expected at least one file or folder, got none")
    documents: list[Document] = []
    left = max_bytes
    for path in map(Path, paths):
        for document in _from_folder(path) if path.is_dir() else [_from_file(path, left)]:
            size = len(document.text.encode())
            if left is not None and size > left:
                document, size = Document(document.name, _cut(document.text, left)), left
            if document.text:
                documents.append(document)
            left = None if left is None else left - size
            if left == 0:
                return _divided(documents)
    return _divided(documents)


def _sources(root: Path) -> Iterator[Document]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            generated = name.startswith("_sysconfigdata") or relative in _LEFT_OUT_FILES
            if not name.endswith(".py") or generated or not path.is_file():
                continue
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            if text.strip():
                yield Document(relative, text)


def _topics() -> Iterator[Document]:
    """What `help("for")` prints, one document a topic."""
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:  # some distributions ship it apart; the sources alone suffice
        return
    for name, text in sorted(topics.items()):
        yield Document(f"topic {name}", text)


def _draw(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()


def _at_most(documents: list[Document], max_bytes: int) -> list[Document]:
    chosen: list[Document] = []
    left = max_bytes
    for document in sorted(documents, key=lambda document: _draw(document.name)):
        size = len(document.text.encode())
        if size <= left:
            chosen.append(document)
            left -= size
    return sorted(chosen)


def _from_file(path: Path, max_bytes: int | None) -> Document:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(
            f"text: there is no {path}; name a UTF-8 text file or a folder of them"
        ) from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"text: {path} is not a regular file; name a UTF-8 text file or a folder")
    with path.open("rb") as file:
        content = file.read(-1 if max_bytes is None else max_bytes + 1)
    if max_bytes is not None and len(content) > max_bytes:
        # The cut may fall inside a character; those last bytes go, a bad byte elsewhere stays bad.
        content = content[: max_bytes + 1]
        while content and content[-1] & 0xC0 == 0x80:
            content = content[:-1]
        content = content[:-1]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"text: {path} is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); "
            f"convert it first, for example: iconv -f latin1 -t utf-8 {path.name}"
        ) from None
    if not text.strip():
        raise ValueError(f"text: {path} is empty; name a file with text in it")
    return Document(str(path), text)


def _from_folder(folder: Path) -> Iterator[Document]:
    refused: list[Path] = []
    found = False
    for base, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for path in (Path(base, name) for name in sorted(names) if not name.startswith(".")):
            if not path.is_file() or path.stat().st_size == 0:
                continue
            try:
                yield _from_file(path, None)
                found = True
            except ValueError:
                refused.append(path)
    if not found:
        raise ValueError(f"text: no UTF-8 text file in {folder}; name a folder that holds some")
    if refused:
        warnings.warn(
            f"text: left out {len(refused)} files that are not UTF-8 text, the first {refused[0]}",
            stacklevel=2,
        )


def _cut(text: str, max_bytes: int) -> str:
    """The longest run of whole lines within max_bytes; of characters where a line is longer."""
    head = text.encode()[:max_bytes].decode("utf-8", errors="ignore")
    return head[: head.rfind("\n") + 1] or head


def _divided(documents: list[Document], pieces: int = 100) -> list[Document]:
    if not documents or len(documents) >= pieces:
        return documents
    target = max(1_000, sum(len(document.text) for document in documents) // pieces)
    return [part for document in documents for part in _parts(document, target)]


def _parts(document: Document, target: int) -> Iterable[Document]:
    text, start, number = document.text, 0, 0
    while start < len(text):
        end = len(text)
        if len(text) - start > 2 * target:
            for boundary in ("\n\n", "\n", " "):
                at = text.find(boundary, start + target, start + 2 * target)
                if at >= 0:
                    end = at + len(boundary)
                    break
            else:
                end = start + target
        number += 1
        name = document.name if end - start == len(text) else f"{document.name} part {number}"
        yield Document(name, text[start:end])
        start = end
