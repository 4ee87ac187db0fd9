"""Text as numbers: a code point for each character, and three ways to write those as bytes.

Unicode gives every character a number, its code point, below 0x110000. UTF-32 writes it as it is,
in four bytes. UTF-16 takes two bytes, or two pairs for what does not fit. UTF-8 takes one to four,
the first of which says how many: plain ASCII stays what it was, and no byte of a longer character
looks like ASCII. Standard library only; bytes come most significant first. Source: RFC 3629, 2781.
"""

from collections.abc import Iterable

LAST = 0x10FFFF
# Halves of UTF-16 pairs. They are code points of no character, and no encoding may hold one alone.
SURROGATES = range(0xD800, 0xE000)


def utf32(code_point: int) -> bytes:
    """Four bytes: the number itself.

    >>> utf32(ord("€")).hex(" ")
    '00 00 20 ac'
    """
    return _checked(code_point).to_bytes(4, "big")


def utf16(code_point: int) -> bytes:
    """Two bytes, or from 0x10000 on two surrogates that carry ten bits each.

    >>> utf16(ord("€")).hex(" "), utf16(ord("🙂")).hex(" ")
    ('20 ac', 'd8 3d de 42')
    """
    if _checked(code_point) < 0x10000:
        return code_point.to_bytes(2, "big")
    high, low = divmod(code_point - 0x10000, 1 << 10)
    return (0xD800 + high).to_bytes(2, "big") + (0xDC00 + low).to_bytes(2, "big")


def utf8(code_point: int) -> bytes:
    """One to four bytes: 7, 11, 16 or 21 bits, six of them in each byte after the first.

    >>> utf8(ord("a")).hex(" "), utf8(ord("€")).hex(" ")
    ('61', 'e2 82 ac')
    """
    if _checked(code_point) < 0x80:
        return bytes([code_point])
    n_more = 1 if code_point < 0x800 else 2 if code_point < 0x10000 else 3
    # The first byte begins with as many ones as there are bytes, then a zero; the others with 10.
    ones = 0xFF << 7 - n_more & 0xFF
    first = ones | code_point >> 6 * n_more
    return bytes([first, *(0x80 | code_point >> 6 * n & 0x3F for n in reversed(range(n_more)))])


def decode_utf8(text: bytes) -> str:
    """The characters of UTF-8 bytes.

    Raises ValueError at bytes that no text gives: a byte out of place, a character cut short, more
    bytes than a code point needs, half a surrogate pair, a number beyond the last.

    >>> decode_utf8(b"\\xe2\\x82\\xac")
    '€'
    """
    characters: list[str] = []
    at = 0
    while at < len(text):
        first = text[at]
        n_more = (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
        following = text[at + 1 : at + 1 + n_more]
        code_point = first & (0x7F if n_more == 0 else 0x3F >> n_more)
        for byte in following:
            code_point = code_point << 6 | byte & 0x3F
        whole = text[at : at + 1 + n_more]
        # Written back it must be the same bytes: that leaves out every longer spelling.
        if code_point > LAST or code_point in SURROGATES or utf8(code_point) != whole:
            raise ValueError(
                f"UTF-8: expected a character at byte {at}, got {whole.hex(' ')}; bytes.decode "
                "with errors='replace' shows U+FFFD there"
            )
        characters.append(chr(code_point))
        at += len(whole)
    return "".join(characters)


def encode(text: Iterable[str], form: str = "utf-8") -> bytes:
    """The bytes of a text: "utf-8", "utf-16" or "utf-32", without a byte-order mark."""
    forms = {"utf-8": utf8, "utf-16": utf16, "utf-32": utf32}
    if form not in forms:
        raise ValueError(f"form: expected one of {', '.join(forms)}, got {form!r}")
    return b"".join(forms[form](ord(character)) for character in text)


def _checked(code_point: int) -> int:
    if not 0 <= code_point <= LAST or code_point in SURROGATES:
        raise ValueError(
            f"code point: expected 0 to {LAST:#x} without the surrogates "
            f"{SURROGATES[0]:#x} to {SURROGATES[-1]:#x}, got {code_point:#x}"
        )
    return code_point
