"""causal_attention, forward and backward: the compute-bound op.

The limit is torch.mm on a large square, for as many operations as causal attention needs: half of
each (T, S) product, two products forward and five backward.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import groundup as gu
from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from groundup.inspect.timing import Contender

SQUARE = 2048


@dataclass(frozen=True)
class Inputs:
    """query, key, value and dout, (B, H, T, D) each."""

    tensors: tuple[Tensor, Tensor, Tensor]
    dout: Tensor


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        query, key, value, dout = (
            torch.randn(shape, generator=generator).to(dtype) for _ in range(4)
        )
        return Inputs((query, key, value), dout)

    return make


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return gu.causal_attention(query, key, value)


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As people write it: scores, mask, softmax, weights."""
    length = query.shape[2]
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ value


def forward(attention: Attention) -> Callable[[Inputs], Contender]:
    return lambda given: Contender(lambda: attention(*given.tensors))


def step(attention: Attention) -> Callable[[Inputs], Contender]:
    def setup(given: Inputs) -> Contender:
        leaves = tuple(tensor.clone().requires_grad_() for tensor in given.tensors)
        return Contender(lambda: torch.autograd.grad(attention(*leaves), leaves, given.dout))

    return setup


def square_product(given: Inputs) -> Callable[[], Any]:
    left, right = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    return lambda: torch.mm(left, right)


def case(shape: tuple[int, int, int, int], dtype: torch.dtype, backward: bool, slow: bool) -> Case:
    batch, heads, length, width = shape
    products = 7 if backward else 2
    operations = products * batch * heads * length * (length + 1) * width
    contender = step if backward else forward
    return Case(
        name=f"forward{' and backward' if backward else ''}, {str(dtype).removeprefix('torch.')}",
        sizes={"B": batch, "H": heads, "T": length, "D": width},
        inputs=inputs(shape, dtype),
        contenders={
            "groundup": contender(ours),
            "torch sdpa": contender(sdpa),
            "torch eager": contender(eager),
        },
        limit=Limit("torch.mm's rate", square_product, operations / (2 * SQUARE**3)),
        amount=(float(batch * length), "tokens"),
        slow=slow,
    )


SUITE = Suite(
    "attention",
    tuple(
        case(shape, dtype, backward, slow)
        for shape, dtype, slow in (
            ((2, 12, 1024, 64), torch.float32, False),
            ((12, 4, 64, 64), torch.float32, False),
            ((4, 12, 256, 64), torch.float32, True),
            ((1, 6, 4096, 64), torch.float32, True),
            ((4, 6, 256, 128), torch.float32, True),
            ((2, 6, 1024, 128), torch.float32, True),
            ((1, 3, 4096, 128), torch.float32, True),
            ((2, 12, 1024, 64), torch.bfloat16, True),
        )
        for backward in (False, True)
    ),
    tests=("tests/*/test_attention.py", "tests/*/test_attention_forms.py"),
)

test_speed = speed_test(SUITE)
