"""Reading files that strangers wrote: a ValueError that names the file, never a deeper error."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 30


def read_file(path: str | os.PathLike[str]) -> bytes:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a file, got a folder.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(
            f"{path}: expected a tokenizer's file of at most {MAX_FILE_BYTES >> 30} GiB, got "
            f"{path.stat().st_size} bytes."
        )
    return path.read_bytes()


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        return read_file(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; byte {error.start} is not.") from None


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    return parse_json(read_file(path), str(path))


def parse_json(contents: str | bytes, source: str) -> dict[str, Any]:
    try:
        parsed = json.loads(contents, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{source}: expected JSON, but {error}.") from None
    return expect(parsed, dict, source, "the file")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {repeated!r} stands twice in one object")
    return fields


def expect(value: object, kind: type[T], source: str, what: str) -> T:
    """`value`, when it is of that type; True is no int and a lone surrogate no text here."""
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        if isinstance(value, str) and not _is_unicode(value):
            raise ValueError(f"{source}: expected {what} to be Unicode, got {value[:60]!r}.")
        return value
    shown = repr(value)
    raise ValueError(
        f"{source}: expected {what} to be {_KINDS[kind]}, got "
        f"{shown if len(shown) <= 60 else shown[:57] + '...'}."
    )


def expect_id(value: object, source: str, what: str) -> int:
    number = expect(value, int, source, what)
    if not 0 <= number < 1 << 24:
        raise ValueError(f"{source}: expected {what} from 0 to 2^24 - 1, got {str(number)[:24]}.")
    return number


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    bool: "true or false",
}
