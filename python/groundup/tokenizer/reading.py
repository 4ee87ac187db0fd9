"""Reading files that strangers wrote: a ValueError that names the file, never a deeper error."""

import json
import os
import stat
from collections import Counter
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

# Of the largest tokenizer.json of today (262,144 tokens, 515,000 merges) a fourth, half and a
# fourth. Values beyond would take minutes and gigabytes before anything could be judged.
MAX_FILE_BYTES = 1 << 27
MAX_JSON_VALUES = 1 << 22
MAX_JSON_KEYS = 1 << 20  # in one object they cost most
MAX_LINES = 1 << 21


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All of a regular file. ValueError at once for a folder, a pipe, a device or a huge file."""
    # What opens is asked what it is, and a pipe without a writer opens without waiting for one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor)
        if not stat.S_ISREG(kind.st_mode):
            got = "a folder" if stat.S_ISDIR(kind.st_mode) else "a pipe or a device"
            raise ValueError(f"{path}: expected a regular file, got {got}.")
        with open(descriptor, "rb", closefd=False) as stream:
            contents = stream.read(min(kind.st_size, MAX_FILE_BYTES) + 1)
            if len(contents) > kind.st_size:  # some files grow, and all of /proc claim no bytes
                contents += stream.read(MAX_FILE_BYTES + 1 - len(contents))
    finally:
        os.close(descriptor)
    if len(contents) > MAX_FILE_BYTES:
        raise ValueError(
            f"{path}: expected a tokenizer's file of at most {MAX_FILE_BYTES >> 20} MiB, got "
            "more; is it the right one?"
        )
    return contents


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    contents = read_file(path)
    if contents.count(b"\n") > MAX_LINES:
        raise ValueError(f"{path}: expected at most {MAX_LINES} lines, got more.")
    try:
        return contents.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; byte {error.start} is not.") from None


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    return parse_json(read_file(path), str(path))


def parse_json(contents: str | bytes, source: str) -> dict[str, Any]:
    _expect_few_values(contents, source)
    try:
        parsed = json.loads(contents, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{source}: expected JSON, but {error}.") from None
    return expect(parsed, dict, source, "the file")


def _expect_few_values(contents: str | bytes, source: str) -> None:
    """What opens or parts values is counted; in texts such marks stand too, but few."""
    if len(contents) <= MAX_JSON_VALUES:
        return
    encoded = contents.encode(errors="replace") if isinstance(contents, str) else contents
    marks = np.frombuffer(encoded, dtype=np.uint8)
    comma, bracket, brace, colon = (int(np.count_nonzero(marks == mark)) for mark in b",[{:")
    if comma + bracket + brace > MAX_JSON_VALUES or colon > MAX_JSON_KEYS:
        raise ValueError(
            f"{source}: expected a tokenizer's JSON of at most {MAX_JSON_VALUES} values and "
            f"{MAX_JSON_KEYS} keys, got more; is it the right file?"
        )


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
