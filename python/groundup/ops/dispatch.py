"""Implementations by name: which an op has, which is forced, which really ran.

An op has up to five forms: `cpp`, `cuda`, `triton`, `torch` and `reference`. Left alone it takes
the first in its row of IMPLEMENTATIONS that can run with the tensors at hand; those after `torch`,
which always can, run only where they are forced. `use()` and the
environment variable GROUNDUP_IMPL force one, and then it runs or raises: a forced form never
falls back to another.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

# Op: its forms, the preferred one first. A new form of an op is one word here.
IMPLEMENTATIONS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("cpp", "torch", "cuda", "triton", "reference"),
    "causal_attention": ("cpp", "torch", "reference"),
    "causal_attention_varlen": ("cpp", "torch", "reference"),
    "decode_attention": ("cpp", "torch", "reference"),
    "layer_norm": ("cpp", "torch", "reference"),
    "gelu": ("cpp", "torch", "reference"),
    "linear": ("cpp", "torch", "reference"),
    "adamw": ("cpp", "torch", "cuda", "reference"),
}
NAMES = ("reference", "cpp", "cuda", "triton", "torch")


class ImplementationWarning(UserWarning):
    """Something runs on another implementation than one might expect."""


# What is forced now, {op: name}. Replaced, never changed, so that a reader in another thread sees
# all of a change or none; a plain global, so that torch.compile guards on its content.
forced: dict[str, str] = {}

_lock = threading.Lock()
_active: list["use"] = []


class use:
    """Force implementations: `gu.use("cross_entropy=torch,adamw=cpp")`, or one bare name for all.

    From the call on, or for a `with` block: leaving the block takes the choice back. A later
    choice goes before an earlier one. A bare name applies to the ops that have that form; the
    others are named in a warning and in `.without`. An empty string forces nothing.

    The choice holds for the whole process, all threads and tasks, as torch.set_num_threads does;
    blocks in several threads may overlap and each takes back its own. torch.compile recompiles
    when the choice changes.

    Raises ValueError for an op or implementation that does not exist. What is forced and cannot
    run raises when the op is called.
    """

    def __init__(self, implementations: str) -> None:
        self.choice, self.without = parse(implementations)
        if self.without:
            warnings.warn(
                f"groundup.use({implementations!r}): no such implementation of "
                f"{', '.join(self.without)}, which keep their own choice",
                ImplementationWarning,
                stacklevel=2,
            )
        with _lock:
            _active.append(self)
            _merge()

    def __enter__(self) -> "use":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Take the choice back; once is enough."""
        with _lock:
            if self in _active:
                _active.remove(self)
                _merge()

    def __repr__(self) -> str:
        return f"use({','.join(f'{op}={name}' for op, name in self.choice.items())!r})"


def parse(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """({op: name}, ops that lack the bare name); ValueError with the list of what there is."""
    choice: dict[str, str] = {}
    without: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        op, equals, name = (part.strip() for part in item.partition("="))
        if not equals:
            name = op
            if name not in NAMES:
                raise ValueError(
                    f"implementation {name!r} does not exist; there are {', '.join(NAMES)}, and "
                    "op=implementation for a single op"
                )
            for each, names in IMPLEMENTATIONS.items():
                if name in names:
                    choice[each] = name
                else:
                    without.append(each)
        elif op not in IMPLEMENTATIONS:
            raise ValueError(f"op {op!r} does not exist; there are {', '.join(IMPLEMENTATIONS)}")
        elif name not in IMPLEMENTATIONS[op]:
            raise ValueError(
                f"{op} has no implementation {name!r}; it has {', '.join(IMPLEMENTATIONS[op])}"
            )
        else:
            choice[op] = name
    return choice, tuple(op for op in without if op not in choice)


def _merge() -> None:
    global forced
    forced = {op: name for each in _active for op, name in each.choice.items()}


def cannot(op: str, name: str, reason: str) -> RuntimeError:
    """The error for a forced implementation that cannot run."""
    return RuntimeError(
        f"{op}={name} is forced through groundup.use or GROUNDUP_IMPL and cannot run: {reason}"
    )


# None, or where implementations report themselves. They do it, not the choice before them, so
# that a report means the code ran.
_log: list[tuple[str, str]] | None = None


def note(op: str, name: str) -> None:
    """Called by an implementation each time it runs forward; nothing while it is being traced."""
    if not torch.compiler.is_compiling() and _log is not None:
        _log.append((op, name))


@contextmanager
def ran() -> Iterator[list[tuple[str, str]]]:
    """The (op, implementation) that run inside the block, in order, from all threads."""
    global _log
    before, _log = _log, []
    try:
        yield _log
    finally:
        _log = before


def read_environment() -> None:
    """Apply GROUNDUP_IMPL, if it is set; called once, when the ops are imported."""
    if text := os.environ.get("GROUNDUP_IMPL", ""):
        try:
            use(text)
        except ValueError as error:
            raise ValueError(f"GROUNDUP_IMPL={text}: {error}") from None
