"""Turn text files into token shards, train and validation."""

import dataclasses
import json as json_format
import shlex
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli._command import run


def main(args: list[str]) -> int:
    """`groundup prepare`."""
    example = "groundup prepare book.txt articles/ --tokenizer tokenizer.json --out data/book"
    return run(args, prepare, example=example)


def prepare(
    text: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    tokenizer: Path,
    out: Path = Path("data"),
    validation_fraction: float = 0.1,
    threads: int | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> int:
    """Encode text files and write token shards for `groundup train`.

    Args:
        text: UTF-8 text files, or folders of them; each file is a document
        tokenizer: tokenizer file, as `groundup tokenizer train` writes it
        out: folder for the shards
        validation_fraction: fraction of the documents to hold out, by a hash of their text
        threads: threads to encode on; by default one per core
        overwrite: replace the shards that the folder holds
        json: print the result as one line of JSON on stdout
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from groundup.data.corpora import read_documents
    from groundup.data.dataset import INDEX
    from groundup.data.prepare import prepare as write_shards
    from groundup.tokenizer import Tokenizer

    if (out / INDEX).exists() and not overwrite:
        raise ValueError(f"{out}: holds shards already; pass --overwrite or another --out")
    if threads is not None and threads < 1:
        raise ValueError(f"--threads: expected at least 1, got {threads}")
    words = Tokenizer.load(tokenizer)
    documents = read_documents(text)
    console = Console(stderr=True)
    columns = (TextColumn("encoding"), BarColumn(), TextColumn("{task.fields[done]}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", done="")
        result = write_shards(
            documents,
            words,
            out,
            validation_fraction=validation_fraction,
            threads=threads,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, done=f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
            ),
        )
    if json:
        print(json_format.dumps({**dataclasses.asdict(result), "folder": str(result.folder)}))
    tokens = " and ".join(
        f"{result.n_tokens[split]:,} {split} tokens ({result.n_documents[split]:,} documents)"
        for split in result.n_tokens
    )
    ratio = result.n_bytes / max(1, sum(result.n_tokens.values()))
    for line in (
        f"{out}: {tokens}, {ratio:.2f} bytes per token, {result.elapsed_seconds:.1f} s.",
        f"Train with: groundup train --data {shlex.quote(str(out))}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return 0
