"""On what a figure was measured: the machine, the commit, the versions."""

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def describe() -> dict[str, Any]:
    """Everything that a reader needs to judge a figure; each value is a string or a number."""
    import torch

    from groundup._native import core

    native = core()
    return {
        "machine": machine_name(),
        "processor": processor(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "isa": native.isa() if native else "none",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        **commit(),
    }


_PACKAGES = (
    *("torch", "numpy", "triton", "tiktoken", "tokenizers", "rustbpe", "sentencepiece"),
    *("bpeasy", "fastokens", "ffbpe", "gigatoken", "kitoken"),
)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """Cores that this process may run on, which taskset and containers make fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match.group(1) if match else platform.machine()


def machine_name() -> str:
    """A folder name: "amd-epyc-2-cores". Nothing in it says who or where."""
    slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return f"{slug}-{usable_cores()}-cores"


def commit() -> dict[str, Any]:
    """The checkout's commit and whether its files differ from it; results do not count."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return {"commit": head or "not a git checkout", "clean_tree": bool(head) and not changed}


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
