"""gelu, forward and backward, at the width of GPT-2's MLP.

The least it can move: forward reads and writes, backward reads two and writes one, which is 20
bytes an element, 2.5 copies of the input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import groundup as gu
from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from benchmarks.peers import compiled
from groundup.inspect.timing import Contender


@dataclass(frozen=True)
class Inputs:
    """input and doutput, (N, C)."""

    input: Tensor
    doutput: Tensor


def inputs(n_rows: int, n_columns: int, dtype: torch.dtype) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        shape = (n_rows, n_columns)
        return Inputs(*(torch.randn(shape, generator=generator).to(dtype) for _ in range(2)))

    return make


def step(gelu: Callable[..., Tensor], approximate: str) -> Callable[[Inputs], Contender]:
    def setup(given: Inputs) -> Contender:
        leaf = given.input.clone().requires_grad_()

        def prepare() -> None:
            leaf.grad = None

        return Contender(
            lambda: gelu(leaf, approximate=approximate).backward(given.doutput), prepare
        )

    return setup


def memcpy(given: Inputs) -> Callable[[], Any]:
    destination = torch.empty_like(given.input)
    return lambda: destination.copy_(given.input)


def case(n_rows: int, n_columns: int, dtype: torch.dtype, approximate: str, slow: bool) -> Case:
    return Case(
        name=f'forward and backward, "{approximate}", {str(dtype).removeprefix("torch.")}',
        sizes={"N": n_rows, "C": n_columns},
        inputs=inputs(n_rows, n_columns, dtype),
        contenders={
            "groundup": step(gu.gelu, approximate),
            "torch eager": step(F.gelu, approximate),
            "torch.compile": lambda given: step(compiled(F.gelu), approximate)(given),
        },
        limit=Limit("2.5 copies of the input", memcpy, 2.5),
        amount=(float(n_rows), "rows"),
        slow=slow,
    )


SUITE = Suite(
    "gelu",
    tuple(
        case(n_rows, n_columns, dtype, approximate, slow)
        for n_rows, n_columns, slow in ((4096, 768, False), (768, 1024, False), (4096, 3072, True))
        for dtype in (torch.float32, torch.bfloat16)
        for approximate in ("tanh", "none")
    ),
    tests=("tests/*/test_*gelu*.py",),
)

test_speed = speed_test(SUITE)
