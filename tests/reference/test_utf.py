"""Code points to bytes and back: equal to Python's own codecs, for any text and any bytes."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import utf

NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(utf).failed == 0


@pytest.mark.parametrize("form", ["utf-8", "utf-16", "utf-32"])
@settings(max_examples=40)
@given(text=NO_SURROGATES)
def test_encodings_are_pythons(form, text):
    big_endian = form if form == "utf-8" else form + "-be"
    assert utf.encode(text, form) == text.encode(big_endian)


def test_every_width_begins_and_ends_where_it_should():
    for edge in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        assert utf.utf8(edge) == chr(edge).encode()
        assert utf.decode_utf8(utf.utf8(edge)) == chr(edge)


# Bytes that begin like UTF-8 are the interesting ones.
LIKE_UTF8 = st.lists(
    st.sampled_from([b"\xc0", b"\xe0", b"\xed", b"\xf0", b"\xf4", b"\xf8", b"\x80", b"\xa0", b"a"])
).map(b"".join)


@settings(max_examples=40)
@given(st.binary() | LIKE_UTF8 | NO_SURROGATES.map(str.encode))
def test_bytes_are_read_as_python_reads_them_or_refused(text):
    try:
        expected = text.decode("utf-8")
    except UnicodeDecodeError as error:
        with pytest.raises(ValueError, match=rf"expected a character at byte {error.start}, got"):
            utf.decode_utf8(text)
    else:
        assert utf.decode_utf8(text) == expected


@pytest.mark.parametrize("code_point", [-1, 0xD800, 0xDFFF, 0x110000])
@pytest.mark.parametrize("write", [utf.utf8, utf.utf16, utf.utf32])
def test_what_is_no_character_is_refused(write, code_point):
    with pytest.raises(ValueError, match="expected 0 to 0x10ffff without the surrogates 0xd800"):
        write(code_point)


def test_an_unknown_form_is_a_sentence():
    with pytest.raises(ValueError, match="expected one of utf-8, utf-16, utf-32, got 'ascii'"):
        utf.encode("a", "ascii")
