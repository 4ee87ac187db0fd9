"""decode_attention, one new token against a cache of 4,096 keys: bound by memory.

The limit is reading keys and values once, at the rate at which a memcpy of them moves bytes, what
it reads and what it writes counted both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import groundup as gu
from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from groundup.inspect.timing import Contender


@dataclass(frozen=True)
class Inputs:
    """query (B, H, 1, D), key and value (B, H / n, S, D)."""

    query: Tensor
    key: Tensor
    value: Tensor


def inputs(
    batch: int, heads: int, key_heads: int, n_keys: int, width: int, dtype: torch.dtype
) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        shapes = ((heads, 1, width), (key_heads, n_keys, width), (key_heads, n_keys, width))
        return Inputs(
            *(torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes)
        )

    return make


def ours(given: Inputs) -> Contender:
    return Contender(lambda: gu.decode_attention(given.query, given.key, given.value))


def sdpa(given: Inputs) -> Contender:
    shared = given.key.shape[1] != given.query.shape[1]
    return Contender(
        lambda: F.scaled_dot_product_attention(
            given.query, given.key, given.value, enable_gqa=shared
        )
    )


def eager(given: Inputs) -> Contender:
    """As people write it, the key heads repeated."""

    def run() -> Tensor:
        n = given.query.shape[1] // given.key.shape[1]
        key, value = (each.repeat_interleave(n, 1) for each in (given.key, given.value))
        scores = given.query @ key.transpose(2, 3) / given.query.shape[3] ** 0.5
        return scores.softmax(-1) @ value

    return Contender(run)


def copy(given: Inputs) -> Contender:
    sources = (given.key, given.value)
    copies = [torch.empty_like(each) for each in sources]

    def run() -> None:
        for into, source in zip(copies, sources, strict=True):
            into.copy_(source)

    return Contender(run)


def case(sizes: tuple[int, int, int, int, int], dtype: torch.dtype, slow: bool) -> Case:
    batch, heads, key_heads, n_keys, width = sizes
    return Case(
        name=f"one token, {str(dtype).removeprefix('torch.')}",
        sizes={"B": batch, "H": heads, "key heads": key_heads, "S": n_keys, "D": width},
        inputs=inputs(*sizes, dtype),
        contenders={"groundup": ours, "torch sdpa": sdpa, "torch eager": eager},
        # A memcpy reads the bytes once and writes them once; here they are only read.
        limit=Limit("keys and values at memcpy's bytes a second", copy, 0.5),
        amount=(float(batch), "tokens"),
        slow=slow,
    )


SUITE = Suite(
    "attention_decode",
    tuple(
        case(sizes, dtype, slow)
        for sizes, slow in (((4, 12, 12, 4096, 64), False), ((4, 32, 8, 4096, 128), False))
        for dtype in (torch.float32, torch.bfloat16)
    ),
)

test_speed = speed_test(SUITE)
