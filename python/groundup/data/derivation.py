"""Texts that are made from published files: the same bytes each time, checked by their SHA-256.

Some texts are not published as a lesson reads them: a book stands between a licence's header and
footer, questions without their answers. The catalogue names what each is made from and the function
here that makes it. Nothing here fetches; a function takes the originals' bytes and returns the
text's.
"""

import ast
import bz2
import json
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple


class Wanted(NamedTuple):
    """What the catalogue says of a text to be made: its size in bytes, and for a passage of an
    original how it begins and the original's encoding."""

    size: int
    begins: str = ""
    encoding: str = "utf-8-sig"


def passage(originals: Sequence[bytes], wanted: Wanted) -> bytes:
    """The `wanted.size` bytes of an original from where it begins as told, as UTF-8 with \\n.

    Project Gutenberg's books: what stands between its header and its licence.
    """
    (original,) = originals
    text = original.decode(wanted.encoding).replace("\r\n", "\n")
    at = text.find(wanted.begins)
    if at < 0:
        raise ValueError(f"expected a text that holds {wanted.begins[:40]!r}")
    return text[at:].encode()[: wanted.size]


def hellaswag(originals: Sequence[bytes], wanted: Wanted) -> bytes:
    """HellaSwag's questions as JSON lines, from bzip2 of six lines each.

    The six are "activity: context", the right ending's number, and four endings.
    """
    (original,) = originals
    # A little bzip2 can hold a lot of text: no more is unpacked than the result can need.
    text = bz2.BZ2Decompressor().decompress(original, max_length=2 * wanted.size).decode()
    lines = text.split("\n")[:-1]
    if not lines or len(lines) % 6:
        raise ValueError(f"expected six lines a question, got {len(lines)} lines")
    rows = []
    for at in range(0, len(lines), 6):
        activity, _, context = lines[at].partition(": ")
        row = {
            "ind": at // 6,
            "activity_label": activity,
            "ctx": context,
            "label": int(lines[at + 1]),
            "endings": lines[at + 2 : at + 6],
        }
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(rows).encode()


def multimwp_answers(originals: Sequence[bytes], wanted: Wanted) -> bytes:
    """MultiMWP's simple word problems with their answers, as JSON lines.

    From its Hindi, English and equations, a problem a line. The answer is worked out from the
    equation; null where that does not say what x is in numbers alone.
    """
    hindi, english, equations = (
        [line.strip() for line in original.decode().split("\n")] for original in originals
    )
    rows = []
    for number, (hi, en, equation) in enumerate(zip(hindi, english, equations, strict=True)):
        row = {
            "id": f"s{number}",
            "hi": hi,
            "en": en,
            "equation": equation,
            "answer": worked_out(equation),
        }
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(rows).encode()


def worked_out(equation: str) -> int | float | None:
    """x of "x = 3 * (4 + .5)", exactly; None for anything else.

    >>> worked_out("x = 0.7 - 0.6"), worked_out("x = 10 / 4 * 2"), worked_out("x = y + 1")
    (0.1, 5, None)
    """
    found = re.fullmatch(r"[xX] = ([0-9.()+*/ -]+)", equation)
    if found is None or len(equation) > 200:
        return None
    # Python reads no 05.
    plain = re.sub(r"(?<![\d.])0+(?=\d)", "", found[1])
    try:
        value = _value(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None
    return int(value) if value.denominator == 1 else float(value)


_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    raise ValueError("expected numbers and + - * /")


Derivation = Callable[[Sequence[bytes], Wanted], bytes]
DERIVATIONS: dict[str, Derivation] = {
    "passage": passage,
    "hellaswag": hellaswag,
    "multimwp_answers": multimwp_answers,
}
