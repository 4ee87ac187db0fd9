"""Text as it arrives: ids decoded one at a time, and long text encoded a piece at a time."""

import codecs
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import SupportsIndex

import regex
from numpy.typing import ArrayLike

from groundup.tokenizer.specials import around

# A place where a chunk ends whatever follows, in every built-in pattern: before a space that
# follows no white space, or before a line end that follows a letter. The letters are those that
# every version of Unicode calls so.
_LETTER = r"[A-Za-z\u0904-\u0939\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3]"
_CUT = regex.compile(rf"(?<=[^\s\x1c-\x1f])(?= )|(?<={_LETTER})(?=\n)")
_PIECE_CHARACTERS = 1 << 16


class StreamDecoder:
    """Turns ids into text as they come, never half a character.

    `decode(id)` returns the text that is complete by now, often ""; `finish()` returns what
    is left, with U+FFFD for a character that was never completed, and starts afresh. The parts
    joined are what `Tokenizer.decode` gives for all ids at once.
    """

    def __init__(self, decode_bytes: Callable[[ArrayLike], bytes], errors: str) -> None:
        self._decode_bytes = decode_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors)

    def decode(self, ids: SupportsIndex | Iterable[int]) -> str:
        """The text completed by one more id, also NumPy's and torch's, or by several."""
        try:
            more = [operator.index(ids)]  # type: ignore[arg-type]
        except TypeError:
            more = ids  # type: ignore[assignment]
        return self._utf8.decode(self._decode_bytes(more))

    def finish(self) -> str:
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


def encodable_parts(texts: Iterable[str], can_cut: bool, sought: frozenset[str]) -> Iterator[str]:
    """The joined `texts` again, in parts that encode on their own to the same ids.

    can_cut   whether the pattern is one for which a cut is known to be safe; otherwise the whole
              text becomes one part
    sought    what no cut must part, such as special tokens
    """
    waiting: list[str] = []
    n_waiting = 0
    n_wanted = _PIECE_CHARACTERS
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"texts: expected str, got {type(text).__name__}.")
        waiting.append(text)
        n_waiting += len(text)
        if not can_cut or n_waiting < n_wanted:
            continue
        joined = "".join(waiting)
        cut = _last_cut(joined, len(joined) - 1)
        while cut > 0 and (start := around(sought, joined, cut)) is not None:
            cut = _last_cut(joined, start)
        if cut > 0:
            yield joined[:cut]
            joined = joined[cut:]
        waiting = [joined]
        n_waiting = len(joined)
        n_wanted = 2 * max(n_waiting, _PIECE_CHARACTERS // 2)  # text without a cut stays linear
    yield "".join(waiting)


def _last_cut(text: str, limit: int) -> int:
    """The last safe cut up to `limit`, or 0."""
    end = limit + 1  # the space or line end after a cut must be in sight
    while end > 1:
        begin = max(0, end - 4096)
        cut = max((match.start() for match in _CUT.finditer(text, begin, end)), default=0)
        if cut > 0:
            return cut
        end = begin + 1
    return 0
