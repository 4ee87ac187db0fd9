"""Builds groundup._C, and groundup._cuda where nvcc is, with CMake into the package.

GROUNDUP_NATIVE=0 leaves the native core out: the references work and ops run on torch.
GROUNDUP_NATIVE=1 makes a missing compiler an error instead of a warning.
GROUNDUP_CUDA=0 leaves the CUDA kernels out, GROUNDUP_CUDA=1 makes a missing nvcc an error.
GROUNDUP_CUDA_ARCHITECTURES names what they are compiled for, as CMake does: 90, or 80-real;90.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class Native(Extension):
    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[], optional=True)


def compiler() -> str | None:
    """The C++ compiler that CMake will find: $CXX, else the first usual name on PATH."""
    named = shlex.split(os.environ.get("CXX", ""))
    names = named[:1] or ["c++", "g++", "clang++"]
    return next((found for name in names if (found := shutil.which(name))), None)


def tell(sentence: str) -> None:
    """Says `sentence` where the user sees it: pip hides a build's output, not the terminal's."""
    print(f"groundup: {sentence}", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        with contextlib.suppress(OSError), open("/dev/tty", "w") as terminal:
            terminal.write(f"\ngroundup: {sentence}\n")


NO_COMPILER = (
    "no C++ compiler was found (tried {tried}), so the native core was left out and every op "
    "runs on torch; install one (Debian and Ubuntu: apt install g++; Fedora: dnf install "
    "gcc-c++; macOS: xcode-select --install) and repeat the installation."
)

OTHER_PLATFORM = (
    "the native core is built and tested on Linux only, so on {platform} every op runs on torch; "
    "GROUNDUP_NATIVE=1 tries to build it all the same."
)


class BuildNative(build_ext):
    def build_extension(self, ext: Extension) -> None:
        if ext.name == CUDA.name:  # made beside the core
            return
        wanted = os.environ.get("GROUNDUP_NATIVE", "")
        if wanted == "0":
            print("groundup: GROUNDUP_NATIVE=0, the native core is left out.")
            return
        if not sys.platform.startswith("linux") and wanted != "1":
            tell(OTHER_PLATFORM.format(platform=sys.platform))
            return
        if compiler() is None:
            sentence = NO_COMPILER.format(tried=os.environ.get("CXX") or "c++, g++, clang++")
            if wanted == "1":
                raise SystemExit(f"groundup: {sentence}")
            tell(sentence)
            return
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        cmake = shutil.which("cmake") or "cmake"
        import pybind11

        configure = [
            cmake,
            "-S", str(ROOT),
            "-B", str(build),
            "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DGROUNDUP_OUTPUT={target}",
            f"-DGROUNDUP_CUDA={os.environ.get('GROUNDUP_CUDA') or 'AUTO'}",
            f"-DGROUNDUP_CUDA_ARCHITECTURES={os.environ.get('GROUNDUP_CUDA_ARCHITECTURES', '')}",
        ]  # fmt: skip
        if ninja := shutil.which("ninja"):
            configure.append(f"-DCMAKE_MAKE_PROGRAM={ninja}")
        try:
            subprocess.run(configure, check=True)
            subprocess.run([cmake, "--build", str(build), "--parallel"], check=True)
        except subprocess.CalledProcessError as failure:
            if failure.cmd == configure:
                # CMake remembers a compiler that does not work, also when another is named later.
                shutil.rmtree(build, ignore_errors=True)
            raise SystemExit(
                f"groundup: building the native core failed ({failure}); the compiler's own words "
                "are above. GROUNDUP_NATIVE=0 installs without it, on torch; GROUNDUP_CUDA=0 "
                "leaves only its CUDA kernels out."
            ) from failure

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]

    def copy_extensions_to_source(self) -> None:
        """Editable installs run from the source tree: put what was built there, clear the rest."""
        super().copy_extensions_to_source()
        for ext in self.extensions:
            name = self.get_ext_filename(ext.name)
            if not (Path(self.build_lib) / name).exists():
                (ROOT / "python" / name).unlink(missing_ok=True)


CORE, CUDA = Native("groundup._C"), Native("groundup._cuda")
setup(ext_modules=[CORE, CUDA], cmdclass={"build_ext": BuildNative})
