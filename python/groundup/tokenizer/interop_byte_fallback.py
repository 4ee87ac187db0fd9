"""The part of a tokenizer.json that differs where the base is the code point.

A token is spelled as its text, and a byte of a character without a token as <0xE0> is (byte
fallback, which SentencePiece's models have too). A byte below 128 is its ASCII character; a file
may spell it as <0x41> besides, which no text becomes, but ids are turned back from.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from groundup.tokenizer.patterns import Pattern
from groundup.tokenizer.vocabulary import Vocabulary, checked

DECODER = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_DECODED_AS_BYTE = re.compile(r"<0x(?:[0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>")  # by Hugging Face's decoder


def names_of_characters(vocabulary: Vocabulary, format: str) -> dict[str, int]:
    """Ids by name. ValueError where the text of a token would be read as a byte."""
    if vocabulary.whole_chunks:
        raise ValueError(
            f"{format}: expected merges over code points, got a vocabulary of SentencePiece's "
            "ranks, which cannot be expressed there. Save it with tok.save."
        )
    ids: dict[str, int] = {}
    for i, token in enumerate([*vocabulary.tokens]):
        token = token or vocabulary.decode_only.get(i, b"")
        if not token:
            continue
        is_byte = len(token) == 1 and (token > b"\x7f" or i in vocabulary.decode_only)
        name = f"<0x{token[0]:02X}>" if is_byte else token.decode()
        if name in vocabulary.specials or (not is_byte and _DECODED_AS_BYTE.fullmatch(name)):
            raise ValueError(
                f"{format} would take the token {name!r} for a byte or a special token; save with "
                "tok.save instead, or rename the special token."
            )
        ids[name] = i
    for name in vocabulary.specials:
        if _DECODED_AS_BYTE.fullmatch(name):
            raise ValueError(
                f"{format} would decode the special token {name!r} as a byte; rename it, or save "
                "with tok.save."
            )
    return ids


def vocabulary_of_characters(
    ids: Mapping[str, int],
    lefts: Sequence[str],
    rights: Sequence[str],
    pattern: Pattern,
    specials: Mapping[str, int],
    source: str,
) -> Vocabulary:
    """A vocabulary from tokens spelled as their text and the pairs that merge."""
    tokens = [b""] * (1 + max(ids.values(), default=-1))
    decode_only: dict[int, bytes] = {}
    for name, i in ids.items():
        if name in specials:
            continue
        byte = _BYTE.fullmatch(name)
        token = bytes([int(byte[1], 16)]) if byte else _encoded(name, source)
        if not token:
            raise ValueError(f"{source}: the token of id {i} is empty.")
        if tokens[i] or i in decode_only:
            raise ValueError(
                f"{source}: {tokens[i] or decode_only[i]!r} and {token!r} are both {i}."
            )
        if byte and token.isascii() and token.decode() in ids:
            decode_only[i] = token
        else:
            tokens[i] = token
    rows = []
    for number, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        for name in (left, right, left + right):
            if name not in ids or name in specials:
                raise ValueError(
                    f"{source}: merge {number} is of {left!r} and {right!r}, but {name!r} is no "
                    "token of text."
                )
        row = (ids[left], ids[right], ids[left + right])
        if tokens[row[0]] + tokens[row[1]] != tokens[row[2]] or not all(tokens[i] for i in row):
            raise ValueError(
                f"{source}: merge {number} is of {left!r} and {right!r}, of which one stands for a "
                "byte; only characters can be merged here."
            )
        rows.append(row)
    while tokens and not tokens[-1] and len(tokens) - 1 not in decode_only:
        tokens.pop()
    merges = np.array(rows, dtype=np.uint32).reshape(-1, 3)
    vocabulary = Vocabulary(
        tokens, merges, pattern, dict(specials), base="code points", decode_only=decode_only
    )
    return checked(vocabulary, source)


def expect_its_decoder(decoder: Any, source: str) -> None:
    if not isinstance(decoder, dict) or decoder.get("type") != "Sequence":
        decoders: object = decoder
    else:
        decoders = decoder.get("decoders")
    if decoders != DECODER["decoders"]:
        raise ValueError(
            f"{source}: expected the decoders ByteFallback and Fuse, as its model has "
            f"byte_fallback, got {decoders!r:.80}."
        )


def _encoded(name: str, source: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{source}: the token {name!r:.60} is not Unicode text.") from None
