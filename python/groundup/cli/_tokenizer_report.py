"""`groundup tokenizer report`."""

import itertools
import json as json_format
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundup.cli._tokenizer_files import open_any

if TYPE_CHECKING:
    from groundup.tokenizer import Tokenizer


def report(
    tokenizer: Annotated[str, tyro.conf.Positional],
    /,
    *,
    merges: int = 20,
    json: bool = False,
) -> int:
    """Show what a vocabulary holds, and its merges in the order in which they were learned.

    Example: groundup tokenizer report tokenizer.json --merges 100

    Args:
        tokenizer: a file of ours, a tokenizer.json, a .model file, or RANKS.tiktoken:PATTERN
        merges: how many of the first merges to list, each with how often its pair occurred and
            a piece of the training text that holds it; -1 for all
        json: print one line of JSON a merge, with nothing else
    """
    tok = open_any(tokenizer)
    rows = tok.explain_merges()
    listed = itertools.islice(rows, len(tok.merges) if merges < 0 else merges)
    if json:
        for merge, seen_in in listed:
            told: dict[str, Any] = {
                "rank": merge.rank,
                "id": merge.id,
                "left": merge.left.decode(errors="backslashreplace"),
                "right": merge.right.decode(errors="backslashreplace"),
                "token": merge.token.decode(errors="backslashreplace"),
                "count": merge.count,
                "seen_in": seen_in,
            }
            print(json_format.dumps(told, ensure_ascii=False))
        return 0
    print("\n".join(_summary(tok)))
    for merge, seen_in in listed:
        print(f"{merge}" + ("" if seen_in is None else f", seen in {seen_in!r}"))
    return 0


def _summary(tok: "Tokenizer") -> list[str]:
    tokens = [token for token in tok.token_byte_values() if token]
    kinds = Counter(map(_kind, tokens))
    marks = sum(_begins_with_mark(token) for token in tokens)
    specials = ", ".join(sorted(tok.special_tokens)) or "none"
    shares = ", ".join(f"{kind} {count / len(tokens):.1%}" for kind, count in kinds.most_common())
    return [
        f"{tok.n_vocab:,} ids, {len(tok.merges):,} merges; pattern {tok.pattern:.60}; "
        f"special tokens: {specials:.200}",
        f"tokens by their first letter: {shares}",
        f"{marks / len(tokens):.1%} begin with a combining mark, cut from the letter before it",
    ]


def _kind(token: bytes) -> str:
    """The script of the first letter, as its Unicode name begins, or what stands there instead."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "parts of letters"
    text = text.strip()
    if not text:
        return "white space"
    if text[0].isdecimal():
        return "digits"
    if text[0].isalpha() or unicodedata.category(text[0]).startswith("M"):
        return unicodedata.name(text[0], "unnamed").split(" ")[0].capitalize()
    return "signs"


def _begins_with_mark(token: bytes) -> bool:
    text = token.decode(errors="ignore")
    return bool(text) and unicodedata.category(text[0]).startswith("M")
