"""Whether this process is a forked child, also where groundup is imported only after the fork.

A child's OpenMP pool has no threads behind it, and a region in it would wait for ever: torch's own
loops do. So what groundup runs in such a child it runs on one thread.
"""

import os
from pathlib import Path

_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of Linux's include/linux/sched.h
_RUNTIMES = ("libgomp", "libomp", "libiomp")


def _is_fork_with_a_pool() -> bool:
    """Whether the program was forked and not started, and an OpenMP runtime came along or since.

    Whether that runtime has run anything it does not tell, so this holds back threads in a child
    that first imports torch and then groundup, too. Elsewhere than on Linux: False.
    """
    try:
        # After the program's name, which stands in brackets and may hold any of them.
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        if not int(fields[6]) & _FORKED_WITHOUT_EXEC:
            return False
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except (OSError, IndexError, ValueError):
        return False
    return any(name in maps for name in _RUNTIMES)


def _note() -> None:
    global is_child
    is_child = True


is_child = _is_fork_with_a_pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
