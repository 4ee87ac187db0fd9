"""causal_attention_varlen on documents of unequal lengths, forward and backward.

The limit is torch.mm on a large square for as many operations as the documents need.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import groundup as gu
from benchmarks.bench_attention import SQUARE, square_product
from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from groundup.inspect.timing import Contender

LENGTHS = [700, 50, 300, 1000, 8, 190, 420, 1428]  # 4096 tokens
HEADS, WIDTH = 12, 64

Attention = Callable[[Tensor, Tensor, Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Inputs:
    """query, key, value and dout (T, H, D); where the documents begin, and the last one's end."""

    tensors: tuple[Tensor, Tensor, Tensor]
    dout: Tensor
    starts: list[int]


def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(0)
    query, key, value, dout = (
        torch.randn(sum(LENGTHS), HEADS, WIDTH, generator=generator) for _ in range(4)
    )
    starts = [sum(LENGTHS[:n]) for n in range(len(LENGTHS) + 1)]
    return Inputs((query, key, value), dout, starts)


def ours(query: Tensor, key: Tensor, value: Tensor, starts: list[int]) -> Tensor:
    return gu.causal_attention_varlen(query, key, value, torch.tensor(starts))


def sdpa_each(query: Tensor, key: Tensor, value: Tensor, starts: list[int]) -> Tensor:
    """A document at a time."""
    outs = []
    for begin, end in pairwise(starts):
        q, k, v = (each[begin:end].transpose(0, 1)[None] for each in (query, key, value))
        outs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1))
    return torch.cat(outs)


def sdpa_masked(query: Tensor, key: Tensor, value: Tensor, starts: list[int]) -> Tensor:
    """All at once, under the mask of the documents."""
    number = torch.zeros(query.shape[0], dtype=torch.long)
    number[torch.tensor(starts[1:-1])] = 1
    number = number.cumsum(0)
    mask = (number[:, None] == number).tril()
    q, k, v = (each.transpose(0, 1)[None] for each in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, mask)[0].transpose(0, 1)


def forward(attention: Attention) -> Callable[[Inputs], Contender]:
    return lambda given: Contender(lambda: attention(*given.tensors, given.starts))


def step(attention: Attention) -> Callable[[Inputs], Contender]:
    def setup(given: Inputs) -> Contender:
        leaves = tuple(tensor.clone().requires_grad_() for tensor in given.tensors)
        return Contender(
            lambda: torch.autograd.grad(attention(*leaves, given.starts), leaves, given.dout)
        )

    return setup


def product(given: Inputs) -> Callable[[], Any]:
    return square_product(given)  # type: ignore[arg-type]


def case(backward: bool) -> Case:
    products = 7 if backward else 2
    pairs = sum(length * (length + 1) for length in LENGTHS)
    contender = step if backward else forward
    return Case(
        name=f"forward{' and backward' if backward else ''}, float32",
        sizes={"T": sum(LENGTHS), "documents": len(LENGTHS), "H": HEADS, "D": WIDTH},
        inputs=inputs,
        contenders={
            "groundup": contender(ours),
            "torch sdpa, each document": contender(sdpa_each),
            "torch sdpa, masked": contender(sdpa_masked),
        },
        limit=Limit("torch.mm's rate", product, products * HEADS * pairs * WIDTH / (2 * SQUARE**3)),
        amount=(float(sum(LENGTHS)), "tokens"),
    )


SUITE = Suite("attention_varlen", (case(False), case(True)))

test_speed = speed_test(SUITE)
