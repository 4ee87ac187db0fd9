"""Train a tokenizer, encode and decode with one, explain and list its merges, compare several."""

import json as json_format
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from groundup.cli._command import run
from groundup.cli._tokenizer_compare import compare
from groundup.cli._tokenizer_files import open_any
from groundup.cli._tokenizer_report import report
from groundup.cli._tokenizer_train import count, train


def main(args: list[str]) -> int:
    """`groundup tokenizer`."""
    commands: dict[str, Callable[..., Any]] = {
        "train": train,
        "count": count,
        "encode": encode,
        "decode": decode,
        "explain": explain,
        "report": report,
        "compare": compare,
    }
    example = "groundup tokenizer train book.txt --vocab-size 4096 --out tokenizer.json"
    description = (__doc__ or "").strip()
    return run(args, commands, example=example, name="tokenizer", description=description)


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

    tok = open_any(tokenizer)
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
    tok = open_any(tokenizer)
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
    tok = open_any(tokenizer)
    given = [value for value in (text, id, token) if value is not None]
    if len(given) != 1:
        raise ValueError("explain: expected a text, --id or --token, and one of them only")
    explained = tok.explain(token.encode() if token is not None else given[0])
    print(json_format.dumps(_plain(explained), ensure_ascii=False) if json else explained)
    return 0


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
