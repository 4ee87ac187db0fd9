"""The one place that knows whether the native modules are there, and if not, why."""

import importlib
import os
from functools import cache
from types import ModuleType

from groundup import _fork
from groundup._version import __version__

REMEDY = (
    "install a C++ compiler (Debian and Ubuntu: apt install g++) and repeat the installation, "
    "in a checkout `pip install -e .`"
)
CUDA_REMEDY = (
    "put nvcc of a CUDA toolkit on PATH and repeat the installation, in a checkout "
    "`pip install -e .`; GROUNDUP_CUDA=1 makes that say what is in its way"
)


@cache
def _load(name: str, switch: str, remedy: str) -> tuple[ModuleType | None, str | None]:
    if os.environ.get(switch) == "0":
        return None, f"{switch}=0 is set; unset it"
    try:
        built = importlib.import_module(f"groundup.{name}")
    except ImportError as error:
        if "GROUNDUP_ISA" in str(error):  # asked for by name, so not to be replaced in silence
            raise
        return None, f"groundup.{name} cannot be imported ({error}); {remedy}"
    version = getattr(built, "__version__", "before 0.1.0")
    if version != __version__:
        return None, (
            f"groundup.{name} was built for version {version} and this is {__version__}; "
            "repeat the installation, in a checkout `pip install -e .`"
        )
    if _fork.is_child and name == "_C":
        built.run_serially()
    return built, None


def core() -> ModuleType | None:
    """groundup._C, or None where `missing` says why.

    Raises ImportError where GROUNDUP_ISA names an instruction set that cannot be used.
    """
    return _load("_C", "GROUNDUP_NATIVE", REMEDY)[0]


def missing() -> str | None:
    """Why there is no native core and what to do about it, or None."""
    return _load("_C", "GROUNDUP_NATIVE", REMEDY)[1]


def cuda() -> ModuleType | None:
    """groundup._cuda, or None where `cuda_missing` says why. It loads without a driver, too."""
    return _load("_cuda", "GROUNDUP_CUDA", CUDA_REMEDY)[0]


def cuda_missing() -> str | None:
    """Why there are no CUDA kernels and what to do about it, or None; it asks for no device."""
    return _load("_cuda", "GROUNDUP_CUDA", CUDA_REMEDY)[1]


if __name__ == "__main__":
    found = core()
    print(
        f"groundup: native core built, running {found.isa()} on {found.usable_threads()} threads."
        if found
        else f"groundup: the tokenizer runs in plain Python and ops on torch: {missing()}."
    )
    kernels = cuda()
    print(
        f"groundup: CUDA kernels built for {', '.join(kernels.architectures())}."
        if kernels
        else f"groundup: no CUDA kernels: {cuda_missing()}."
    )
