"""Why a token is a token, and why a text becomes these tokens.

A token is explained by its tree: the two parts it was merged from, theirs, down to bytes, each
with its rank and, when the tokenizer was trained here, how often the pair occurred when it was
merged and a piece of the text it was seen in. A text is explained by its merges in the order in
which they fired.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from groundup.tokenizer.code_points import by_bytes
from groundup.tokenizer.encoders import Encoder
from groundup.tokenizer.engine import Chunks
from groundup.tokenizer.trace import Node, Tracer
from groundup.tokenizer.vocabulary import N_BYTES, Vocabulary, is_wide_character

MAX_SEEN_BYTES = 64
MAX_SEEN_CHUNKS = 1 << 19  # the most frequent of the text: a tuple for each takes memory
MAX_SHOWN_BYTES = 256
# A token of one letter repeated can be a chain of any length, or a tree of any size.
MAX_DEPTH = 100
MAX_TREE = 2048  # tokens
MAX_TRACED_BYTES = 1 << 16  # in one explanation


def shown(token: bytes) -> str:
    """A token for reading: its text in quotes, or its bytes where that is no text.

    Of one longer than MAX_SHOWN_BYTES the beginning, and how long it is.
    """
    if len(token) > MAX_SHOWN_BYTES:
        begin = token[:MAX_SHOWN_BYTES]
        whole = begin.decode(errors="ignore").encode() or begin  # not half a character
        return f"{shown(whole)}… ({len(token)} bytes)"
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "⟨" + " ".join(f"{byte:02x}" for byte in token) + "⟩"
    return repr(text) if text.isprintable() else ascii(text)


@dataclass(frozen=True)
class Merge:
    """One merge: which it is in the order of training, and what training saw of it."""

    left: bytes
    right: bytes
    token: bytes
    id: int
    rank: int  # 0 for the first merge learned; for imported ranks, the id's place among them
    count: int | None  # occurrences of the pair when it was merged, if trained here

    def __str__(self) -> str:
        seen = "" if self.count is None else f", {self.count} times"
        return (
            f"{shown(self.left)} + {shown(self.right)} = {shown(self.token)}  "
            f"(id {self.id}, merge {self.rank}{seen})"
        )


@dataclass(frozen=True)
class TokenExplanation:
    id: int
    token: bytes
    special: bool
    merge: Merge | None  # None for a byte and for a special token
    parts: tuple["TokenExplanation", ...]  # two, or none
    seen_in: str | None  # a chunk of the training text that holds the token, the most frequent

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        line = f"{indent}{shown(self.token)}  id {self.id}"
        if self.special:
            line += ", special: stands for itself, never merged"
        elif self.merge is None:
            if is_wide_character(self.token):
                line += ", a character"
            else:
                line += ", a byte" if len(self.token) == 1 else ", whole: no merges lead to it"
        else:
            line += f", merge {self.merge.rank}"
            if self.merge.count is not None:
                line += f", {self.merge.count} times"
            if not self.parts:
                line += ", parts left out"
        if self.seen_in is not None and self.seen_in.encode() != self.token:
            line += f", seen in {self.seen_in!r}"
        yield line
        for part in self.parts:
            yield from part._lines(indent + "  ")


@dataclass(frozen=True)
class ChunkExplanation:
    chunk: bytes
    merges: tuple[Merge, ...]  # in the order in which they fired
    ids: tuple[int, ...]
    tokens: tuple[bytes, ...]
    whole: bool = False  # taken as one token without merging, as tiktoken does

    def __str__(self) -> str:
        lines = [f"{shown(self.chunk)} -> {' '.join(map(shown, self.tokens))}  {list(self.ids)}"]
        if self.whole:
            lines.append("  the whole chunk is a token")
        lines += [f"  {merge}" for merge in self.merges]
        return "\n".join(lines)


@dataclass(frozen=True)
class TextExplanation:
    text: str
    chunks: tuple[ChunkExplanation, ...]

    @property
    def ids(self) -> list[int]:
        return [i for chunk in self.chunks for i in chunk.ids]

    def __str__(self) -> str:
        return "\n".join(map(str, self.chunks))


class Explainer:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._n_tokens = len(vocabulary.tokens)
        self._n_joins = 0  # rows that only make characters, which are not merges to a reader
        if vocabulary.base == "code points":
            n_merges = len(vocabulary.merges)
            vocabulary, _ = by_bytes(vocabulary)
            self._n_joins = len(vocabulary.merges) - n_merges
        self._vocabulary = vocabulary
        self._names = {i: name for name, i in vocabulary.specials.items()}
        self._tracer = Tracer(vocabulary)

    def token(self, i: int) -> TokenExplanation:
        """The tree of one token: the top MAX_DEPTH levels and MAX_TREE tokens of it."""
        tokens = self._vocabulary.tokens
        if i in self._names:
            return TokenExplanation(i, self._names[i].encode(), True, None, (), None)
        if not 0 <= i < self._n_tokens or not tokens[i]:
            raise ValueError(
                f"explain: expected a token's id below {self._vocabulary.n_ids}, got {i}; "
                "no token has it."
            )
        budget = MAX_TRACED_BYTES
        known: dict[int, Node] = {}

        def node_of(i: int) -> Node:
            nonlocal budget
            if i not in known:
                n = len(tokens[i])
                known[i] = self._tree(i) if n <= budget else self._tracer.untraced(i)
                budget -= n if n <= budget else 0
            return known[i]

        # Level by level, so that what the bound leaves is the top of the tree.
        nodes, depths, parts_at = [node_of(i)], [0], [range(0)]
        for at, depth in enumerate(depths):
            parts = nodes[at].parts if nodes[at].row >= self._n_joins else ()
            if not parts or depth == MAX_DEPTH or len(nodes) + len(parts) > MAX_TREE:
                continue
            parts_at[at] = range(len(nodes), len(nodes) + len(parts))
            for part in parts:
                nodes.append(part if part.parts else node_of(part.id))
                depths.append(depth + 1)
                parts_at.append(range(0))
        explained: list[TokenExplanation] = []
        for node, places in zip(reversed(nodes), reversed(parts_at), strict=True):
            below = tuple(explained[len(nodes) - 1 - place] for place in places)
            explained.append(self._explained(node, below))
        return explained[-1]

    def _tree(self, i: int) -> Node:
        """Token `i` with the merges that its own bytes end in; without parts if not in itself."""
        made, _ = self._tracer.trace(self._vocabulary.tokens[i])
        return made[0] if len(made) == 1 and made[0].id == i else Node(i)

    def _explained(self, node: Node, parts: tuple[TokenExplanation, ...]) -> TokenExplanation:
        training = self._vocabulary.training
        return TokenExplanation(
            id=node.id,
            token=self._vocabulary.tokens[node.id],
            special=False,
            merge=self._merge(node) if node.row >= self._n_joins else None,
            parts=parts,
            seen_in=None if training is None else training.seen.get(node.id),
        )

    def _merge(self, node: Node) -> Merge:
        left, right = node.parts
        return self._merge_of(node.row, left.id, right.id, node.id)

    def _merge_of(self, row: int, left: int, right: int, new: int) -> Merge:
        tokens, training = self._vocabulary.tokens, self._vocabulary.training
        return Merge(
            tokens[left],
            tokens[right],
            tokens[new],
            new,
            self._tracer.ranks[row] - self._n_joins,
            None if training is None else int(training.counts[row - self._n_joins]),
        )

    def merges(self) -> Iterator[tuple[Merge, str | None]]:
        """Each merge in the order of ranks, and where training saw its token."""
        training = self._vocabulary.training
        for row, ids in enumerate(self._vocabulary.merges.tolist()):
            if row >= self._n_joins:
                seen = None if training is None else training.seen.get(ids[2])
                yield self._merge_of(row, *ids), seen

    def chunk(self, chunk: bytes) -> ChunkExplanation:
        if self._vocabulary.whole_chunks and (whole := self._tracer.ids.get(chunk)) is not None:
            return ChunkExplanation(chunk, (), (whole,), (chunk,), whole=len(chunk) > 1)
        made, fired = self._tracer.trace(chunk)
        ids = tuple(node.id for node in self._kept(made))
        tokens = tuple(self._vocabulary.tokens[i] for i in ids)
        merges = tuple(self._merge(node) for node in fired if node.row >= self._n_joins)
        return ChunkExplanation(chunk, merges, ids, tokens)

    def _kept(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """Without scaffolding, of which the bytes are left."""
        for node in nodes:
            if node.id < self._n_tokens:
                yield node
            else:
                yield from self._kept(node.parts)

    def special(self, name: str) -> ChunkExplanation:
        return ChunkExplanation(
            name.encode(), (), (self._vocabulary.specials[name],), (name.encode(),), whole=True
        )


def seen_in(vocabulary: Vocabulary, encoder: Encoder, chunks: Chunks) -> dict[int, str]:
    """For each token a merge made, the most frequent short chunk it occurs in.

    A token that later merges swallowed everywhere is found inside what they made of it.
    Cost: one encoding of the distinct chunks.
    """
    items = [
        (count, chunk)
        for chunk, count in chunks.items(MAX_SEEN_CHUNKS)
        if 1 < len(chunk) <= MAX_SEEN_BYTES and _is_text(chunk)
    ]
    items.sort(key=lambda item: item[0])  # ascending: of equal assignments the last stands
    if not items:
        return {}
    ids = encoder.encode_chunks([chunk for _, chunk in items])
    lengths = np.array([len(token) for token in vocabulary.tokens])
    ends_of_ids = np.cumsum(lengths[ids])
    ends_of_items = np.cumsum([len(chunk) for _, chunk in items])
    best = np.full(len(vocabulary.tokens), -1, dtype=np.int64)
    best[ids] = np.searchsorted(ends_of_items, ends_of_ids)
    for left, right, new in vocabulary.merges[::-1].tolist():
        best[left] = max(best[left], best[new])
        best[right] = max(best[right], best[new])
    return {
        i: items[place][1].decode()
        for i, place in enumerate(best.tolist())
        if place >= 0 and i >= N_BYTES
    }


def _is_text(chunk: bytes) -> bool:
    try:
        chunk.decode()
    except UnicodeDecodeError:
        return False
    return True


def explain_text(
    explainer: Explainer, text: str, pieces: Sequence[tuple[list[bytes], str | None]]
) -> TextExplanation:
    """`pieces`: the chunks between special tokens, and the names of those, in order."""
    chunks: list[ChunkExplanation] = []
    for cut, name in pieces:
        chunks += [explainer.chunk(chunk) for chunk in cut]
        if name is not None:
            chunks.append(explainer.special(name))
    return TextExplanation(text, tuple(chunks))
