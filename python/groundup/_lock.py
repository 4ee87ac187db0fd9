"""One run at a time in a folder."""

import errno
import fcntl
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Device and inode of the lock files that this process holds, with the thread that holds them.
_held: set[tuple[int, int, int]] = set()

LOCK = ".groundup.lock"


@contextmanager
def only_run_in(folder: Path, instead: str = "name another --out") -> Iterator[None]:
    """Hold `folder`, which is made where it is missing; ValueError where another run holds it.

    The lock is the kernel's (flock): it ends with the process, however that ends, and what stays
    of it is a file that says who held it last. A thread that holds the folder may do so again, as
    the demo's training does inside the demo.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    told = os.fstat(descriptor)
    us = (told.st_dev, told.st_ino, threading.get_ident())
    if us in _held:
        os.close(descriptor)
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise OSError(error.errno, error.strerror, str(path)) from error
            holder = os.read(descriptor, 4096).decode(errors="replace").strip()
            raise ValueError(
                f"{folder}: another run is at work there ({holder or 'it has just begun'}); wait "
                f"until it has ended, stop it, or {instead}"
            ) from None
        command = " ".join(map(shlex.quote, sys.argv))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}: {command[:1000]}\n".encode(), 0)
        _held.add(us)
        yield
    finally:
        _held.discard(us)
        os.close(descriptor)
