"""layer_norm, forward and backward, at GPT-2's width.

The least it can move: forward reads and writes the rows, backward reads two and writes one, which
is 20 bytes an element, 2.5 copies of the rows.
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
    """rows and doutput (N, C), weight and bias (C,)."""

    rows: Tensor
    weight: Tensor
    bias: Tensor
    doutput: Tensor


def inputs(n_rows: int, n_columns: int, dtype: torch.dtype) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        rows, doutput = (
            torch.randn(n_rows, n_columns, generator=generator).to(dtype) for _ in range(2)
        )
        weight, bias = (torch.randn(n_columns, generator=generator).to(dtype) for _ in range(2))
        return Inputs(rows, weight, bias, doutput)

    return make


def step(norm: Callable[..., Tensor]) -> Callable[[Inputs], Contender]:
    def setup(given: Inputs) -> Contender:
        leaves = [t.clone().requires_grad_() for t in (given.rows, given.weight, given.bias)]
        shape = (given.rows.shape[1],)

        def prepare() -> None:
            for leaf in leaves:
                leaf.grad = None

        return Contender(
            lambda: norm(leaves[0], shape, leaves[1], leaves[2]).backward(given.doutput), prepare
        )

    return setup


def memcpy(given: Inputs) -> Callable[[], Any]:
    destination = torch.empty_like(given.rows)
    return lambda: destination.copy_(given.rows)


def case(n_rows: int, n_columns: int, dtype: torch.dtype, slow: bool) -> Case:
    return Case(
        name=f"forward and backward, {str(dtype).removeprefix('torch.')}",
        sizes={"N": n_rows, "C": n_columns},
        inputs=inputs(n_rows, n_columns, dtype),
        contenders={
            "groundup": step(gu.layer_norm),
            "torch eager": step(F.layer_norm),
            "torch.compile": lambda given: step(compiled(F.layer_norm))(given),
        },
        limit=Limit("2.5 copies of the rows", memcpy, 2.5),
        amount=(float(n_rows), "rows"),
        slow=slow,
    )


SUITE = Suite(
    "layer_norm",
    tuple(
        case(n_rows, n_columns, dtype, slow)
        for n_rows, n_columns, slow in ((4096, 768, False), (768, 256, False), (8192, 1600, True))
        for dtype in (torch.float32, torch.bfloat16)
    ),
    tests=("tests/*/test_layer_norm*.py",),
)

test_speed = speed_test(SUITE)
