"""What every command shares: typed arguments, one example, errors as one sentence.

A command module reads

    def main(args: list[str]) -> int:
        return run(args, prepare, example="groundup prepare book.txt --tokenizer tok.json")

where `prepare` is a typed function whose docstring is the help. Modules that need torch are
imported inside that function, so that `--help` answers at once.
"""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

from groundup._signals import TerminatedError, reader_has_left, tell

# What groundup raises about its input. Anything else is a fault of ours and keeps its traceback.
_EXPECTED = (ValueError, OSError, IndexError, ImportError)

_USABLE = "expected one that you may read, and write where it is for output: {}"
_REMEDIES = {
    errno.ENOENT: "expected it to be there, or a folder in which it can be made; check the name",
    errno.ENOTDIR: "expected folders all the way to it, and one of them is a file; name another",
    errno.EISDIR: "expected a file; name one in that folder",
    errno.EACCES: _USABLE.format("name another, or let yourself in with chmod or chown"),
    errno.EPERM: _USABLE.format("name another, or let yourself in with chmod or chown"),
    errno.EROFS: _USABLE.format("name a place on another file system"),
    errno.ENOSPC: "expected room for what is written; free some, or name a place that has it",
    errno.EDQUOT: "expected room for what is written; free some, or name a place that has it",
    errno.ENAMETOOLONG: "expected a shorter name",
}


def run(
    args: Sequence[str],
    function: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    *,
    example: str,
    name: str | None = None,
    description: str | None = None,
    default: Any = None,
    then: Callable[[Any], int | None] | None = None,
) -> int:
    """Parse `args` into `function`'s typed arguments, call it, return the exit code.

    function     a typed function or dataclass, or {subcommand: function}
    example      one command line that works, shown at the end of the help
    name         the words after `groundup`; by default the function's name
    description  the help's first paragraph; by default the function's docstring
    default      for a dataclass: an instance that holds the defaults
    then         for a dataclass: what to do with the parsed instance

    The function returns an exit code or None for 0. Exit codes: 0 done; 1 an expected error,
    told in one sentence on stderr (GROUNDUP_TRACEBACK=1 shows where it was raised); 2 arguments
    that do not parse; 130 Ctrl-C; 143 SIGTERM.
    """
    if isinstance(function, Mapping):
        if name is None:
            raise TypeError("run: subcommands need name=")
        text = description or ""
    else:
        name = name or function.__name__.replace("_", "-")
        text = description or _first_paragraph(function.__doc__)
    prog = f"groundup {name}"
    text = f"{text}\n\nExample: {example}".lstrip()
    options: dict[str, Any] = {"prog": prog, "description": text, "args": list(args)}
    options["config"] = (tyro.conf.FlagCreatePairsOff,)  # --json, without a --no-json
    if default is not None:
        options["default"] = default

    def call() -> int | None:
        code: int | None
        if isinstance(function, Mapping):
            code = tyro.extras.subcommand_cli_from_dict(dict(function), **options)
        else:
            parsed = tyro.cli(function, **options)
            code = then(parsed) if then is not None else parsed
        return code

    return guard(call, prog)


def guard(call: Callable[[], int | None], prog: str) -> int:
    """Call, and turn what it raises into an exit code as `run` documents.

    A warning is one sentence on stderr too.
    """

    # A closed stdout (`>&-`) is None to Python, and what is shown goes nowhere.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (to the end)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def show(message: Warning | str, *rest: object, **more: object) -> None:
        print(f"{prog}: {' '.join(str(message).split())}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            code = call()
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (KeyboardInterrupt, TerminatedError) as ending:
        return tell(ending, prog)
    except BrokenPipeError:
        return reader_has_left()
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        print(
            f"{prog}: out of memory; make the model, the batch or the text smaller", file=sys.stderr
        )
        return 1
    except _EXPECTED as error:
        if os.environ.get("GROUNDUP_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exc()
        print(f"{prog}: {sentence(error)}", file=sys.stderr)
        return 1
    return 0 if code is None else code


def _out_of_memory(error: BaseException) -> bool:
    # torch's allocators raise a plain RuntimeError on the CPU, and OutOfMemoryError on a GPU.
    return (
        isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
        or type(error).__name__ == "OutOfMemoryError"
    )


def sentence(error: BaseException) -> str:
    """The error as one line: an OSError names its file first, as `cat` does."""
    if isinstance(error, FileExistsError) and error.filename is not None:
        # What was to be made is a folder: files are written over.
        return f"{error.filename}: expected a folder or nothing there, got a file; name another"
    if isinstance(error, OSError) and error.strerror:
        files = " -> ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
        told = f"{files}: {error.strerror}" if files else error.strerror
        return f"{told}; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else told
    return " ".join(str(error).split()) or type(error).__name__


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())
