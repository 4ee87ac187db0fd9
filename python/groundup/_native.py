"""The native core, or one warning that says why things are slow without it."""

import importlib
import os
import warnings
from functools import cache
from types import ModuleType

REMEDY = "install a C++ compiler (Debian and Ubuntu: apt install g++) and repeat `pip install -e .`"


@cache
def core() -> ModuleType | None:
    """groundup._C, or None where it was not built or GROUNDUP_NATIVE=0 is set.

    A core that is there but cannot be loaded (a GROUNDUP_ISA that the machine lacks) raises.
    """
    if os.environ.get("GROUNDUP_NATIVE") == "0":
        return None
    try:
        return importlib.import_module("groundup._C")
    except ModuleNotFoundError as missing:
        if missing.name != "groundup._C":
            raise
        return None


@cache
def warn_missing(consequence: str) -> None:
    """Says once what runs instead of the native core, and how to get it."""
    why = (
        "GROUNDUP_NATIVE=0 is set"
        if os.environ.get("GROUNDUP_NATIVE") == "0"
        else f"it was not built; {REMEDY}"
    )
    warnings.warn(
        f"groundup runs without its native core, so {consequence} ({why}).",
        RuntimeWarning,
        stacklevel=3,
    )


if __name__ == "__main__":
    found = core()
    print(
        f"groundup: native core built, running {found.isa()} on {found.usable_threads()} threads."
        if found
        else f"groundup: installed without its native core, everything runs on torch; {REMEDY}."
    )
