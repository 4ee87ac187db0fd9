"""What a benchmark file states: cases, each with its contenders, inputs and hardware limit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.inspect.timing import Contender

ROOT = Path(__file__).resolve().parent.parent


class Unavailable(Exception):
    """Raised by a contender's setup: the sentence says what the machine lacks."""


Setup = Callable[[Any], Contender | Callable[[], Any]]


@dataclass(frozen=True)
class Limit:
    """What the hardware allows: the time for the least work that the case could be.

    name    "one memcpy of the logits"
    setup   from the case's inputs to the contender that does only that
    share   the part of the setup's work that the case needs, 1.0 for all: a limit measured on a
            large square matrix is scaled to the case's own number of operations
    """

    name: str
    setup: Setup
    share: float = 1.0


@dataclass(frozen=True)
class Case:
    """One piece of work that several contenders do.

    name        "forward and backward, in place, float32"
    sizes       what the work's size is, for the table and the file
    inputs      makes what the contenders share; called once
    contenders  name -> setup(inputs), a callable or a Contender; the first is groundup's.
                A setup raises Unavailable where its library is absent.
    limit       the hardware's own bound, measured in the same rounds
    amount      (how much, unit) that one call works through, for rates: (768, "tokens"); a function
                of the inputs where only they know
    found       sizes that only the inputs know, for the file
    memory      whether each contender's peak memory is measured too, in a process of its own
    few_rounds  rounds for contenders that take many seconds, fewer than the others
    cores       at most so many, in a process of its own; None for those that there are
    compare     what the contenders made, held against one another after their rounds, for the file
    slow        only with --slow, for cases that take minutes
    """

    name: str
    sizes: Mapping[str, int | str]
    inputs: Callable[[], Any]
    contenders: Mapping[str, Setup]
    limit: Limit | None = None
    amount: tuple[float | Callable[[Any], float], str] | None = None
    found: Callable[[Any], Mapping[str, int | str]] | None = None
    memory: bool = False
    few_rounds: Mapping[str, int] = field(default_factory=dict)
    cores: int | None = None
    compare: Callable[[Mapping[str, Contender]], Mapping[str, Any]] | None = None
    slow: bool = False

    def __str__(self) -> str:
        sizes = ", ".join(f"{key} {value}" for key, value in self.sizes.items())
        return f"{self.name} ({sizes})" if sizes else self.name


@dataclass(frozen=True)
class Suite:
    """All cases of one op, and the tests that must be green before a figure is shown."""

    op: str
    cases: tuple[Case, ...]
    tests: tuple[str, ...] = field(default=())

    def test_files(self, root: Path = ROOT) -> list[Path]:
        """Named ones, or else every tests/*/test_<op>*.py."""
        patterns: Iterable[str] = self.tests or (f"tests/*/test_{self.op}*.py",)
        return sorted({path for pattern in patterns for path in root.glob(pattern)})


def ready(setup: Setup, inputs: Any) -> Contender:
    """The contender that a setup makes."""
    made = setup(inputs)
    return made if isinstance(made, Contender) else Contender(made)
