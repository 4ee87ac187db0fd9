"""`make sanitize`: the native core under the compiler's sanitizers. Standard library only.

    python tools/sanitize.py [address] [thread] [-- arguments of pytest]

address  ASan and UBSan: the drivers, the tests of ops, optimizer and tokenizer; the drivers and the
         tests of the core once more on each of the machine's other instruction sets
thread   TSan: the std::thread code of csrc/ in the drivers. OpenMP's regions are left out: TSan
         does not see libgomp's barriers and calls all a race

The core is built in build/sanitize-address/ with a package of links around it, so the one in use
stays as it is. Whatever a sanitizer says goes to a file in reports/ there, also from a child whose
output a test swallows, and any such file fails the run. A run begins with deliberate errors, which
must be reported. Exit code 0, or 1 with the reports.

Nothing here is a list of what there is: a driver is each tools/fuzz_*.cpp and tools/race_*.cpp,
called with a seed and a number of rounds, a test whatever pytest finds in TESTS but for LEFT_OUT.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
TESTS = ("tests/native", "tests/ops", "tests/optim", "tests/tokenizer")
# csrc/ compiled apart from this build, on stacks that ASan does not follow; C++ of torch.compile.
LEFT_OUT = ("*/test_cuda_*.py", "*/test_*_cuda.py", "*/test_simd.py", "*/test_*_compile.py")
NATIVE = "tests/native"  # whose tests of the platform take care of instruction sets themselves
SEED = "1"
ROUNDS = {"address": {"fuzz": "500", "race": "3"}, "thread": {"fuzz": "100", "race": "5"}}

CANARIES = {
    # A float more than there is, in the masked tail of a vector.
    "heap-buffer-overflow": """
import numpy, groundup._C as core
x, y = numpy.ones(4099, numpy.float32), numpy.empty(4100, numpy.float32)
core.gelu_forward_cpu(x.ctypes.data, 0, True, 4100, y.ctypes.data)
""",
    # int64 targets off their boundary.
    "misaligned address": """
