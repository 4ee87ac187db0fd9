"""Special tokens: marks that stand for no text, and the rule for text that spells one out.

As in tiktoken: a special token found in text is an error unless it is allowed (then it becomes
its id) or no longer disallowed (then it is ordinary text). Where two could start at one place,
the longer wins.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

import regex

AllowedSpecial = Literal["all"] | Collection[str]
DisallowedSpecial = Literal["all"] | Collection[str]


class SpecialTokens:
    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        self.names = frozenset(ids)

    def allowed_in(
        self, text: str, allowed: AllowedSpecial, disallowed: DisallowedSpecial
    ) -> frozenset[str]:
        """The special tokens that are to become ids in `text`.

        ValueError when `text` holds a disallowed one. As in tiktoken, allowing an unknown name
        does nothing, and any text can be disallowed.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected str, got {type(text).__name__}.")
        if not self.names and disallowed == "all" and allowed is not None and not allowed:
            return self.names
        permitted = (
            self.names if allowed == "all" else self.names & _names(allowed, "allowed_special")
        )
        forbidden = (
            self.names - permitted
            if disallowed == "all"
            else _names(disallowed, "disallowed_special")
        )
        if forbidden and (found := first_in(text, forbidden)) is not None:
            raise ValueError(
                f"text: holds {found!r}, a disallowed special token. To make it one token, pass "
                f"allowed_special={{{found!r}}}. To encode it as ordinary text, pass "
                f"disallowed_special=() or a set without it."
            )
        return permitted

    def pieces(self, text: str, allowed: frozenset[str]) -> Iterator[tuple[str, int | None]]:
        """`text` cut at its special tokens: (ordinary text, None) and (name, id) in order."""
        seen = 0
        if allowed:
            for match in _finder(allowed).finditer(text):
                if match.start() > seen:
                    yield text[seen : match.start()], None
                yield match.group(), self.ids[match.group()]
                seen = match.end()
        if seen < len(text):
            yield text[seen:], None

    def sought(self, disallowed: DisallowedSpecial) -> frozenset[str]:
        """What a cut must not part: the special tokens and whatever else is disallowed."""
        if disallowed == "all":
            return self.names
        return self.names | _names(disallowed, "disallowed_special")


def around(names: frozenset[str], text: str, cut: int) -> int | None:
    """Where one of `names` starts, whole or as far as `text` goes, that `cut` would part."""
    for name in names:
        for start in range(max(0, cut - len(name) + 1), cut):
            if name.startswith(text[start : start + len(name)]):
                return start
    return None


def first_in(text: str, names: frozenset[str]) -> str | None:
    """The first of `names` that stands in `text`."""
    # str.find is several times faster than a regular expression, as long as there are few.
    if len(names) <= 8 and not any(name in text for name in names):
        return None
    match = _finder(names).search(text)
    return match.group() if match else None


@lru_cache(maxsize=64)
def _finder(names: frozenset[str]) -> "regex.Pattern[str]":
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return regex.compile("|".join(map(regex.escape, longest_first)))


def _names(names: Collection[str], argument: str) -> frozenset[str]:
    if not names and isinstance(names, frozenset | set | tuple | list):
        return frozenset()
    if isinstance(names, str):
        raise ValueError(f'{argument}: expected "all" or a set of names, got the text {names!r}.')
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{argument}: expected "all" or a set of names, got {names!r:.60}.')
    return frozenset(names)
