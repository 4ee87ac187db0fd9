"""The fields of a SentencePiece .model file that say how it encodes; it is a protocol buffer.

Source: google/sentencepiece, sentencepiece_model.proto, ModelProto. A field is a number
(tag << 3 | kind) and by its kind a number (0), eight bytes (1), a length and so many bytes (2) or
four bytes (5), numbers being seven bits a byte, lowest first. Fields that are not known are
passed over, of one that stands twice the later holds, and messages that stand twice are joined:
so the format's own readers do.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

MAX_PIECES = 1 << 20  # four times the largest model of today


class Kind(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class ModelType(IntEnum):
    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


class Piece(NamedTuple):
    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class Model:
    pieces: list[Piece]  # by id
    model_type: ModelType
    byte_fallback: bool
    whitespace_is_suffix: bool
    normalizes: bool  # by a table of its own, as nmt_nfkc; "identity" has none
    adds_dummy_prefix: bool
    removes_extra_whitespaces: bool
    escapes_whitespaces: bool
    denormalizes: bool


def read_model(contents: bytes, source: str) -> Model:
    """What a .model file says. ValueError for anything that is none."""
    try:
        return _read_model(contents)
    except (_Damaged, UnicodeDecodeError) as damage:
        raise ValueError(
            f"{source}: expected a SentencePiece model, but {damage}; is the file whole?"
        ) from None


class _Damaged(Exception):
    pass


def _read_model(contents: bytes) -> Model:
    pieces: list[Piece] = []
    messages = {2: b"", 3: b"", 5: b""}  # trainer, normalizer, denormalizer
    for tag, value in _fields(contents):
        if tag == 1:
            if len(pieces) == MAX_PIECES:
                raise _Damaged(f"it has more than {MAX_PIECES} pieces")
            pieces.append(_piece(_bytes(value)))
        elif tag in messages:
            messages[tag] += _bytes(value)
    if not pieces:
        raise _Damaged("it has no pieces")
    trainer = dict(_fields(messages[2]))
    normalizer = dict(_fields(messages[3]))
    denormalizer = dict(_fields(messages[5]))
    number = _number(trainer.get(3, ModelType.UNIGRAM))
    if number not in ModelType.__members__.values():
        raise _Damaged(f"its model type is {number}")
    return Model(
        pieces,
        ModelType(number),
        byte_fallback=bool(_number(trainer.get(35, 0))),
        whitespace_is_suffix=bool(_number(trainer.get(24, 0))),
        normalizes=bool(_bytes(normalizer.get(2, b""))),
        adds_dummy_prefix=bool(_number(normalizer.get(3, 1))),
        removes_extra_whitespaces=bool(_number(normalizer.get(4, 1))),
        escapes_whitespaces=bool(_number(normalizer.get(5, 1))),
        denormalizes=bool(_bytes(denormalizer.get(2, b""))),
    )


def _piece(message: bytes) -> Piece:
    fields = dict(_fields(message))
    text = _bytes(fields.get(1, b"")).decode()
    if not text:
        raise _Damaged("one of its pieces is empty")
    (score,) = struct.unpack("<f", _bytes(fields.get(2, b"\0\0\0\0")))
    if score != score:
        raise _Damaged(f"the score of {text[:60]!r} is no number")
    kind = _number(fields.get(3, Kind.NORMAL))
    if kind not in _KINDS:
        raise _Damaged(f"the type of {text[:60]!r} is {kind}")
    return Piece(text, score, _KINDS[kind])


_KINDS = {int(kind): kind for kind in Kind}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Damaged("a number stands where text or a message should")
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _Damaged("bytes stand where a number should")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        tag, kind = key >> 3, key & 7
        if tag == 0:
            raise _Damaged("a field has no number")
        if kind == 0:
            number, at = _varint(message, at)
            yield tag, number
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise _Damaged(f"a field is of kind {kind}")
        if size > end - at:
            raise _Damaged("it ends inside a field")
        yield tag, message[at : at + size]
        at += size


_FIXED = {1: 8, 5: 4}


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for byte in message[at : at + 10]:
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise _Damaged("it ends inside a number" if at == len(message) else "a number does not end")
