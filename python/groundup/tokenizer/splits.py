"""tiktoken's rule as a list of merges.

Any two neighbours whose bytes together are a token may merge, the lowest id first: listing each
way to cut each token in two says the same, and then one encoder serves both kinds of vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from groundup.tokenizer.engine import native_core
from groundup.tokenizer.vocabulary import Merges

_GIANT_BYTES = 1024  # the native search tries every cut of a token, which costs its length squared


def all_splits(tokens: Sequence[bytes]) -> Merges:
    """Every (left, right, id) such that tokens[left] + tokens[right] == tokens[id], by id."""
    core = native_core()
    if core is not None and max(map(len, tokens), default=0) <= _GIANT_BYTES:
        native: Merges = core.bpe_splits(tokens)
        return native
    ids = {token: i for i, token in reversed([*enumerate(tokens)]) if token}
    lengths = sorted(set(map(len, ids)))
    is_length = set(lengths)
    rows: list[int] = []
    for new, token in enumerate(tokens):
        for cut in lengths:
            if cut >= len(token):
                break
            if len(token) - cut not in is_length:  # of a giant token few cuts can be two tokens
                continue
            right = ids.get(token[cut:])
            if right is not None and (left := ids.get(token[:cut])) is not None:
                rows += (left, right, new)
    return np.array(rows, dtype=np.uint32).reshape(-1, 3)
