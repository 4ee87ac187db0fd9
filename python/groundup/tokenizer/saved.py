"""The tokenizer's own file: JSON with a format version, one merge a line.

A trained vocabulary is its merges, [left, right, new id, count]; tokens follow from them. One
made of ranks, as tiktoken's, is its tokens in base64, by id; merges follow from those. Others
have both. Version 2 has code points as its base: a trained one's alphabet, whose ids follow those
of the bytes, or tokens. Saving what was loaded gives the same bytes.
"""

import base64
import binascii
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup._files import write_atomic
from groundup.reference.bpe import TIES
from groundup.tokenizer.engine import native_core
from groundup.tokenizer.patterns import Pattern, read_pattern
from groundup.tokenizer.reading import expect, expect_id, parse_json, read_file
from groundup.tokenizer.splits import all_splits
from groundup.tokenizer.vocabulary import (
    Merges,
    Training,
    Vocabulary,
    checked,
    tokens_of_merges,
)

Counts = NDArray[np.uint64]

FORMAT = "groundup.tokenizer"
VERSIONS = {"bytes": 1, "code points": 2}  # by base; each writes the oldest that can say it
_SEEN, _SEEN_END = b',\n "seen": {', b"\n }"
_MERGES = b',\n "merges": ['  # the last field; no line end stands in a JSON text

_decoded = functools.partial(binascii.a2b_base64, strict_mode=True)


def save(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    write_atomic(path, _written(vocabulary).encode())


def _written(vocabulary: Vocabulary) -> str:
    pattern, training = vocabulary.pattern, vocabulary.training
    fields: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSIONS[vocabulary.base],
        "base": vocabulary.base,
        "pattern": {"name": pattern.name} if pattern.name else {"regex": pattern.regex},
        "special_tokens": dict(sorted(vocabulary.specials.items(), key=lambda item: item[1])),
        "whole_chunks": vocabulary.whole_chunks,
    }
    if training is not None:
        fields["ties"] = training.ties
        fields["min_frequency"] = training.min_frequency
        fields["seen"] = {str(i): text for i, text in sorted(training.seen.items())}
    if not _follow_from_merges(vocabulary):
        fields["tokens"] = [base64.b64encode(token).decode() for token in vocabulary.tokens]
    elif vocabulary.base == "code points":
        fields["alphabet"] = "".join(vocabulary.alphabet)
    if vocabulary.decode_only:
        spelled = sorted(vocabulary.decode_only.items())
        fields["decode_only"] = {str(i): base64.b64encode(token).decode() for i, token in spelled}
    rows = vocabulary.merges.tolist()
    if training is not None:
        counts = training.counts.tolist()
        rows = [[*row, count] for row, count in zip(rows, counts, strict=True)]
    head = json.dumps(fields, ensure_ascii=False, indent=1)
    if _follows_from_tokens(vocabulary):
        return head + "\n"
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    body = f"[\n  {lines}\n ]" if rows else "[]"
    return f'{head[:-2]},\n "merges": {body}\n}}\n'


def _follows_from_tokens(vocabulary: Vocabulary) -> bool:
    return (
        vocabulary.whole_chunks
        and vocabulary.base == "bytes"
        and np.array_equal(vocabulary.merges, all_splits(vocabulary.tokens, "save"))
    )


def _follow_from_merges(vocabulary: Vocabulary) -> bool:
    """Whether the merges, and the alphabet, tell the tokens."""
    if _follows_from_tokens(vocabulary):
        return False
    try:
        made = tokens_of_merges(vocabulary.merges, "", vocabulary.alphabet)
    except ValueError:
        return False
    return made == list(vocabulary.tokens)


