"""`groundup tokenizer train`."""

import errno
import json as json_format
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import tyro

from groundup.cli._tokenizer_files import text_files


def train(
    text: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    out: Path = Path("tokenizer.json"),
    vocab_size: int = 32768,
    pattern: str = "gpt4",
    special: tuple[str, ...] = ("<|endoftext|>",),
    min_frequency: int = 1,
    ties: Literal["smallest_pair", "huggingface", "first_seen"] = "smallest_pair",
    threads: int | None = None,
    json: bool = False,
) -> int:
    """Learn a vocabulary from text files.

    Example: groundup tokenizer train book.txt articles/ --vocab-size 4096 --out tokenizer.json

    Args:
        text: UTF-8 text files, or folders of them
        out: file to write
        vocab_size: number of ids: 256 bytes, the merges and the special tokens
        pattern: how text is cut before merging: gpt2, gpt4, gpt4o, indic-math, none, or a regex
        special: names of special tokens
        min_frequency: least number of times that a pair must occur to be merged
        ties: which of equally frequent pairs is merged first
        threads: threads to count on; by default one per core
        json: print the result as one line of JSON
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from groundup.tokenizer import Tokenizer

    if not text:
        raise ValueError("text: expected at least one file or folder; name a UTF-8 text file")
    _check_writable(out)  # before the work that would be lost
    files = [file for path in text for file in text_files(path)]
    n_bytes = sum(file.stat().st_size for file in files)
    if n_bytes == 0 and all(file.is_file() for file in files):  # a pipe's size is unknown
        raise ValueError(
            f"text: expected text to learn from, but {' '.join(map(str, text))} holds none; name "
            "files that are not empty"
        )
    console = Console(stderr=True)
    begin = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("counting", total=n_bytes)

        def counted() -> Iterator[Path]:
            for file in files:
                yield file
                bar.advance(task, file.stat().st_size)
            bar.update(task, description="merging", total=None)

        tok = Tokenizer.train_files(
            counted(),
            vocab_size,
            pattern=pattern,
            special_tokens=special,
            min_frequency=min_frequency,
            ties=ties,
            threads=threads,
        )
    elapsed_seconds = time.perf_counter() - begin
    tok.save(out)
    if json:
        told = {
            "file": str(out),
            "n_vocab": tok.n_vocab,
            "n_merges": len(tok.merges),
            "n_files": len(files),
            "n_bytes": n_bytes,
            "elapsed_seconds": elapsed_seconds,
        }
        print(json_format.dumps(told))
    rate = n_bytes / 1e6 / max(elapsed_seconds, 1e-9)
    _tell(
        f"{out}: {tok.n_vocab:,} ids from {n_bytes / 1e6:.2f} MB in {len(files)} file"
        f"{'s' if len(files) > 1 else ''}, "
        f"{elapsed_seconds:.2f} s ({rate:.1f} MB/s)."
    )
    if tok.n_vocab < vocab_size:
        _tell(
            f"That is fewer than {vocab_size:,}: no pair that occurs {min_frequency} times is left."
        )
    return 0


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"out: expected a file to write, got the folder {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(out))


def _tell(line: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)