import numpy, groundup._C as core
x, targets, loss = numpy.ones(4, numpy.float32), numpy.zeros(9), numpy.zeros(1, numpy.float32)
at = (x.ctypes.data, 0, 1, 4, 4, targets.ctypes.data + 1, 0, -100, 1, 0.0, 0.0, 0.0)
core.cross_entropy_forward_cpu(*at, loss.ctypes.data, 0, 0)
""",
}


def drivers() -> list[str]:
    return sorted(
        path.stem for kind in ("fuzz", "race") for path in (ROOT / "tools").glob(f"{kind}_*.cpp")
    )


def build(kind: str, *modules: str) -> Path:
    """The build's folder, with the drivers and these made or brought up to date."""
    folder = ROOT / "build" / f"sanitize-{kind}"
    where = "import pybind11; print(pybind11.get_cmake_dir())"
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    configure += [
        f"-DGROUNDUP_SANITIZE={SANITIZERS[kind]}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    configure += [f"-Dpybind11_DIR={printed([sys.executable, '-c', where])}"]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder), "--target", *modules, *drivers()], check=True)
    return folder


def printed(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def link_package(folder: Path) -> Path:
    """Surrounds the core in `folder` with links to the sources; returns what goes on the path."""
    package = folder / "python" / "groundup"
    for entry in package.iterdir():
        if entry.is_symlink():
            entry.unlink()
    for entry in (ROOT / "python" / "groundup").iterdir():
        if entry.suffix != ".so" and entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    return package.parent


class Reports:
    """What the sanitizers of some commands said, in files of a folder that begins empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def text(self) -> str:
        found = sorted(self.folder.iterdir())
        return "\n".join(f"{each}\n{each.read_text(errors='replace')[:6000]}" for each in found)

    def environment(self, package: Path | None) -> dict[str, str]:
        """`package` is for Python, which was not built for a sanitizer itself."""
        say = f"log_path={self.folder}/report"
        asan = [
            say,
            "detect_leaks=0",  # CPython and torch keep memory until the process ends
            "detect_stack_use_after_return=1",
            "allocator_may_return_null=1",  # tests ask for more memory than there is
        ]
        variables = {
            "ASAN_OPTIONS": ":".join(asan),
            "UBSAN_OPTIONS": f"{say}:print_stacktrace=1",
            "TSAN_OPTIONS": f"{say}:second_deadlock_stack=1",
        }
        if package:
            # ASan has to come first, and finds C++'s exceptions only where libstdc++ is there too.
            libraries = ("libasan.so", "libstdc++.so")
            compiler = os.environ.get("CXX", "g++")
            found = (printed([compiler, f"-print-file-name={name}"]) for name in libraries)
            variables |= {
                "LD_PRELOAD": " ".join(found),
                "PYTHONMALLOC": "malloc",  # else objects share blocks, each one piece to ASan
                "PYTHONPATH": str(package),
            }
        return {**os.environ, **variables}

    def run(
        self,
        command: Sequence[str | Path],
        package: Path | None = None,
        *,
        quiet: bool = False,
        isa: str = "",
    ) -> int:
        """The exit status; an empty `isa` is the machine's best."""
        environment = self.environment(package) | {"GROUNDUP_ISA": isa}
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=quiet
        ).returncode

    def run_drivers(self, kind: str, folder: Path, isa: str = "") -> list[int]:
        rounds = ROUNDS[kind]
        return [
            self.run([folder / name, SEED, rounds[name.split("_")[0]]], isa=isa)
            for name in drivers()
        ]

    def require(self, expected: str, command: Sequence[str | Path], package: Path | None) -> None:
        """Exits with a sentence unless the command's deliberate error is reported."""
        self.run(command, package, quiet=True)
        if expected not in self.text():
            sys.exit(f"sanitize: a deliberate error, {expected}, was not reported: {self.text()}")


def run_address(arguments: Sequence[str]) -> bool:
    folder = build("address", "_C")
    package = link_package(folder)
    for expected, code in CANARIES.items():
        Reports(folder / "canary").require(expected, [sys.executable, "-c", code], package)
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    pytest += ["-o", "timeout=900"]
    left_out = [f"--ignore-glob={path}" for path in LEFT_OUT]
    reports = Reports(folder / "reports")
    ended = reports.run_drivers("address", folder)
    ended += [reports.run([*pytest, *(arguments or (*TESTS, *left_out))], package)]
    if not arguments:
        left_out += ["--ignore-glob=*_platform.py"]
        for isa in other_instruction_sets(reports, package):
            print(f"sanitize: the drivers and {NATIVE} on {isa}", flush=True)
            ended += reports.run_drivers("address", folder, isa)
            ended += [reports.run([*pytest, NATIVE, *left_out], package, isa=isa)]
    print(reports.text())
    return not any(ended) and not reports.text()


def other_instruction_sets(reports: Reports, package: Path) -> list[str]:
    names = "import groundup._C as core; print(*{*core.isas()} - {core.isa()})"
    command = [sys.executable, "-c", names]
    done = subprocess.run(
        command, env=reports.environment(package), check=True, stdout=subprocess.PIPE, text=True
    )
    return sorted(done.stdout.split())


def run_thread() -> bool:
    folder = build("thread")
    Reports(folder / "canary").require("data race", [folder / "race_threads", "race"], None)
    reports = Reports(folder / "reports")
    ended = reports.run_drivers("thread", folder)
    print(reports.text())
    return not any(ended) and not reports.text()


def main() -> None:
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="address|thread", help="both when left out")
    kinds = parser.parse_args(given[:at]).kinds or list(SANITIZERS)
    if unknown := set(kinds) - set(SANITIZERS):
        parser.error(f"expected address or thread, got {', '.join(sorted(unknown))}")
    clean = [run_thread()] if "thread" in kinds else []
    clean += [run_address(given[at + 1 :])] if "address" in kinds else []
    if not all(clean):
        sys.exit("sanitize: the reports and failures are above.")
    print("sanitize: nothing found.")


if __name__ == "__main__":
    main()
