"""Data sets by name: where they are on this machine, and how to fetch them.

A file is looked for in the folders of GROUNDUP_DATA, then in the user's cache. Nothing is fetched
unless `fetch` is called, which `groundup data get` does. What is fetched is pinned: a commit, a
size, a SHA-256. So is what is made here from what was fetched (derivation.py), and what has to be
put in its place by hand.
"""

import hashlib
import http.client
import os
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from groundup._files import sync_folder, write_atomic
from groundup._lock import only_run_in
from groundup.data.derivation import DERIVATIONS, Wanted

HOME = "https://raw.githubusercontent.com"
_PIECE = 1 << 16
_TIMEOUT_S = 30.0
_ELSEWHERE = "set GROUNDUP_CACHE to another folder"

_ORIGINALS = "/originals/"  # where what is fetched to make a file lies meanwhile

Report = Callable[[int], None]  # told how many bytes have come, each time some have


@dataclass(frozen=True)
class File:
    """One file of a set: `path` in the cache, `source` under HOME, its bytes and their SHA-256.

    derive     the function of derivation.py that makes it from `originals`; then it has no source
    originals  other files of the set, or files fetched for this alone and not kept
    begins, encoding    what that function is told, see there
    """

    path: str
    size: int
    sha256: str
    source: str = ""
    derive: str = ""
    originals: tuple["File", ...] = ()
    begins: str = ""
    encoding: str = "utf-8-sig"

    @property
    def url(self) -> str:
        return f"{HOME}/{urllib.parse.quote(self.source)}"

    @property
    def n_fetched(self) -> int:
        """Bytes that come over the network for this file alone."""
        own = [original.size for original in self.originals if _ORIGINALS in original.path]
        return sum(own) if self.derive else self.size


@dataclass(frozen=True)
class DataSet:
    """Files that belong together, with what they hold and under which licence.

    by_hand  where the files come from and how they were made, if they cannot be fetched
    """

    name: str
    about: str
    licence: str
    files: tuple[File, ...]
    by_hand: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def n_fetched(self) -> int:
        return sum(file.n_fetched for file in self.files)


@cache
def data_sets() -> dict[str, DataSet]:
    """All sets of the lessons, by name."""
    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return {
        name: DataSet(
            name, entry["about"], entry["licence"], _files(name, entry), entry.get("by_hand", "")
        )
        for name, entry in tomllib.loads(text).items()
    }


def _files(name: str, entry: dict[str, Any]) -> tuple[File, ...]:
    """A set's files. `made_from` names other files of the set, or tables of a source."""
    files: dict[str, File] = {}
    for fields in entry["files"]:
        originals = tuple(
            files[made_from]
            if isinstance(made_from, str)
            else File(f"{name}{_ORIGINALS}{Path(made_from['source']).name}", **made_from)
            for made_from in fields.pop("made_from", ())
        )
        file = File(**fields, originals=originals)
        files[file.path] = file
    return tuple(files.values())


def data_set(name: str) -> DataSet:
    """The set of that name; ValueError names those there are."""
    if name not in data_sets():
        raise ValueError(f"{name!r} is no data set; expected one of {', '.join(data_sets())}")
    return data_sets()[name]


def cache_folder() -> Path:
    """Where fetched files are kept: GROUNDUP_CACHE, else groundup in the user's cache folder."""
    if own := os.environ.get("GROUNDUP_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "groundup" / "data"


def folders() -> list[Path]:
    """Where files are looked for: the folders of GROUNDUP_DATA, in their order, then the cache."""
    named = [Path(f) for f in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep) if f]
    return [*named, cache_folder()]


def find(path: str) -> Path | None:
    """A file by its path in a set, "names/names.txt", or None where none of `folders` has it."""
    for folder in folders():
        if (folder / path).is_file():
            return folder / path
    return None


def locate(path: str) -> Path:
    """As `find`; FileNotFoundError says how to get the file."""
    if (found := find(path)) is None:
        name = path.partition("/")[0]
        known = name in data_sets() and not data_sets()[name].by_hand
        how = f"`groundup data get {name}` fetches it; or " if known else ""
        raise FileNotFoundError(f"{path} is not on this machine: {how}{by_hand(path)}")
    return found


def is_published(file: File, found: Path) -> bool:
    """Whether what this machine has under a file's name is the set's file, byte for byte."""
    return found.stat().st_size == file.size and _sha256(found) == file.sha256


