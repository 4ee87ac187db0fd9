"""An encoder and a decoder: gpt.py's blocks where a text is answered by another text.

The encoder reads a sentence, every position hearing every other. The decoder writes as a GPT does,
hearing only what it wrote, and between hearing and thinking it asks the encoder: cross-attention,
whose queries come from what is written and whose keys and values from what was read. Sentences of
one batch have different lengths; padding fills them up, and nobody hears it. NumPy only. Source:
Vaswani et al. 2017; Zero to Hero, "Let's build GPT", its end.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from groundup.reference.gpt import Attention, Block, FeedForward, Mask, attention_weights
from groundup.reference.layers import Dropout, Embedding, Ids, LayerNorm, Linear, Module
from groundup.reference.tensor import Tensor, cross_entropy

PAD, START, END, UNKNOWN = range(4)  # the first ids of every vocabulary


class Words:
    """The words of one language, most frequent first, after the four marks.

    Words seen less than `at_least` times are UNKNOWN.
    """

    def __init__(self, sentences: Iterable[Sequence[str]], at_least: int = 1) -> None:
        counts: dict[str, int] = {}
        for sentence in sentences:
            for word in sentence:
                counts[word] = counts.get(word, 0) + 1
        kept = sorted((w for w in counts if counts[w] >= at_least), key=lambda w: (-counts[w], w))
        self.words = ["", "<start>", "<end>", "<unknown>", *kept]
        self.number = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: Sequence[str]) -> list[int]:
        return [self.number.get(word, UNKNOWN) for word in sentence]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words up to the end mark."""
        words = []
        for i in ids:
            if i in (PAD, END):
                break
            words.append(self.words[i])
        return words


def padded(rows: Sequence[Sequence[int]]) -> Ids:
    """(N, longest): rows side by side, PAD behind the shorter ones."""
    out = np.full((len(rows), max(map(len, rows))), PAD)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def examples(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Ids]:
    """What is read (N, S), what is written so far (N, T) and what comes next (N, T).

    While it learns, the decoder stands behind the right words whatever it would have written:
    teacher forcing, all positions at once.
    """
    return [
        padded([[*row, END] for row in sources]),
        padded([[START, *row] for row in targets]),
        padded([[*row, END] for row in targets]),
    ]


def batches(
    parts: Sequence[Ids], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Ids, ...]]:
    """Rows drawn at random, for ever, cut to the longest of the batch."""
    while True:
        chosen = rng.integers(0, len(parts[0]), batch_size)
        rows = [part[chosen] for part in parts]
        yield tuple(part[:, : (part != PAD).any(axis=0).sum()] for part in rows)


