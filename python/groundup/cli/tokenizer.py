"""Train a tokenizer, encode and decode with one, explain its tokens, compare several."""

import errno
import json as json_format
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from groundup.cli._command import run

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer


def main(args: list[str]) -> int:
    """`groundup tokenizer`."""
    commands: dict[str, Callable[..., Any]] = {
        "train": train,
        "encode": encode,
        "decode": decode,
        "explain": explain,
        "compare": compare,
    }
    example = "groundup tokenizer train book.txt --vocab-size 4096 --out tokenizer.json"
    description = (__doc__ or "").strip()
    return run(args, commands, example=example, name="tokenizer", description=description)


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
    files = [file for path in text for file in _files_of(path)]
    n_bytes = sum(file.stat().st_size for file in files)
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


def encode(
    tokenizer: Annotated[str, tyro.conf.Positional],
    text: Annotated[str | None, tyro.conf.Positional] = None,
    /,
    *,
    file: Path | None = None,
    special: bool = False,
    json: bool = False,
) -> int:
    """Print the ids of a text: an argument, a file, or what comes in on stdin.

    Example: groundup tokenizer encode tokenizer.json "Hello, world"

    Args:
        tokenizer: a file of ours, a tokenizer.json, or RANKS.tiktoken:PATTERN
        text: the text
        file: a UTF-8 file to read it from
        special: take special tokens in the text as such, not as ordinary text
        json: print {"ids": [...], "tokens": [...]}
    """
    from groundup.tokenizer.explain import shown

    tok = _open(tokenizer)
    given = _text_of(text, file)
    ids = tok.encode(given, allowed_special="all") if special else tok.encode_ordinary(given)
    if json:
        tokens = tok.token_byte_values()
        told = {"ids": ids, "tokens": [shown(tokens[i]) for i in ids]}
        print(json_format.dumps(told, ensure_ascii=False))
    else:
        print(" ".join(map(str, ids)))
    return 0


def decode(
    tokenizer: Annotated[str, tyro.conf.Positional],
    ids: Annotated[tuple[int, ...], tyro.conf.Positional] = (),
    /,
    *,
    json: bool = False,
) -> int:
    """Print the text of ids: arguments, or what comes in on stdin.

    Example: groundup tokenizer decode tokenizer.json 72 105

    Args:
        tokenizer: a file of ours, a tokenizer.json, or RANKS.tiktoken:PATTERN
        ids: the ids
        json: print {"text": "..."}
    """
    tok = _open(tokenizer)
    if not ids:
        words = sys.stdin.read().replace(",", " ").strip("[] \n").split()
        if bad := [word for word in words if not word.removeprefix("-").isdecimal()]:
            raise ValueError(f"ids: expected whole numbers on stdin, got {bad[0][:40]!r}")
        ids = tuple(map(int, words))
    text = tok.decode(list(ids))
    print(json_format.dumps({"text": text}, ensure_ascii=False) if json else text)
    return 0


def explain(
    tokenizer: Annotated[str, tyro.conf.Positional],
    text: Annotated[str | None, tyro.conf.Positional] = None,
    /,
    *,
    id: int | None = None,
    token: str | None = None,
    json: bool = False,
) -> int:
    """Show why a text becomes its tokens, or what a token was merged from.

    Example: groundup tokenizer explain tokenizer.json "Hello, world"

    Args:
        tokenizer: a file of ours, a tokenizer.json, or RANKS.tiktoken:PATTERN
        text: a text, whose merges are listed in the order in which they fire
        id: a token's id, whose parts are shown down to its bytes
        token: a token's text, the same
        json: print the explanation as JSON
    """
    tok = _open(tokenizer)
    given = [value for value in (text, id, token) if value is not None]
    if len(given) != 1:
        raise ValueError("explain: expected a text, --id or --token, and one of them only")
    explained = tok.explain(token.encode() if token is not None else given[0])
    print(json_format.dumps(_plain(explained), ensure_ascii=False) if json else explained)
    return 0


