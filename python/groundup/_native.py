"""The one place that knows whether the native core is there, and if not, why."""

import importlib
import os
from functools import cache
from types import ModuleType

from groundup._version import __version__

REMEDY = (
    "install a C++ compiler (Debian and Ubuntu: apt install g++) and repeat the installation, "
    "in a checkout `pip install -e .`"
)


@cache
def _load() -> tuple[ModuleType | None, str | None]:
    if os.environ.get("GROUNDUP_NATIVE") == "0":
        return None, "GROUNDUP_NATIVE=0 is set; unset it"
    try:
        built = importlib.import_module("groundup._C")
    except ImportError as error:
        if "GROUNDUP_ISA" in str(error):  # asked for by name, so not to be replaced in silence
            raise
        return None, f"groundup._C cannot be imported ({error}); {REMEDY}"
    version = getattr(built, "__version__", "before 0.1.0")
    if version != __version__:
        return None, (
            f"groundup._C was built for version {version} and this is {__version__}; "
            "repeat the installation, in a checkout `pip install -e .`"
        )
    return built, None


def core() -> ModuleType | None:
    """groundup._C, or None where `missing` says why.

    Raises ImportError where GROUNDUP_ISA names an instruction set that cannot be used.
    """
    return _load()[0]


def missing() -> str | None:
    """Why there is no native core and what to do about it, or None."""
    return _load()[1]


if __name__ == "__main__":
    found = core()
    print(
        f"groundup: native core built, running {found.isa()} on {found.usable_threads()} threads."
        if found
        else f"groundup: the tokenizer runs in plain Python and ops on torch: {missing()}."
    )
