"""A GPT on tensor.py: communication between positions, then computation at each, layer on layer.

Each position asks a question (query), wears a label (key) and has something to tell (value). What
it hears is a mean of what the past tells, weighed by how well labels meet the question. The rest
serves the training of deep stacks: several heads side by side, a path of plain addition from end
to end, a norm before each branch. NumPy only. Source: Vaswani et al. 2017; Radford et al. 2019;
Zero to Hero, "Let's build GPT". With the same weights the logits are those of models/gpt.py.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from groundup.reference.layers import Dropout, Embedding, Ids, LayerNorm, Linear, Module
from groundup.reference.tensor import Tensor, as_tensor, concat, cross_entropy, masked, softmax

Mask = NDArray[np.bool_]


def future(T: int) -> Mask:
    """(T, T), true where a position would look ahead."""
    return np.triu(np.ones((T, T), bool), 1)


def averages(x: Tensor) -> list[Tensor]:
    """The mean of each position and all before it, in three ways; x (B, T, C) to (B, T, C) each.

    A loop; a product with rows of equal weights; a softmax of zeros with the future at minus
    infinity. The last is attention that has nothing to ask.
    """
    T = x.shape[1]
    past = (~future(T)).astype(x.data.dtype)
    return [
        concat([x[:, : t + 1].mean(1, keepdims=True) for t in range(T)], axis=1),
        (past / past.sum(axis=1, keepdims=True)) @ x,
        softmax(masked(as_tensor(0 * past), future(T), -math.inf)) @ x,
    ]


def attention_weights(query: Tensor, key: Tensor, hidden: Mask) -> Tensor:
    """How much each position listens to which: query (..., T, D), key (..., S, D) to (..., T, S).

    hidden  true where nothing may be heard; broadcasts to (..., T, S), and leaves every row a place
    Without 1 / sqrt(D) the products of wider heads are larger, and softmax of large numbers is
    nearly one-hot: each position would hear one other and pass no gradient to the rest.
    """
    scores = query @ key.transpose() * (1 / math.sqrt(query.shape[-1]))
    return softmax(masked(scores, hidden, -math.inf))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: Dropout | None = None,
    hidden: Mask | None = None,
) -> Tensor:
    """One head: (..., T, D) each to (..., T, D). Without `hidden`, position t hears 0 to t."""
    weights = attention_weights(query, key, future(query.shape[-2]) if hidden is None else hidden)
    return (weights if dropout is None else dropout(weights)) @ value


class Attention(Module):
    """H heads of C / H features each, side by side; (B, T, C) to (B, T, C).

    c_attn makes queries, keys and values in one product. With `project` their results are mixed by
    c_proj before they go back to the stream.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        rng: np.random.Generator,
        dropout: float = 0.0,
        bias: bool = True,
        project: bool = True,
    ) -> None:
        if n_embd % n_head:
            raise ValueError(f"Attention: expected {n_embd} features to divide by {n_head} heads")
        self.n_head = n_head
        self.c_attn = Linear(n_embd, 3 * n_embd, rng, bias)
        self.c_proj = Linear(n_embd, n_embd, rng) if project else None
        self.attn_dropout, self.resid_dropout = Dropout(dropout, rng), Dropout(dropout, rng)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head, (B, H, T, D) each."""
        B, T, C = x.shape
        parts = self.c_attn(x).reshape(B, T, 3, self.n_head, C // self.n_head)
        query, key, value = (parts[:, :, i].transpose(1, 2) for i in range(3))
        return query, key, value

    def __call__(self, x: Tensor, hidden: Mask | None = None) -> Tensor:
        B, T, C = x.shape
        heard = attend(*self.heads(x), self.attn_dropout, hidden)
        joined = heard.transpose(1, 2).reshape(B, T, C)
        return joined if self.c_proj is None else self.resid_dropout(self.c_proj(joined))


class FeedForward(Module):
    """What a position makes of what it heard: wider, a switch, and back. (B, T, C) to (B, T, C)."""

    def __init__(
        self,
        n_embd: int,
        rng: np.random.Generator,
        dropout: float = 0.0,
        widen: int = 4,
        activation: str = "gelu",
    ) -> None:
        if activation not in ("gelu", "relu"):
            raise ValueError(f'FeedForward: expected "gelu" or "relu", got {activation!r}')
        self.activation = Tensor.gelu if activation == "gelu" else Tensor.relu
        self.c_fc = Linear(n_embd, widen * n_embd, rng)
        self.c_proj = Linear(widen * n_embd, n_embd, rng)
        self.dropout = Dropout(dropout, rng)

    def __call__(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))


class Block(Module):
    """Both as branches of one stream. Addition passes a gradient on as it is, to the very bottom.

    With `norm`, each branch reads a copy of the stream brought to size 1.
    """

    def __init__(self, attn: Attention, mlp: FeedForward, n_embd: int, norm: bool = True) -> None:
        self.ln_1 = LayerNorm(n_embd) if norm else None
        self.attn = attn
        self.ln_2 = LayerNorm(n_embd) if norm else None
        self.mlp = mlp

    def __call__(self, x: Tensor, hidden: Mask | None = None) -> Tensor:
        x = x + self.attn(x if self.ln_1 is None else self.ln_1(x), hidden)
        return x + self.mlp(x if self.ln_2 is None else self.ln_2(x))


class GPT(Module):
    """Token and position embeddings, `h` one after the other, a norm, a guess at what is next.

    ids (B, T), T at most block_size, to logits (B, T, V). The head is the token embedding again,
    transposed, unless one of its own is given.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int,
        n_embd: int,
        h: Sequence[Module],
        rng: np.random.Generator,
        norm: bool = True,
        head: Linear | None = None,
    ) -> None:
        self.block_size = block_size
        self.wte = Embedding(vocab_size, n_embd, rng)
        self.wpe = Embedding(block_size, n_embd, rng)
        self.h = list(h)
        self.ln_f = LayerNorm(n_embd) if norm else None
        self.head = head

    def __call__(self, ids: Ids) -> Tensor:
        T = ids.shape[1]
        if not 0 < T <= self.block_size:
            raise ValueError(
                f"GPT: expected at least one and at most block_size = {self.block_size} ids, got "
                f"{T}; of more pass the last ones, ids[:, -block_size:]"
            )
        x = self.wte(ids) + self.wpe(np.arange(T))
        for block in self.h:
            x = block(x)
        if self.ln_f is not None:
            x = self.ln_f(x)
        return self.head(x) if self.head is not None else x @ self.wte.weight.transpose()

    def loss(self, ids: Ids, targets: Ids) -> Tensor:
        """Mean cross-entropy of targets (B, T), in nats."""
        if ids.shape != targets.shape:
            raise ValueError(
                f"GPT: expected a target for each id, got shapes {ids.shape} and {targets.shape}"
            )
        logits = self(ids)
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

    def generate(self, ids: Ids, n: int, rng: np.random.Generator) -> Ids:
        """ids (1, T) and n drawn ones behind them; the model sees the last block_size of them."""
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != 1:
            raise ValueError(f"generate: expected ids of one row (1, T), got shape {ids.shape}")
        with self.in_use():
            for _ in range(n):
                p = softmax(self(ids[:, -self.block_size :])[:, -1]).data[0].astype(np.float64)
                ids = np.append(ids, [[rng.choice(len(p), p=p / p.sum())]], axis=1)
        return ids

    def load(self, arrays: Mapping[str, NDArray[np.floating]]) -> None:
        """Take weights by name, as in GPT-2's files; every parameter must be there."""
        for name, parameter in self.named_parameters().items():
            if name not in arrays:
                raise ValueError(f"load: expected an array {name!r}, got {sorted(arrays)}")
            if arrays[name].shape != parameter.shape:
                raise ValueError(
                    f"{name}: expected shape {parameter.shape}, got {arrays[name].shape}"
                )
            parameter.data = np.array(arrays[name], parameter.data.dtype)


def gpt2(
    vocab_size: int,
    block_size: int,
    n_embd: int,
    n_head: int,
    n_layer: int,
    rng: np.random.Generator,
    dropout: float = 0.0,
) -> GPT:
    """GPT-2 of any size: weights of .02, and on the way back to the stream .02 / sqrt(2 n_layer),
    because 2 n_layer branches add up there."""
    h = [
        Block(
            Attention(n_embd, n_head, rng, dropout),
            FeedForward(n_embd, rng, dropout),
            n_embd,
        )
        for _ in range(n_layer)
    ]
    model = GPT(vocab_size, block_size, n_embd, h, rng)
    for name, parameter in model.named_parameters().items():
        if parameter.data.ndim == 2:
            std = 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02
            parameter.data = rng.normal(0, std, parameter.shape)
    return model
