"""linear layers of small models, forward and backward: three products each.

The least they can take is their arithmetic at the machine's rate, which a large square product of
torch's comes near.
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

SQUARE = 1024


@dataclass(frozen=True)
class Inputs:
    """input (N, in), weight and bias of (out, in) and (out,), doutput (N, out)."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    doutput: Tensor


def inputs(n_rows: int, n_in: int, n_out: int, layout: str) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        is_gpt2 = layout != "head"
        weight = normal(n_in, n_out).t() if is_gpt2 else normal(n_out, n_in)
        bias = normal(n_out) if is_gpt2 else None
        return Inputs(normal(n_rows, n_in), weight, bias, normal(n_rows, n_out))

    return make


def ours(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return gu.linear(x, weight, bias)


def ours_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return gu.linear(x, weight, bias, activation="gelu_tanh")


def torch_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def step(function: Callable[..., Tensor]) -> Callable[[Inputs], Contender]:
    def setup(given: Inputs) -> Contender:
        leaves = [given.input, given.weight, given.bias]
        x, weight, bias = (t if t is None else t.detach().requires_grad_() for t in leaves)

        def prepare() -> None:
            for leaf in (x, weight, bias):
                if leaf is not None:
                    leaf.grad = None

        return Contender(lambda: function(x, weight, bias).backward(given.doutput), prepare)

    return setup


def square(given: Inputs) -> Callable[[], Any]:
    a, b, out = (torch.ones(SQUARE, SQUARE) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


def case(n_rows: int, n_in: int, n_out: int, layout: str, slow: bool) -> Case:
    mine, theirs = (ours_gelu, torch_gelu) if layout == "gelu" else (ours, F.linear)
    name = {"gpt2": "GPT-2's layout", "gelu": "GPT-2's layout, gelu", "head": "without bias"}
    return Case(
        name=f"forward and backward, {name[layout]}",
        sizes={"N": n_rows, "in": n_in, "out": n_out},
        inputs=inputs(n_rows, n_in, n_out, layout),
        contenders={
            "groundup": step(mine),
            "torch eager": step(theirs),
            "torch.compile": lambda given: step(compiled(theirs))(given),
        },
        limit=Limit(
            "the same arithmetic at a square product's rate",
            square,
            3 * n_rows * n_in * n_out / SQUARE**3,
        ),
        amount=(float(n_rows), "rows"),
        slow=slow,
    )


SUITE = Suite(
    "linear",
    tuple(
        case(*sizes)
        for sizes in (
            (768, 256, 768, "gpt2", False),
            (768, 256, 1024, "gelu", False),
            (768, 1024, 256, "gpt2", False),
            (768, 256, 4096, "head", False),
            (768, 256, 256, "gpt2", True),
            (1024, 768, 3072, "gelu", True),
            (1024, 768, 50257, "head", True),
        )
    ),
    tests=("tests/*/test_*linear*.py",),
)

test_speed = speed_test(SUITE)
