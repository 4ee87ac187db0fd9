"""Texts made of published files: byte for byte what the shared copies hold."""

import bz2
import doctest
import hashlib
import json
import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.data import catalogue, derivation
from groundup.data.derivation import Wanted, hellaswag, multimwp_answers, passage, worked_out


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(derivation).failed == 0


def test_a_passage_is_cut_out_with_plain_line_ends():
    book = "\ufeffHeader\r\nTitle: Café\r\n\r\nCAFÉ\r\n\r\nOne. Café\r\n\r\nLicence: Café\r\n"
    text = "CAFÉ\n\nOne. Café\n".encode()
    assert passage([book.encode()], Wanted(len(text), "CAFÉ\n")) == text
    latin = book.removeprefix("\ufeff").encode("iso-8859-1")
    assert passage([latin], Wanted(len(text), "CAFÉ\n", "iso-8859-1")) == text
    with pytest.raises(ValueError, match="expected a text that holds 'TEA'"):
        passage([latin], Wanted(3, "TEA", "iso-8859-1"))
    with pytest.raises(ValueError, match="codec can't decode"):
        passage([latin], Wanted(3, "CAF"))


def test_the_shared_books_begin_as_the_catalogue_says(data_file):
    for file in catalogue.data_set("dostoevsky").files:
        text = data_file(file.path).read_bytes()
        book = b"Header\n" + text + b"Licence\n"
        assert passage([book], Wanted(file.size, file.begins)) == text


@pytest.mark.slow
def test_hellaswag_is_made_of_the_published_file(data_file):
    """The published file itself, to its SHA-256, is bzip2 of the shared copy told in six lines."""
    (file,) = catalogue.data_set("hellaswag").files
    shared = data_file(file.path).read_bytes()
    rows = [json.loads(line) for line in shared.decode().splitlines()]
    lines = [
        line
        for row in rows
        for line in (f"{row['activity_label']}: {row['ctx']}", str(row["label"]), *row["endings"])
    ]
    published = bz2.compress("".join(line + "\n" for line in lines).encode())
    (original,) = file.originals
    assert hashlib.sha256(published).hexdigest() == original.sha256
    assert len(published) == original.size
    assert hellaswag([published], Wanted(file.size)) == shared


def test_lines_that_are_no_questions_and_a_bomb_are_refused():
    with pytest.raises(ValueError, match="expected six lines a question, got 5 lines"):
        hellaswag([bz2.compress(b"a: b\n1\nc\nd\ne\n")], Wanted(100))
    with pytest.raises(ValueError, match="expected six lines"):
        hellaswag([bz2.compress(b"a" * 10_000_000 + b"\n" * 6)], Wanted(100))
    with pytest.raises((ValueError, OSError)):
        hellaswag([b"no bzip2"], Wanted(100))


def test_multimwp_answers_are_made_of_the_shared_questions(data_file):
    file = catalogue.data_set("multimwp").files[-1]
    originals = [data_file(original.path).read_bytes() for original in file.originals]
    assert multimwp_answers(originals, Wanted(file.size)) == data_file(file.path).read_bytes()
    with pytest.raises(ValueError, match="zip"):
        multimwp_answers([b"a", b"a\nb", b"x = 1"], Wanted(1))


NUMBERS = (st.integers(0, 10**6) | st.decimals(0, 99, places=2)).map(
    lambda number: (str(number), Fraction(number))
)
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def joined(parts):
    """Two sums and a sign as one sum: how it is written, and what it is."""
    (left, a), sign, (right, b) = parts
    return f"({left} {sign} {right})", OPERATIONS[sign](a, b)


SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from(list(OPERATIONS)), inner).map(joined),
    max_leaves=8,
)


@given(SUMS)
def test_an_equation_is_worked_out_exactly(case):
    text, value = case
    assert worked_out(f"x = {text}") == (int(value) if value.denominator == 1 else float(value))


@given(st.text("0123456789.()+*/ -xy=", max_size=60))
def test_no_equation_breaks_it(text):
    found = worked_out("x = " + text)
    assert found is None or isinstance(found, int | float)


@pytest.mark.parametrize("text", ["x = 2 ** 9", "x = 1 / 0", "x = (", "y = 1", "x = 1" + "0" * 300])
def test_what_is_no_such_equation_has_no_answer(text):
    assert worked_out(text) is None
