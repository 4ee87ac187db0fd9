"""The merges of a chunk one after the other, kept as trees, for explanations.

The lowest rank goes first and of equals the leftmost, as in the encoder; a heap finds it, so
that n bytes cost O(n log n).
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from groundup.tokenizer.vocabulary import Vocabulary


@dataclass(slots=True, eq=False)
class Node:
    """A token in a chunk: a byte, or what row `row` of the merges made of two others."""

    id: int
    row: int = -1
    parts: tuple["Node", ...] = ()


class Tracer:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.ids = {token: i for i, token in reversed([*enumerate(vocabulary.tokens)]) if token}
        self._bytes = [self.ids[bytes([byte])] for byte in range(256)]
        rows = vocabulary.merges
        # Without whole_chunks a row is its own rank; with it the ways to cut one token share one.
        shared = np.diff(rows[:, 2], prepend=rows[:1, 2] + 1) != 0
        ranks = np.cumsum(shared) - 1 if vocabulary.whole_chunks else np.arange(len(rows))
        self.ranks: list[int] = ranks.tolist()
        self._rows = rows.tolist()
        self._rules = {(left, right): row for row, (left, right, _) in enumerate(self._rows)}

    @cached_property
    def _n_rows(self) -> Counter[int]:
        return Counter(new for _, _, new in self._rows)

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {new: row for row, (_, _, new) in enumerate(self._rows)}

    def untraced(self, i: int) -> Node:
        """Token `i` and the two that the only row of its own joins; without parts if it has more.

        What training merged is so; among rows of ranks only a trace tells which one fires.
        """
        if self._n_rows[i] != 1:
            return Node(i)
        row = self._row_of[i]
        left, right, _ = self._rows[row]
        return Node(i, row, (Node(left), Node(right)))

    def trace(self, chunk: bytes) -> tuple[list[Node], list[Node]]:
        """What became of `chunk`, left to right, and each merge's product as they fired."""
        nodes: list[Node | None] = [Node(self._bytes[byte]) for byte in chunk]
        after = list(range(1, len(nodes) + 1))
        before = list(range(-1, len(nodes) - 1))
        waiting: list[tuple[int, int, int, Node, Node]] = []

        def wait(at: int) -> None:
            left, right = nodes[at], nodes[after[at]]
            assert left is not None, "a place that waits holds a token"
            assert right is not None, "and so does the next one"
            row = self._rules.get((left.id, right.id))
            if row is not None:
                # A place waits once with one row, so that nodes are never compared.
                heapq.heappush(waiting, (self.ranks[row], at, row, left, right))

        for at in range(len(nodes) - 1):
            wait(at)
        fired: list[Node] = []
        while waiting:
            _, at, row, left, right = heapq.heappop(waiting)
            gone = after[at]
            if nodes[at] is not left or gone == len(nodes) or nodes[gone] is not right:
                continue  # one of the two has been merged meanwhile
            made = Node(self._rows[row][2], row, (left, right))
            fired.append(made)
            nodes[at], nodes[gone] = made, None
            after[at] = after[gone]
            if after[at] < len(nodes):
                before[after[at]] = at
                wait(at)
            if at > 0:
                wait(before[at])
        return [node for node in nodes if node is not None], fired