def difference(path: str, found: Path) -> str | None:
    """A sentence on how `found` differs from the set's file of that path, or None.

    None too for a path that is in no set, and for a text that differs in its line ends (CR LF).
    """
    files = [file for each in data_sets().values() for file in each.files if file.path == path]
    if not files or is_published(files[0], found):
        return None
    contents = found.read_bytes()
    if hashlib.sha256(contents.replace(b"\r\n", b"\n")).hexdigest() == files[0].sha256:
        return None
    return (
        f"{found} is not the published {path}: expected {files[0].size} bytes with SHA-256 "
        f"{files[0].sha256}, got {len(contents)} with {hashlib.sha256(contents).hexdigest()}"
    )


def by_hand(path: str) -> str:
    """How to provide a file without the command."""
    return (
        f"put it at {cache_folder() / path}, or name the folder that holds {path} in GROUNDUP_DATA"
    )


def fetch(file: File, report: Report = lambda n: None) -> Path:
    """Fetch one file into the cache, going on where an earlier try was cut off; its path.

    A file that is made from others is made when they have come. A file that is on this machine
    already is checked and not fetched. Raises OSError where the network cannot be reached, and
    ValueError where what came is not the file, or where GROUNDUP_DATA has another of its name,
    which would be found first; each says what to do by hand. Whole or absent: what has not come
    completely has another name.
    """
    target = cache_folder() / file.path
    found = find(file.path)
    if found is not None and is_published(file, found):
        report(file.n_fetched)
        return found
    if found not in (None, target):
        raise ValueError(
            f"{found}: expected {file.size} bytes with SHA-256 {file.sha256}, got another file, "
            "which would be found before the one that is fetched; remove it, or take its folder "
            "out of GROUNDUP_DATA, and repeat"
        )
    if file.derive:
        return _make(file, target, report)
    with only_run_in(target.parent, instead=_ELSEWHERE):
        partial = target.with_name(target.name + ".partial")
        try:
            _receive(file, partial, report)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            reason = getattr(error, "reason", None) or error
            raise OSError(
                f"{file.path}: could not be fetched from {file.url} ({reason}); repeat to go on "
                f"where it stopped, or {by_hand(file.path)}"
            ) from error
        if _sha256(partial) != file.sha256:
            partial.unlink()
            raise ValueError(
                f"{file.path}: expected {file.size} bytes with SHA-256 {file.sha256}, and other "
                f"bytes came from {file.url}; repeat, or {by_hand(file.path)}"
            )
        os.replace(partial, target)
        sync_folder(target.parent)
    return target


def _make(file: File, target: Path, report: Report) -> Path:
    """Make a file from its originals, which are fetched first, and kept where the set has them."""
    fetched = [_original(original, report) for original in file.originals]
    wanted = Wanted(file.size, file.begins, file.encoding)
    try:
        made = DERIVATIONS[file.derive]([path.read_bytes() for path in fetched], wanted)
        reason = f"{len(made)} other bytes"
    except ValueError as error:
        made, reason = b"", str(error)
    if hashlib.sha256(made).hexdigest() != file.sha256:
        raise ValueError(
            f"{file.path}: expected {file.size} bytes with SHA-256 {file.sha256} to be made of "
            f"{fetched[0]}, got {reason}; {by_hand(file.path)}"
        )
    with only_run_in(target.parent, instead=_ELSEWHERE):
        write_atomic(target, made)
    for original in file.originals:
        if _ORIGINALS in original.path:
            (cache_folder() / original.path).unlink(missing_ok=True)
    return target


def _original(file: File, report: Report) -> Path:
    """A file to make another of: one that is on this machine already, or else fetched."""
    return fetch(file, report if _ORIGINALS in file.path else _nobody)


def _nobody(n: int) -> None:
    """A report that nobody reads: these bytes count for a file of their own."""


def provided(file: File, told: str) -> Path:
    """Where a file lies that has to be put there by hand, checked; `told` says where it is from.

    Raises FileNotFoundError where it does not, and ValueError for another file of that name.
    """
    found = find(file.path)
    if found is None:
        raise FileNotFoundError(
            f"{file.path} cannot be fetched: {told} To have it, {by_hand(file.path)}"
        )
    if not is_published(file, found):
        raise ValueError(
            f"{found}: expected {file.size} bytes with SHA-256 {file.sha256}, got another file; "
            f"{told}"
        )
    return found


def _receive(file: File, partial: Path, report: Report) -> None:
    """Add to `partial` what it lacks, one byte more than the file's size at most."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= file.size:
        if is_published(file, partial):
            return
        have = 0  # what lay here is no part of the file
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(file.url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        with partial.open("ab" if goes_on else "wb") as stream:
            done = have if goes_on else 0
            report(done)
            while piece := answer.read(min(_PIECE, file.size + 1 - done)):
                stream.write(piece)
                done += len(piece)
                report(len(piece))
            stream.flush()
            os.fsync(stream.fileno())
    if done < file.size:
        raise http.client.HTTPException(f"the connection ended after {done} of {file.size} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
