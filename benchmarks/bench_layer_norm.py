"""layer_norm, forward and backward, at GPT-2's width.

The least it can move: forward reads and writes the rows, backward reads two and writes one, which
is 20 bytes an element, 2.5 copies of the rows; with the residual sum before it 32 bytes, 4 copies.
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


Sum = Callable[..., tuple[Tensor, Tensor]]


def eager_sum(
    input: Tensor, residual: Tensor, shape: tuple[int], weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    total = input + residual
    return F.layer_norm(total, shape, weight, bias), total


def sum_step(norm: Sum) -> Callable[[Inputs], Contender]:
    """The rows are what a branch adds and the gradient of the sum too; doutput is the stream."""

    def setup(given: Inputs) -> Contender:
        leaves = [given.rows, given.doutput, given.weight, given.bias]
        leaves = [t.clone().requires_grad_() for t in leaves]
        shape = (given.rows.shape[1],)

        def prepare() -> None:
            for leaf in leaves:
                leaf.grad = None

        def run() -> None:
            output, total = norm(leaves[0], leaves[1], shape, leaves[2], leaves[3])
            torch.autograd.backward((output, total), (given.doutput, given.rows))

        return Contender(run, prepare)

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


def sum_case(n_rows: int, n_columns: int) -> Case:
    return Case(
        name="residual sum and norm, forward and backward, float32",
        sizes={"N": n_rows, "C": n_columns},
        inputs=inputs(n_rows, n_columns, torch.float32),
        contenders={
            "groundup": sum_step(gu.add_layer_norm),
            "torch eager": sum_step(eager_sum),
            "torch.compile": lambda given: sum_step(compiled(eager_sum))(given),
        },
        limit=Limit("4 copies of the rows", memcpy, 4.0),
        amount=(float(n_rows), "rows"),
        slow=False,
    )


SUITE = Suite(
    "layer_norm",
    (
        *(
            case(n_rows, n_columns, dtype, slow)
            for n_rows, n_columns, slow in (
                (4096, 768, False),
                (768, 256, False),
                (8192, 1600, True),
            )
            for dtype in (torch.float32, torch.bfloat16)
        ),
        sum_case(4096, 768),
        sum_case(768, 256),
    ),
    tests=("tests/*/test_layer_norm*.py", "tests/ops/test_add_layer_norm.py"),
)

test_speed = speed_test(SUITE)
