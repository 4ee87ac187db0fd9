"""tiktoken's rule as a list of merges.

Any two neighbours whose bytes together are a token may merge, the lowest id first: listing each
way to cut each token in two says the same, and then one encoder serves both kinds of vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from groundup.tokenizer.engine import native_core
from groundup.tokenizer.vocabulary import Merges

_MAX_TRIED_BYTES = 1 << 30


def all_splits(tokens: Sequence[bytes], source: str) -> Merges:
    """Every (left, right, id) such that tokens[left] + tokens[right] == tokens[id], by id.

    ValueError for tokens of which so many are made of so many that they were meant to be.
    """
    core = native_core()
    if core is not None:
        try:
            native: Merges = core.bpe_splits(tokens)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        return native
    ids = {token: i for i, token in reversed([*enumerate(tokens)]) if token}
    lengths = sorted(set(map(len, ids)))
    is_length = set(lengths)
    rows: list[int] = []
    n_tried_bytes = 0
    for new, token in enumerate(tokens):
        for cut in lengths:
            if cut >= len(token):
                break
            if len(token) - cut not in is_length:  # of a giant token few cuts can be two tokens
                continue
            n_tried_bytes += len(token)
            right = ids.get(token[cut:])
            if right is not None and (left := ids.get(token[:cut])) is not None:
                rows += (left, right, new)
        if n_tried_bytes > _MAX_TRIED_BYTES:
            raise ValueError(
                f"{source}: tokens: expected ways to cut tokens into two tokens of 2^30 bytes in "
                "all at most, got more; such tokens repeat each other and are no vocabulary of a "
                "text."
            )
    return np.array(rows, dtype=np.uint32).reshape(-1, 3)
