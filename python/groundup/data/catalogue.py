"""Data sets by name: where they are on this machine, and how to fetch them.

A file is looked for in the folders of GROUNDUP_DATA, then in the user's cache. Nothing is fetched
unless `fetch` is called, which `groundup data get` does. What is fetched is pinned: a commit, a
size, a SHA-256.
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

from groundup._files import sync_folder
from groundup._lock import only_run_in

HOME = "https://raw.githubusercontent.com"
_PIECE = 1 << 16
_TIMEOUT_S = 30.0

Report = Callable[[int], None]  # told how many bytes have come, each time some have


@dataclass(frozen=True)
class File:
    """One file of a set: `path` in the cache, `source` under HOME, its bytes and their SHA-256."""

    path: str
    source: str
    size: int
    sha256: str

    @property
    def url(self) -> str:
        return f"{HOME}/{urllib.parse.quote(self.source)}"


@dataclass(frozen=True)
class DataSet:
    """Files that belong together, with what they hold and under which licence."""

    name: str
    about: str
    licence: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@cache
def data_sets() -> dict[str, DataSet]:
    """All sets that can be fetched, by name."""
    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return {
        name: DataSet(
            name, entry["about"], entry["licence"], tuple(File(**f) for f in entry["files"])
        )
        for name, entry in tomllib.loads(text).items()
    }


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


def find(path: str) -> Path | None:
    """A file by its path in a set, "names/names.txt", or None where this machine has it not.

    Folders of GROUNDUP_DATA come first, in their order, then the cache.
    """
    named = [Path(f) for f in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep) if f]
    for folder in [*named, cache_folder()]:
        if (folder / path).is_file():
            return folder / path
    return None


def locate(path: str) -> Path:
    """As `find`; FileNotFoundError says how to get the file."""
    if (found := find(path)) is None:
        name = path.partition("/")[0]
        how = f"`groundup data get {name}` fetches it; or " if name in data_sets() else ""
        raise FileNotFoundError(f"{path} is not on this machine: {how}{by_hand(path)}")
    return found


def by_hand(path: str) -> str:
    """How to provide a file without the command."""
    return (
        f"put it at {cache_folder() / path}, or name the folder that holds {path} in GROUNDUP_DATA"
    )


def fetch(file: File, report: Report = lambda n: None) -> Path:
    """Fetch one file into the cache, going on where an earlier try was cut off; its path.

    A file that is in the cache already is checked and not fetched. Raises OSError where the
    network cannot be reached and ValueError where what came is not the file; each says what to do
    by hand. Whole or absent: what has not come completely has another name.
    """
    target = cache_folder() / file.path
    with only_run_in(target.parent, instead="set GROUNDUP_CACHE to another folder"):
        if target.is_file() and _sha256(target) == file.sha256:
            report(file.size)
            return target
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


def _receive(file: File, partial: Path, report: Report) -> None:
    """Add to `partial` what it lacks, one byte more than the file's size at most."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= file.size:
        return
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
