"""GPT-2's way to write bytes as printable letters, which its files and Hugging Face's still use.

Printable Latin-1 bytes stand for themselves; the other 68 are U+0100 and on (a space is "Ġ").
"""

import codecs

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]

LETTER_OF_BYTE: dict[int, str] = {byte: chr(byte) for byte in _PRINTABLE}
for _byte in range(256):
    if _byte not in LETTER_OF_BYTE:
        LETTER_OF_BYTE[_byte] = chr(256 + len(LETTER_OF_BYTE) - len(_PRINTABLE))

_LETTERS = "".join(LETTER_OF_BYTE[byte] for byte in range(256))
_BYTES = codecs.charmap_build(_LETTERS)


def to_letters(token: bytes) -> str:
    return codecs.charmap_decode(token, "strict", _LETTERS)[0]


def from_letters(letters: str) -> bytes | None:
    """The bytes, or None where a letter stands for none: then the text is a special token's."""
    try:
        return codecs.charmap_encode(letters, "strict", _BYTES)[0]
    except UnicodeEncodeError:
        return None
