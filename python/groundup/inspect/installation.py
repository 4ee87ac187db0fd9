"""What is installed here, what runs, and what is broken: the facts behind `groundup doctor`."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup import _native
from groundup._version import __version__

if TYPE_CHECKING:
    from groundup.inspect.probes import Finding

PACKAGES = ("torch", "numpy", "triton", "regex", "safetensors", "tiktoken", "tokenizers")


@dataclass
class Installation:
    """One machine's groundup.

    facts     topic -> what was found, in words
    ops       what each op did on each device
    problems  what is broken and the remedy, a sentence each; empty on a healthy machine
    """

    facts: dict[str, str] = field(default_factory=dict)
    ops: list["Finding"] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"ok": not self.problems, **asdict(self)}


def examine() -> Installation:
    """Look at everything; runs each op at a tiny size, a second or two with torch's import."""
    found = Installation()
    facts = found.facts
    facts["groundup"] = f"{__version__} in {Path(__file__).resolve().parents[1]}"
    facts["python"] = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    facts["packages"] = ", ".join(f"{name} {_version(name) or 'absent'}" for name in PACKAGES)
    has_torch = _examine_torch(found)
    _examine_core(found)
    facts["compiler"] = _compiler()
    facts["nvcc"] = _tool("nvcc", r"release ([\d.]+)") or "absent"
    _examine_cuda(found, has_torch)
    facts["triton"] = _triton(has_torch)
    settings = {k: v for k, v in sorted(os.environ.items()) if k.startswith("GROUNDUP_")}
    facts["settings"] = ", ".join(f"{k}={v}" for k, v in settings.items()) or "none"
    _examine_paths(found)
    if has_torch:
        _examine_ops(found)
    return found


def _examine_torch(found: Installation) -> bool:
    try:
        import torch
    except (ImportError, OSError) as error:
        found.problems.append(
            f"torch cannot be imported ({error}): the tokenizer works, no op does; install it with "
            "`pip install 'torch>=2.11'`"
        )
        return False
    found.facts["threads"] = (
        f"{torch.get_num_threads()} of torch, on {_usable_cores()} usable cores"
    )
    release = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if release < (2, 11):
        found.problems.append(
            f"torch {torch.__version__} is older than 2.11, the oldest that groundup is written "
            "for; `pip install -U torch`"
        )
    return True


def _examine_core(found: Installation) -> None:
    try:
        core, missing = _native.core(), _native.missing()
    except ImportError as error:  # GROUNDUP_ISA names a set that cannot be used
        found.facts["native core"] = "cannot be used"
        found.problems.append(f"{error}")
        return
    if core is not None:
        found.facts["native core"] = f"{core.isa()} of {', '.join(core.isas())}"
    else:
        found.facts["native core"] = f"absent: {missing}"
        if _is_there("_C") and os.environ.get("GROUNDUP_NATIVE") != "0":
            found.problems.append(f"the native core is installed and does not load: {missing}")
    runtimes = openmp_runtimes()
    found.facts["openmp"] = ", ".join(runtimes) or "none loaded"
    if len(runtimes) > 1:
        found.problems.append(
            f"{len(runtimes)} OpenMP runtimes are loaded ({', '.join(runtimes)}): their threads "
            "compete, and torch.set_num_threads reaches one of them; reinstall torch and groundup "
            "from one source, and look for a package that brings its own"
        )


def _examine_cuda(found: Installation, has_torch: bool) -> None:
    kernels, missing = _native.cuda(), _native.cuda_missing()
    built = f"built for {', '.join(kernels.architectures())}" if kernels else f"absent: {missing}"
    found.facts["cuda kernels"] = built
    if kernels is None and _is_there("_cuda") and os.environ.get("GROUNDUP_CUDA") != "0":
        found.problems.append(f"the CUDA kernels are installed and do not load: {missing}")
    if has_torch:
        import torch

        if torch.cuda.is_available():
            found.facts["gpu"] = ", ".join(
                f"{torch.cuda.get_device_name(i)} "
                f"(sm_{''.join(map(str, torch.cuda.get_device_capability(i)))})"
                for i in range(torch.cuda.device_count())
            )
        else:
            found.facts["gpu"] = (
                "none that torch can use"
                if torch.version.cuda
                else "none: this torch is built without CUDA"
            )


def _triton(has_torch: bool) -> str:
    if (version := _version("triton")) is None:
        return "absent; `pip install 'groundup[gpu]'`"
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        return f"{version}, interpreted"
    if has_torch:
        import torch

        if not torch.cuda.is_available():
            return f"{version}, without a GPU to run on"
    return version


def _examine_paths(found: Installation) -> None:
    folders = [f for f in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep) if f]
    for folder in folders:
        if not Path(folder).is_dir():
            found.problems.append(
                f"GROUNDUP_DATA names {folder}, which is no folder; correct it or unset it"
            )


def _examine_ops(found: Installation) -> None:
    try:
        import torch

        from groundup.inspect import probes
    except (ValueError, ImportError) as error:  # GROUNDUP_IMPL or GROUNDUP_ISA names nothing
        if str(error) not in found.problems:
            found.problems.append(str(error))
        return
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for op in probes.PROBES:
            finding = probes.examine(op, device)
            found.ops.append(finding)
            if finding.problem:
                found.problems.append(finding.problem)


def openmp_runtimes() -> list[str]:
    """The OpenMP libraries in this process, by file name; Linux only, elsewhere empty."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    paths = set(re.findall(r"(/\S*lib(?:g|i|)omp[^/\s]*\.so[^/\s]*)", maps))
    return sorted(Path(path).name for path in {os.path.realpath(path) for path in paths})


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(f"groundup.{name}") is not None


def _compiler() -> str:
    named = shlex.split(os.environ.get("CXX", ""))[:1]
    for name in named or ["c++", "g++", "clang++"]:
        if found := _tool(name, r"(.+)"):
            return found
    return f"absent (looked for {', '.join(named or ['c++', 'g++', 'clang++'])})"


def _tool(name: str, pattern: str) -> str | None:
    """What `name --version` says of itself, or None if there is no such program."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path}, which does not answer ({error})"
    match = re.search(pattern, done.stdout)
    return match.group(1) if match else path


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