def compare(
    tokenizers: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    *,
    text: str | None = None,
    files: tuple[Path, ...] = (),
    json: bool = False,
) -> int:
    """Compare tokenizers on the same text: how many tokens, how long, how many of a word, how fast.

    Example: groundup tokenizer compare a.json b.json cl100k_base.tiktoken:gpt4 --files book.txt

    Args:
        tokenizers: files of ours, tokenizer.json files, or RANKS.tiktoken:PATTERN
        text: a text; its tokens are shown one by one
        files: UTF-8 files, or folders of them
        json: print the comparison as one line of JSON
    """
    from rich.console import Console
    from rich.table import Table

    from groundup.tokenizer.engine import read_text
    from groundup.tokenizer.explain import shown

    if not tokenizers:
        raise ValueError("tokenizers: expected at least one file")
    if (text is None) == (not files):
        raise ValueError("compare: expected --text or --files, and one of them only")
    if text is not None:
        texts = [text]
    else:
        texts = [read_text(file) for path in files for file in _files_of(path)]
    rows = [_measured(name, _open(name), texts) for name in tokenizers]
    if json:
        print(json_format.dumps(rows))
        return 0
    table = Table(box=None)
    table.add_column("tokenizer", overflow="fold")
    for heading in ("ids", "tokens", "bytes/token", "tokens/word", "ids used", "MB/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["tokenizer"],
            f"{row['n_vocab']:,}",
            f"{row['n_tokens']:,}",
            f"{row['bytes_per_token']:.3f}",
            f"{row['tokens_per_word']:.3f}",
            f"{row['ids_used']:.1%}",
            f"{row['mb_per_s']:.1f}",
        )
    Console().print(table)
    if text is not None:
        for name in tokenizers:
            tok = _open(name)
            tokens = tok.token_byte_values()
            cut = " ".join(shown(tokens[i]) for i in tok.encode_ordinary(text))
            print(f"{name}: {cut}")
    return 0


def _measured(name: str, tok: "Tokenizer", texts: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    begin = time.perf_counter()
    ids = [tok.encode_to_numpy(text, disallowed_special=()) for text in texts]
    elapsed_seconds = time.perf_counter() - begin
    n_bytes = sum(len(text.encode(errors="replace")) for text in texts)
    n_tokens = sum(map(len, ids))
    return {
        "tokenizer": name,
        "n_vocab": tok.n_vocab,
        "n_bytes": n_bytes,
        "n_tokens": n_tokens,
        "bytes_per_token": n_bytes / max(n_tokens, 1),
        "tokens_per_word": n_tokens / max(sum(len(text.split()) for text in texts), 1),
        "ids_used": len(np.unique(np.concatenate(ids))) / tok.n_vocab,
        "mb_per_s": n_bytes / 1e6 / max(elapsed_seconds, 1e-9),
    }


def _open(name: str) -> "Tokenizer":
    """A tokenizer of any kind, told by its file."""
    from groundup.tokenizer import Tokenizer
    from groundup.tokenizer.reading import read_json

    file, colon, pattern = name.partition(".tiktoken:")
    if colon or name.endswith(".tiktoken"):
        return Tokenizer.from_tiktoken(
            f"{file.removesuffix('.tiktoken')}.tiktoken", pattern or None
        )
    if Path(name).is_dir() or "model" in read_json(name):
        return Tokenizer.from_hf(name)
    return Tokenizer.load(name)


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
    )
    if not files:
        raise ValueError(f"{path}: expected files of text in this folder, found none")
    return files


def _text_of(text: str | None, file: Path | None) -> str:
    from groundup.tokenizer.engine import read_text

    if text is not None and file is not None:
        raise ValueError("encode: expected a text or --file, got both")
    if file is not None:
        return read_text(file)
    given = sys.stdin.read() if text is None else text
    try:
        given.encode()
    except UnicodeEncodeError:  # Python shows bytes of arguments and stdin that are no text so
        raise ValueError(
            "text: expected UTF-8, but it holds bytes that are not; convert it first"
        ) from None
    return given


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"out: expected a file to write, got the folder {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(out))


def _plain(explained: object) -> Any:
    """An explanation as JSON has it: bytes as text where they are text."""
    import dataclasses

    from groundup.tokenizer.explain import shown

    if isinstance(explained, bytes):
        return shown(explained)
    if isinstance(explained, tuple):
        return [_plain(part) for part in explained]
    if dataclasses.is_dataclass(explained):
        fields = dataclasses.fields(explained)
        return {field.name: _plain(getattr(explained, field.name)) for field in fields}
    return explained


def _tell(line: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)
