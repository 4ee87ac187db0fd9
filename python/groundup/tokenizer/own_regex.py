"""A regex of one's own: judged before it is compiled, and timed while it matches.

The `regex` module writes bounded repeats out when it compiles ("((a{999}){999}){999}" asks for
gigabytes), recursion need not come to an end, and backtracking can take time exponential in the
text. A pattern comes out of a file as often as from the user, so each of these is a ValueError
in a sentence before it costs memory or more than a moment.
"""

import functools

import regex

MAX_CHARACTERS = 1 << 14
MAX_ITEMS = 1 << 16  # of the pattern with its repeats written out
_LEAST_SECONDS = 0.5
_SECONDS_PER_CHARACTER = 1e-5  # splitting takes about a hundredth of it

# What is one item of a pattern, longest forms first. A class ends at the first "]" that is
# neither escaped nor its first character; a class within a class only makes more items.
_ITEM = regex.compile(
    r"""
    (?P<call>\(\?(?:R|[+-]?\d+|&\w+|P>\w+)\))
  | (?P<open>\((?:\?(?:\#[^)]*|P?<\w+>|<?[=!]|[|:>]|[\w-]*:)?)?)
  | (?P<close>\))
  | (?P<repeat>\{(?P<least>\d*)(?:(?P<comma>,)(?P<most>\d*))?\})
  | \\[pPNxLgk](?:\{[^}]*\}|<[^>]*>)
  | \\.
  | \[\^?\]?(?:\\.|[^\]\\])*\]
  | .
    """,
    regex.VERBOSE | regex.DOTALL,
)


def check_size(pattern: str) -> None:
    """ValueError for a pattern that would take too much to compile, or that calls itself."""
    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(
            f"pattern: expected at most {MAX_CHARACTERS} characters, got {len(pattern)}."
        )
    groups = [0]  # the items of each group that is open, the whole pattern first
    last = 0  # of them, those that a repeat would repeat
    for item in _ITEM.finditer(pattern):
        if item["call"]:
            raise ValueError(
                f"pattern: {_shown(pattern)} calls a group again by {item['call']}, which need "
                "not come to an end; write the group out."
            )
        if item["open"]:
            groups.append(0)
            last = 0
            continue
        if item["close"]:
            last = 1 + (groups.pop() if len(groups) > 1 else 0)
        elif item["repeat"] and (item["least"] or item["most"]):
            times = max(int(item[name][:9]) for name in ("least", "most") if item[name])
            groups[-1] -= last
            last *= times
        else:
            last = 1
        groups[-1] += last
        if groups[-1] > MAX_ITEMS:
            raise ValueError(
                f"pattern: {_shown(pattern)} repeats its parts more than {MAX_ITEMS} times in "
                "all; use smaller counts, or + and * where any number will do."
            )


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else pattern[:57] + "...")


@functools.lru_cache(maxsize=64)
def compiled(pattern: str) -> "regex.Pattern[str]":
    """The pattern, ready to match. ValueError in a sentence where it is none, or too large."""
    check_size(pattern)
    try:
        found = regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern: {_shown(pattern)} is no regular expression: {error}.") from None
    if found.flags & regex.REVERSE:
        raise ValueError(
            f"pattern: {_shown(pattern)} reads from right to left; text is cut from left to right, "
            "so leave out (?r)."
        )
    return found


def split(text: str, pattern: str) -> list[bytes]:
    """The chunks of `text`; what the pattern does not match makes chunks too.

    ValueError when matching takes a hundred times what splitting takes, which backtracking does.
    """
    seconds = _LEAST_SECONDS + _SECONDS_PER_CHARACTER * len(text)
    chunks: list[bytes] = []
    seen = 0
    try:
        for match in compiled(pattern).finditer(text, timeout=seconds):
            chunks += [text[seen : match.start()].encode(), match.group().encode()]
            seen = match.end()
    except TimeoutError:
        raise ValueError(
            f"pattern: {_shown(pattern)} tries too many ways to match: {seconds:.1f} s were not "
            f"enough for {len(text)} characters; make its repeats exclude one another or "
            "possessive, as in (?>a+)b."
        ) from None
    chunks.append(text[seen:].encode())
    return [chunk for chunk in chunks if chunk]
