"""Files that are whole or absent: written under another name, made durable, then renamed."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: str | os.PathLike[str], contents: bytes) -> None:
    """Put `contents` at `path` so that a reader, a crash or a full disk never sees half of it.

    As `replacing` does it, which says what is made and what is refused.
    """
    with replacing(path) as stream:
        stream.write(contents)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes take the place of the file at `path`, all at once, when the block ends.

    A new file in the same folder takes the bytes, is flushed to the disk, and is renamed over
    `path`; then the folder itself is flushed, without which a power cut could forget the rename.
    Missing parent folders are made. Permissions are those of a file opened for writing, or of
    the file replaced; a symbolic link is followed, not replaced. On failure (OSError, or what the
    block raises) the old file stands untouched and nothing is left behind. What is there and no
    regular file, such as /dev/null, is refused: renaming would put a file in its place.
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not target.is_file():
        kind = errno.EISDIR if target.is_dir() else errno.EINVAL
        raise OSError(kind, "expected a regular file or none", str(target))
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, name = tempfile.mkstemp(
            dir=folder, prefix=f".{target.name}.", suffix=".partial"
        )
    except OSError as error:  # it would name a file that nobody asked for
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with open(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), _permissions(target))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    sync_folder(folder)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flush a folder's entries, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _permissions(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)  # the only portable way to read it is to set it
    os.umask(umask)
    return 0o666 & ~umask
