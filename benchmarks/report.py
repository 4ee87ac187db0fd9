"""The measured figures as a table, in a terminal or in a pipe."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from groundup.inspect.timing import readable_ratio, readable_seconds

_console = Console()


def waiting(what: str, quiet: bool = False) -> AbstractContextManager[Any]:
    """A spinner beside `what` in a terminal, nothing in a pipe or when quiet."""
    if quiet or not _console.is_terminal:
        return nullcontext()
    return _console.status(what)


def show(op: str, record: dict[str, Any], console: Console | None = None) -> None:
    """One case: contenders, their ratio to groundup, the hardware limit of the same rounds."""
    console = console or _console
    sizes = ", ".join(f"{name} {size}" for name, size in record["sizes"].items())
    rates = any("rate" in entry for entry in record["contenders"].values())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("")
    for heading in ("median", "spread", *(["rate"] if rates else []), "groundup is faster by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in record["contenders"].items():
        faster = entry.get("groundup_is_faster_by")
        rounds = len(entry["seconds"])
        table.add_row(
            name if rounds == record["rounds"] else f"{name} ({rounds} rounds)",
            readable_seconds(entry["median_s"]),
            f"{100 * entry['spread']:.0f}%",
            *([_rate(entry)] if rates else []),
            "" if name == "groundup" or faster is None else readable_ratio(faster),
            style="bold" if name == "groundup" else None,
        )
    console.print(f"{op}: {record['case']} ({sizes})", style="bold", highlight=False)
    console.print(table)
    limit = record.get("limit")
    if limit is not None:
        takes = limit.get("groundup_takes")
        against = "" if takes is None else f"; groundup takes {readable_ratio(takes)} of it"
        console.print(
            f" limit: {limit['name']}, {readable_seconds(limit['median_s'])}{against}",
            highlight=False,
        )
    peaks = {n: e["peak_bytes"] for n, e in record["contenders"].items() if "peak_bytes" in e}
    if peaks:
        listed = ", ".join(f"{name} {peak / 1e6:,.0f} MB" for name, peak in peaks.items())
        console.print(f" peak memory beyond the inputs: {listed}", highlight=False)
    for name, found in record.get("agreement", {}).items():
        console.print(f" {name}: {found['says']}", highlight=False)
    for name, why in record["absent"].items():
        console.print(f" without {name}: {why}", highlight=False)
    console.print()


def _rate(entry: dict[str, Any]) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if entry["rate"] >= scale:
            return f"{entry['rate'] / scale:.3g} {letter} {entry['rate_unit']}"
    return f"{entry['rate']:.3g} {entry['rate_unit']}"


def footer(path: Path) -> None:
    """On what the figures were measured, and where they went."""
    commit = machine.commit()
    state = "clean tree" if commit["clean_tree"] else "changed tree"
    _console.print(
        f"{machine.processor()}, {machine.usable_cores()} cores; commit {commit['commit'][:12]}, "
        f"{state}\nwritten to {path}\n",
        soft_wrap=True,
        highlight=False,
    )
