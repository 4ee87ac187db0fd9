"""The records of a count table in plain Python; csrc/bpe/count_file.h is the same, natively.

A record is the chunk's size, its bytes, its count, and where it first occurred. Numbers are LEB128:
seven bits a byte, the lowest first, the top bit on all but the last. Records are sorted by chunk.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

Row = tuple[bytes, int, int]  # chunk, count, first


def write(stream: BinaryIO, rows: Iterable[Row]) -> tuple[int, int, int]:
    """Append rows, which come sorted by chunk; how many, in how many bytes, with which CRC-32."""
    n_rows = n_bytes = crc = 0
    for chunk, count, first in rows:
        record = _number(len(chunk)) + chunk + _number(count) + _number(first)
        stream.write(record)
        n_rows, n_bytes, crc = n_rows + 1, n_bytes + len(record), zlib.crc32(record, crc)
    return n_rows, n_bytes, crc


def read(stream: BinaryIO, n_rows: int, n_bytes: int, crc: int, span: int) -> list[Row]:
    """All rows, or a ValueError that says what is wrong with them."""
    contents = stream.read(n_bytes)
    if len(contents) < n_bytes:
        raise ValueError("the file ends before its records do")
    rows = list(_rows(contents, span))
    if len(rows) != n_rows:
        raise ValueError("it holds another number of chunks")
    if zlib.crc32(contents) != crc:
        raise ValueError("the checksum of its records is another")
    return rows


def _rows(contents: bytes, span: int) -> Iterator[Row]:
    before = b""
    at = 0
    while at < len(contents):
        size, at = _read_number(contents, at)
        if size == 0:
            raise ValueError("a chunk is empty")
        if size > len(contents) - at:
            raise ValueError("a chunk ends after the file's records")
        chunk, at = contents[at : at + size], at + size
        count, at = _read_number(contents, at)
        first, at = _read_number(contents, at)
        if count == 0:
            raise ValueError("a chunk is counted 0 times")
        if chunk <= before:
            raise ValueError("its chunks are not in order")
        if first >= span:
            raise ValueError("a chunk first occurs after the text's end")
        before = chunk
        yield chunk, count, first


def _number(number: int) -> bytes:
    spelled = bytearray()
    while number >= 128:
        spelled.append(number & 127 | 128)
        number >>= 7
    spelled.append(number)
    return bytes(spelled)


def _read_number(contents: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at == len(contents):
            raise ValueError("a record ends after the file's records")
        byte, at = contents[at], at + 1
        number |= (byte & 127) << shift
        if byte < 128 and number < 1 << 64:
            return number, at
    raise ValueError("a number passes 2^64 - 1")
