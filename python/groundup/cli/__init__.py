"""`groundup <command>`: each command is the file of that name in this folder.

A file is imported when its command runs, so `groundup --help` is as fast as Python itself.
Files whose names begin with an underscore are shared by commands and are none themselves.
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from groundup._signals import call_until_signalled
from groundup._version import __version__

# The order in which text becomes a model; commands not named here follow, alphabetically.
_FLOW = ("demo", "doctor", "data", "tokenizer", "prepare", "train", "sample", "evaluate", "bench")


def commands() -> list[str]:
    """The commands that this installation has, in the order of the help."""
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return sorted(
        found, key=lambda name: (_FLOW.index(name) if name in _FLOW else len(_FLOW), name)
    )


def _summary(command: str) -> str:
    # Read, not imported: importing would pull in torch for a line of help.
    spec = importlib.util.find_spec(f"{__name__}.{command}")
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def _help() -> str:
    names = commands()
    width = max(map(len, names), default=0)
    lines = [f"  {name:<{width}}  {_summary(name)}".rstrip() for name in names]
    return "\n".join(
        [
            "usage: groundup <command> [arguments]",
            "",
            "A language model from the ground up.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help  this text; `groundup <command> --help` explains one command",
            "  --version   the version",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 it could not be done, 2 misuse,
    130 Ctrl-C, 143 SIGTERM.

    args: the words after `groundup`; by default those of this process.
    """
    words = list(sys.argv[1:] if args is None else args)
    return call_until_signalled(lambda: _dispatch(words), " ".join(["groundup", *words[:1]]))


def _dispatch(words: list[str]) -> int:
    if not words:
        print(_help(), file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("--version", "-V"):
        print(f"groundup {__version__}")
        return 0
    names = commands()
    if words[0] not in names:
        near = difflib.get_close_matches(words[0], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`groundup --help` lists them."
        print(f"groundup: there is no command {words[0]!r}; {hint}", file=sys.stderr)
        return 2

    command = importlib.import_module(f"{__name__}.{words[0]}")
    code: int = command.main(words[1:])
    return code