class CrossAttention(Module):
    """H heads that ask: queries of x (B, T, C), keys and values of memory (B, S, C).

    `weights` (B, H, T, S) keeps the last ones, for those who look inside.
    """

    def __init__(
        self, n_embd: int, n_head: int, rng: np.random.Generator, dropout: float = 0.0
    ) -> None:
        if n_embd % n_head:
            raise ValueError(
                f"CrossAttention: expected {n_embd} features to divide by {n_head} heads"
            )
        self.n_head = n_head
        self.c_q = Linear(n_embd, n_embd, rng)
        self.c_kv = Linear(n_embd, 2 * n_embd, rng)
        self.c_proj = Linear(n_embd, n_embd, rng)
        self.dropout = Dropout(dropout, rng)
        self.weights: NDArray[np.floating] = np.zeros((0, n_head, 0, 0))

    def __call__(self, x: Tensor, memory: Tensor, hidden: Mask) -> Tensor:
        B, T, C = x.shape
        H = self.n_head
        query = self.c_q(x).reshape(B, T, H, C // H).transpose(1, 2)
        parts = self.c_kv(memory).reshape(B, memory.shape[1], 2, H, C // H)
        key, value = (parts[:, :, i].transpose(1, 2) for i in range(2))
        weights = attention_weights(query, key, hidden)
        self.weights = weights.data
        heard = (weights @ value).transpose(1, 2).reshape(B, T, C)
        return self.dropout(self.c_proj(heard))


class AskingBlock(Module):
    """A GPT's block with a question to the encoder between its two branches."""

    def __init__(
        self, n_embd: int, n_head: int, rng: np.random.Generator, dropout: float = 0.0
    ) -> None:
        self.ln_1, self.attn = LayerNorm(n_embd), Attention(n_embd, n_head, rng, dropout)
        self.ln_2, self.ask = LayerNorm(n_embd), CrossAttention(n_embd, n_head, rng, dropout)
        self.ln_3, self.mlp = LayerNorm(n_embd), FeedForward(n_embd, rng, dropout)

    def __call__(self, x: Tensor, memory: Tensor, hidden: Mask) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        x = x + self.ask(self.ln_2(x), memory, hidden)
        return x + self.mlp(self.ln_3(x))


class Translator(Module):
    """Reads ids of one vocabulary, writes ids of another; both at most block_size long.

    `look=False` shows the decoder an empty sentence instead of the source: the same network, with
    as many parameters, that has nothing to go by but the language it writes.
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        block_size: int,
        n_embd: int,
        n_head: int,
        n_layer: int,
        rng: np.random.Generator,
        dropout: float = 0.0,
        look: bool = True,
    ) -> None:
        self.block_size, self.look = block_size, look
        self.read = Embedding(n_source, n_embd, rng)
        self.read_at = Embedding(block_size, n_embd, rng)
        self.encoder = [
            Block(
                Attention(n_embd, n_head, rng, dropout), FeedForward(n_embd, rng, dropout), n_embd
            )
            for _ in range(n_layer)
        ]
        self.ln_read = LayerNorm(n_embd)
        self.write = Embedding(n_target, n_embd, rng)
        self.write_at = Embedding(block_size, n_embd, rng)
        self.decoder = [AskingBlock(n_embd, n_head, rng, dropout) for _ in range(n_layer)]
        self.ln_write = LayerNorm(n_embd)
        self.head = Linear(n_embd, n_target, rng)

    def encode(self, source: Ids) -> tuple[Tensor, Mask]:
        """source (B, S) to memory (B, S, C), and where in it is padding, (B, 1, 1, S)."""
        self._check("source", source)
        if not self.look:
            source = np.full((len(source), 1), END)
        hidden = (source == PAD)[:, None, None, :]
        x = self.read(source) + self.read_at(np.arange(source.shape[1]))
        for block in self.encoder:
            x = block(x, hidden)
        return self.ln_read(x), hidden

    def decode(self, written: Ids, memory: Tensor, hidden: Mask) -> Tensor:
        """Logits (B, T, V) of the word after each of `written` (B, T)."""
        self._check("written", written)
        x = self.write(written) + self.write_at(np.arange(written.shape[1]))
        for block in self.decoder:
            x = block(x, memory, hidden)
        return self.head(self.ln_write(x))

    def __call__(self, source: Ids, written: Ids) -> Tensor:
        return self.decode(written, *self.encode(source))

    def loss(self, source: Ids, written: Ids, targets: Ids) -> Tensor:
        """Mean surprise of `targets` (B, T) in nats, over what is no padding."""
        live = targets != PAD
        if targets.shape != written.shape or not live.any():
            raise ValueError(
                f"targets: expected one for each of `written` {written.shape}, not all of them "
                f"padding, got shape {targets.shape} with {live.sum()} words"
            )
        return cross_entropy(self(source, written)[np.nonzero(live)], targets[live])

    def translate(self, source: Ids) -> Ids:
        """What follows START when the likeliest word is taken each time, (B, below block_size)."""
        written = np.full((len(source), 1), START)
        ended = np.zeros(len(source), bool)
        with self.in_use():
            memory, hidden = self.encode(source)
            for _ in range(self.block_size - 1):
                word = self.decode(written, memory, hidden).data[:, -1].argmax(axis=-1)
                word[ended] = PAD
                written = np.append(written, word[:, None], axis=1)
                ended |= word == END
                if ended.all():
                    break
        return written[:, 1:]

    def _check(self, name: str, ids: Ids) -> None:
        if ids.ndim != 2 or not 0 < ids.shape[1] <= self.block_size:
            raise ValueError(
                f"{name}: expected shape (B, T) with T from 1 to block_size = {self.block_size}, "
                f"got {ids.shape}"
            )
        if (ids[:, 0] == PAD).any():
            raise ValueError(f"{name}: expected rows that begin with a word or a mark, got padding")
