"""What the demo shows: for eyes in a terminal, as plain lines in a pipe, nothing for --json."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from groundup.cli._console import PipeConsole

_WIDTH = 80


class Screen:
    """Headings, lines and tables. Text is shown as it is: no markup is read in it."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or PipeConsole(quiet=quiet, highlight=False)
        self.live = self.console.is_terminal and not quiet

    @property
    def _width(self) -> int:
        return min(_WIDTH, self.console.width)

    def title(self, left: str, right: str) -> None:
        gap = " " * max(2, self._width - len(left) - len(right))
        self.console.print(f"[bold]{escape(left)}[/]{gap}[dim]{escape(right)}[/]")

    def station(self, name: str) -> None:
        self.console.print()
        self.console.print(f"[bold cyan]{escape(name)}[/]")

    def line(self, text: str = "", style: str | None = None) -> None:
        """One sentence, indented, wrapped under itself."""
        for part in textwrap.wrap(text, self._width - 2, drop_whitespace=False) or [""]:
            self.console.print(f"  {escape(part.rstrip())}", style=style)

    def table(
        self,
        headings: Sequence[str],
        rows: Iterable[Sequence[str]],
        right: Sequence[int] = (),
        bold: Sequence[int] = (),
    ) -> None:
        """Rows under headings; `right` are the columns of figures, `bold` the rows to stress."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="dim")
        for at, heading in enumerate(headings):
            table.add_column(
                escape(heading),
                justify="right" if at in right else "left",
                no_wrap=at in right,
                overflow="fold",
            )
        for at, row in enumerate(rows):
            table.add_row(*map(escape, row), style="bold" if at in bold else None)
        self.console.print(table)

    def quote(self, text: str) -> None:
        """Text that is not ours, behind a bar: control characters are made visible."""
        width = self._width - 4
        for line in text.splitlines():
            visible = "".join(c if c.isprintable() else "�" for c in line.expandtabs(4)).rstrip()
            for start in range(0, max(1, len(visible)), width):
                self.console.print(f"  [dim]│[/] {escape(visible[start : start + width])}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner beside `what` for work that cannot say how far it is."""
        if not self.live:
            yield
            return
        with self.console.status(escape(what)):
            yield