def load(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary in a file that `save` wrote. ValueError for anything else."""
    source = str(path)
    fields = _read(read_file(path), source)
    if fields.get("format") != FORMAT:
        raise ValueError(
            f'{source}: expected "format": "{FORMAT}", got {fields.get("format")!r}; for '
            "tokenizer.json use Tokenizer.from_hf, for a .tiktoken file Tokenizer.from_tiktoken."
        )
    version = expect(fields.get("version"), int, source, "version")
    newest = max(VERSIONS.values())
    if not 1 <= version <= newest:
        raise ValueError(
            f"{source}: expected a format version from 1 to {newest}, got {str(version)[:24]}; "
            "install a groundup that knows it."
        )
    bases = [base for base, since in VERSIONS.items() if since <= version]
    if fields.get("base") not in bases:
        expected = " or ".join(f'"{base}"' for base in bases)
        raise ValueError(
            f'{source}: expected "base": {expected}, got {str(fields.get("base"))[:60]!r}.'
        )
    whole_chunks = expect(fields.get("whole_chunks"), bool, source, "whole_chunks")
    specials = {
        name: expect_id(i, source, f"the id of {name!r}")
        for name, i in expect(fields.get("special_tokens"), dict, source, "special_tokens").items()
    }
    listed = _tokens(fields, source)
    alphabet = _alphabet(fields, source)
    counts: Counts | None = None
    if "merges" in fields:
        merges, counts = _merges(fields, source)
        tokens = tokens_of_merges(merges, source, alphabet) if listed is None else listed
    elif listed is not None and whole_chunks:
        tokens, merges = listed, all_splits(listed, source)
    else:
        raise ValueError(f"{source}: expected merges, or tokens with whole_chunks; got neither.")
    vocabulary = Vocabulary(
        tokens,
        merges,
        _pattern(fields, source),
        specials,
        whole_chunks,
        _training(fields, counts, len(tokens), source),
        fields["base"],
        _decode_only(fields, tokens, source),
    )
    checked(vocabulary, source)
    if listed is not None and "merges" in fields:
        _check_products(vocabulary, source)
    return vocabulary


class Unread(Mapping[int, str]):
    """What was seen of each token, judged but not read before something asks: few programs do."""

    def __init__(self, between: str, last: int) -> None:
        self._between = between
        self.last = last  # the largest token, -1 for none

    @functools.cached_property
    def _read(self) -> dict[int, str]:
        return {int(i): text for i, text in json.loads(f"{{{self._between}}}").items()}

    def __getitem__(self, i: int) -> str:
        return self._read[i]

    def __iter__(self) -> Iterator[int]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def _read(contents: bytes, source: str) -> dict[str, Any]:
    """The fields; of a file as `save` writes them, the merges as arrays, read natively.

    What the native reader refuses is read again by `json`, which says what is wrong or that
    nothing is: the same file in another layout.
    """
    core = native_core()
    head, found, _ = contents.partition(_MERGES)
    if core is not None and found:
        before, seen, after = head.partition(_SEEN)
        between, closed, after = after.partition(_SEEN_END)
        try:
            fields = parse_json(before + after + b"}", source)
            texts = between.decode()
        except ValueError:  # UnicodeDecodeError is one
            fields = {"merges": None}
        last = core.bpe_last_seen(between)
        is_ours = fields.keys().isdisjoint(("merges", "seen")) and bool(seen) == bool(closed)
        if is_ours and last > -2:
            if seen:
                fields["seen"] = Unread(texts, last)
            width = 4 if "ties" in fields else 3
            rows = core.bpe_read_rows(contents, len(head) + len(_MERGES), width)
            if rows is not None:
                return fields | {"merges": rows}
    return parse_json(contents, source)


def _pattern(fields: dict[str, Any], source: str) -> Pattern:
    pattern = expect(fields.get("pattern"), dict, source, "pattern")
    named = pattern.get("name", pattern.get("regex"))
    spelled: str = expect(named, str, source, "the pattern's name or regex")
    found = read_pattern(spelled, source)
    if "name" in pattern and found.name != spelled:
        raise ValueError(f"{source}: it knows no pattern of the name {spelled[:60]!r}.")
    return found


def _tokens(fields: dict[str, Any], source: str) -> list[bytes] | None:
    if "tokens" not in fields:
        return None
    spelled: list[Any] = expect(fields["tokens"], list, source, "tokens")
    try:  # all at once; what fails is read again, one by one, to say which
        return list(map(_decoded, spelled))
    except (ValueError, TypeError):
        pass
    tokens: list[bytes] = []
    for i, token in enumerate(spelled):
        text = expect(token, str, source, f"token {i}")
        try:
            tokens.append(_decoded(text))
        except ValueError as error:
            raise ValueError(f"{source}: token {i} is no base64: {error}.") from None
    return tokens


def _alphabet(fields: dict[str, Any], source: str) -> list[str]:
    if "alphabet" not in fields:
        return []
    alphabet = list(expect(fields["alphabet"], str, source, "alphabet"))
    if fields["base"] != "code points" or "tokens" in fields:
        raise ValueError(
            f"{source}: expected an alphabet where the base is code points and no tokens are "
            "listed, and only there."
        )
    for character in alphabet:
        if character.isascii() or "\ud800" <= character <= "\udfff":
            raise ValueError(
                f"{source}: expected an alphabet of characters beyond ASCII, got {character!r}."
            )
    if len(set(alphabet)) < len(alphabet):
        raise ValueError(f"{source}: its alphabet has a character twice.")
    return alphabet


def _merges(fields: dict[str, Any], source: str) -> tuple[Merges, Counts | None]:
    width = 4 if "ties" in fields else 3
    if isinstance(fields["merges"], tuple):
        merges, counts = fields["merges"]
        return merges, counts if width == 4 else None
    rows: list[Any] = expect(fields["merges"], list, source, "merges")
    for number, row in enumerate(rows):
        if (
            not isinstance(row, list)
            or len(row) != width
            or not all(type(n) is int for n in row)
            or not 0 <= min(row) <= max(row[:3]) < 1 << 24
            or row[-1] >= 1 << 64
        ):
            shown = ("left", "right", "new id", "count")[:width]
            raise ValueError(
                f"{source}: expected merge {number} to be [{', '.join(shown)}], got "
                f"{repr(row)[:60]}."
            )
    merges = np.array([row[:3] for row in rows], dtype=np.uint32).reshape(-1, 3)
    if width == 3:
        return merges, None
    return merges, np.array([row[3] for row in rows], dtype=np.uint64)


def _decode_only(fields: dict[str, Any], tokens: list[bytes], source: str) -> dict[int, bytes]:
    if fields["base"] == "bytes":
        return {}
    known: dict[int, bytes] = {}
    for key, spelled in expect(fields.get("decode_only", {}), dict, source, "decode_only").items():
        if not re.fullmatch("[0-9]{1,8}", key) or int(key) >= len(tokens):
            raise ValueError(f"{source}: expected decode_only to go by token, got {key[:60]!r}.")
        text = expect(spelled, str, source, f"the token {key}")
        try:
            known[int(key)] = _decoded(text)
        except ValueError as error:
            raise ValueError(f"{source}: token {key} is no base64: {error}.") from None
    return known


def _training(
    fields: dict[str, Any], counts: Counts | None, n_tokens: int, source: str
) -> Training | None:
    if counts is None:
        return None
    ties = expect(fields.get("ties"), str, source, "ties")
    if ties not in TIES:
        raise ValueError(f"{source}: expected ties to be one of {TIES}, got {ties[:60]!r}.")
    seen = fields.get("seen", {})
    if not isinstance(seen, Unread):
        seen = _seen(expect(seen, dict, source, "seen"), n_tokens, source)
    elif seen.last >= n_tokens:
        raise ValueError(f"{source}: expected seen to go by token, got {str(seen.last)!r}.")
    frequency = expect(fields.get("min_frequency"), int, source, "min_frequency")
    return Training(counts, ties, frequency, seen)


def _seen(spelled: dict[str, Any], n_tokens: int, source: str) -> dict[int, str]:
    """What was seen of each token: all judged at once, and one by one to say which is amiss."""
    keys, texts = list(spelled), list(spelled.values())
    joined = "".join(keys)
    if joined.isascii() and all(map(str.isdecimal, keys)) and max(map(len, keys), default=0) <= 8:
        seen = dict(zip(map(int, keys), texts, strict=True))
        try:
            "".join(texts).encode()
        except (TypeError, UnicodeEncodeError):
            pass
        else:
            if max(seen, default=-1) < n_tokens:
                return seen
    for key, text in spelled.items():
        if not re.fullmatch("[0-9]{1,8}", key) or int(key) >= n_tokens:
            raise ValueError(f"{source}: expected seen to go by token, got {key[:60]!r}.")
        expect(text, str, source, f"what was seen of {key}")
    raise AssertionError("what was seen is amiss all at once, but not one by one")


def _check_products(vocabulary: Vocabulary, source: str) -> None:
    tokens = vocabulary.tokens
    for number, (left, right, new) in enumerate(vocabulary.merges.tolist()):
        if not tokens[left] or not tokens[right] or tokens[left] + tokens[right] != tokens[new]:
            raise ValueError(
                f"{source}: merge {number} joins {tokens[left]!r} and {tokens[right]!r}, which "
                f"does not give its token {new}, {tokens[new]!r}."
            )
