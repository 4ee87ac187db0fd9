"""`groundup tokenizer compare`."""

import json as json_format
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundup.cli._tokenizer_files import open_any, text_files

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer


def compare(
    tokenizers: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    *,
    text: str | None = None,
    files: tuple[str, ...] = (),
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
    from rich.table import Table

    from groundup.cli._console import PipeConsole
    from groundup.tokenizer.engine import read_text
    from groundup.tokenizer.explain import shown

    if not tokenizers:
        raise ValueError("tokenizers: expected at least one file")
    if (text is None) == (not files):
        raise ValueError("compare: expected --text or --files, and one of them only")
    if text is not None:
        texts = [text]
    else:
        texts = [read_text(file) for path in files for file in text_files(path)]
    rows = [_measured(name, open_any(name), texts) for name in tokenizers]
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
    PipeConsole().print(table)
    if text is not None:
        for name in tokenizers:
            tok = open_any(name)
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
