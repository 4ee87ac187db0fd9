"""Whether this process is a forked child, also where the native core is loaded only after the fork.

A child's OpenMP pool has no threads behind it, and a region in it would wait for ever.
"""

import os

is_child = False


def _note() -> None:
    global is_child
    is_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
