"""`groundup tokenizer train` and `groundup tokenizer count`."""

import errno
import json as json_format
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from groundup.cli._tokenizer_files import expect_apart, open_any, text_files

if TYPE_CHECKING:
    from groundup.tokenizer.counts import ChunkCounts, ProgressCallback


def train(
    text: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    *,
    counts: tuple[Path, ...] = (),
    out: Path = Path("tokenizer.json"),
    vocab_size: int = 32768,
    pattern: str | None = None,
    base: Literal["bytes", "codepoints"] | None = None,
    character_coverage: float | None = None,
    special: tuple[str, ...] = ("<|endoftext|>",),
    min_frequency: int = 1,
    max_token_length: int | None = None,
    ties: Literal["smallest_pair", "huggingface", "first_seen"] = "smallest_pair",
    extend: str | None = None,
    threads: int | None = None,
    memory: int = 1024,
    json: bool = False,
) -> int:
    """Learn a vocabulary from text files, or from the counts of `groundup tokenizer count`.

    Example: groundup tokenizer train book.txt articles/ --vocab-size 4096 --out tokenizer.json

    Args:
        text: UTF-8 text files, or folders of them
        counts: count tables, instead of text or besides it
        out: file to write
        vocab_size: number of ids: 256 bytes, characters where those are the base, the merges and \
the special tokens
        pattern: how text is cut before merging: gpt2, gpt4, gpt4o, indic-math, none, or a regex; \
by default gpt4, or that of the counts or of the tokenizer to extend
        base: what is merged at first: bytes, or codepoints with bytes for those that are rare, \
so that no token is a part of a character; by default bytes, or that of the tokenizer to extend
        character_coverage: share of the text's characters that have ids as code points; by \
default 0.9995
        special: names of special tokens
        min_frequency: least number of times that a pair must occur to be merged
        max_token_length: longest token, in bytes
        ties: which of equally frequent pairs is merged first
        extend: a tokenizer's file to train on from: its ids stay, new tokens follow
        threads: threads to count on; by default one per core
        memory: MB for counting; what passes it goes to temporary files
        json: print the result as one line of JSON
    """
    from groundup.tokenizer import Tokenizer
    from groundup.tokenizer.training import CorpusExhausted

    if not text and not counts:
        raise ValueError("text: expected at least one file or folder; name a UTF-8 text file")
    _check_writable(out)  # before the work that would be lost
    known = None if extend is None else open_any(extend)
    if pattern is None and known is not None:
        pattern = known.pattern
    begin = time.perf_counter()
    files = _files_beside(out, text)
    expect_apart(out, counts)
    with _progress() as told, warnings.catch_warnings():
        warnings.simplefilter("ignore", CorpusExhausted)  # told below
        counted = _counted(files, counts, pattern, threads, memory, told)
        tok = Tokenizer.train_from_counts(
            counted,
            vocab_size,
            pattern=pattern,
            base=base,
            character_coverage=character_coverage,
            special_tokens=special,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            ties=ties,
            extend=known,
            threads=threads,
            progress=told,
        )
    elapsed_seconds = time.perf_counter() - begin
    tok.save(out)
    if json:
        result = {
            "file": str(out),
            "n_vocab": tok.n_vocab,
            "n_merges": len(tok.merges),
            "n_files": len(files),
            "n_bytes": counted.n_bytes,
            "elapsed_seconds": elapsed_seconds,
        }
        print(json_format.dumps(result))
    _tell(f"{out}: {tok.n_vocab:,} ids from {_amount(counted.n_bytes, files, elapsed_seconds)}.")
    if tok.n_vocab < vocab_size:
        _tell(
            f"That is fewer than {vocab_size:,}: no pair that occurs {min_frequency} times is left."
        )
    return 0


def count(
    text: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    *,
    counts: tuple[Path, ...] = (),
    out: Path = Path("counts.table"),
    pattern: str | None = None,
    threads: int | None = None,
    memory: int = 1024,
    json: bool = False,
) -> int:
    """Count the chunks of text files into a table, which `train --counts` learns from.

    Several machines count, one merges their tables and trains.

    Example: groundup tokenizer count articles/ --pattern gpt4 --out articles.table

    Args:
        text: UTF-8 text files, or folders of them
        counts: count tables to add to them, of the same pattern
        out: the table to write
        pattern: how text is cut: gpt2, gpt4, gpt4o, indic-math, none, or a regex; by default \
gpt4, or that of the tables
        threads: threads to count on; by default one per core
        memory: MB for counting; what passes it goes to temporary files
        json: print the result as one line of JSON
    """
    if not text and not counts:
        raise ValueError("text: expected at least one file or folder; name a UTF-8 text file")
    _check_writable(out)
    begin = time.perf_counter()
    files = _files_beside(out, text)
    with _progress() as told:
        counted = _counted(files, counts, pattern, threads, memory, told)
        counted.save(out)
    elapsed_seconds = time.perf_counter() - begin
    if json:
        result = {
            "file": str(out),
            "pattern": counted.pattern,
            "n_chunks": counted.n_chunks,
            "n_distinct": len(counted),
            "n_files": len(files),
            "n_bytes": counted.n_bytes,
            "elapsed_seconds": elapsed_seconds,
        }
        print(json_format.dumps(result))
    amount = _amount(counted.n_bytes, files, elapsed_seconds)
    _tell(f"{out}: {len(counted):,} distinct chunks from {amount}.")
    return 0


def _files_beside(out: Path, text: Iterable[str]) -> list[Path]:
    files = [file for name in text for file in text_files(name)]
    expect_apart(out, files)
    return files


def _counted(
    files: list[Path],
    tables: Iterable[Path],
    pattern: str | None,
    threads: int | None,
    memory: int,
    told: "ProgressCallback",
) -> "ChunkCounts":
    from groundup.tokenizer.counts import ChunkCounts
    from groundup.tokenizer.training import DEFAULT_PATTERN

    if memory < 1:
        raise ValueError(f"memory: expected a number of MB from 1, got {memory}")
    tables = list(tables)
    if pattern is None:
        pattern = ChunkCounts.load_pattern(tables[0]) if tables else DEFAULT_PATTERN
    counted = ChunkCounts(pattern, threads=threads, memory_bytes=memory * 10**6)
    for table in tables:
        counted.add_table(table)
    counted.add_files(files, progress=told)
    if counted.n_bytes == 0:
        named = " ".join(map(str, [*files, *tables]))
        raise ValueError(
            f"text: expected text to learn from, but {named} holds none; name files that are not "
            "empty"
        )
    return counted


@contextmanager
def _progress() -> "Iterator[ProgressCallback]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("counting", total=None)

        def told(stage: str, done: int, total: int | None) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield told


def _amount(n_bytes: int, files: list[Path], elapsed_seconds: float) -> str:
    rate = n_bytes / 1e6 / max(elapsed_seconds, 1e-9)
    of_files = f" in {len(files)} file{'s' if len(files) > 1 else ''}" if files else ""
    return f"{n_bytes / 1e6:.2f} MB{of_files}, {elapsed_seconds:.2f} s ({rate:.1f} MB/s)"


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"out: expected a file to write, got the folder {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(out))


def _tell(line: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)
