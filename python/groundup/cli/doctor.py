"""What is installed here, which implementation each op runs on, and what is broken."""

import json
from typing import TYPE_CHECKING, Annotated

import tyro

from groundup.cli._command import run

if TYPE_CHECKING:
    from groundup.inspect.installation import Installation


def main(args: list[str]) -> int:
    return run(args, doctor, example="groundup doctor")


def doctor(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """Show versions, instruction set, threads, compiler, CUDA and Triton, and run every op once.

    For each op: which implementation runs, and why the others do not. Exit code 1 when something
    is broken; something absent is not broken.

    Args:
        as_json: one JSON object instead of the screen.
    """
    from groundup.inspect.installation import examine

    found = examine()
    if as_json:
        print(json.dumps(found.record(), ensure_ascii=False))
    else:
        _show(found)
    return 1 if found.problems else 0


def _show(found: "Installation") -> None:
    from rich.markup import escape
    from rich.table import Table

    from groundup.cli._console import PipeConsole

    console = PipeConsole(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for topic, words in found.facts.items():
        facts.add_row(topic, escape(words))
    console.print(facts)
    console.print()

    ops = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("op", "runs on", "not on", "because"):
        ops.add_column(title, no_wrap=title != "because")
    for finding in found.ops:
        op = finding.op if finding.device == "cpu" else f"{finding.op} ({finding.device})"
        first = (op, f"[bold]{finding.runs or 'nothing'}[/bold]")
        reasons: dict[str, list[str]] = {}
        for name, why in finding.others.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            ops.add_row(*first, ", ".join(names), escape(why))
            first = ("", "")
    if found.ops:
        console.print(ops)
        console.print()
    for problem in found.problems:
        console.print(f"[bold red]broken[/bold red]  {escape(problem)}", soft_wrap=True)
    if not found.problems:
        console.print("Nothing is broken.")
