"""cross_entropy, forward and backward, at GPT-2's vocabulary: the memory-bound op.

The limit is one memcpy of the logits: read them once, write the gradient once. On 16 logits there
is nothing to do but to call, and what is timed is the call.
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
from groundup.demo.logits import LossOf, forward_and_backward
from groundup.inspect.timing import Contender


@dataclass(frozen=True)
class Inputs:
    """logits (N, V) as they come out of the model, target (N,) int64."""

    logits: Tensor
    target: Tensor


def inputs(n_rows: int, n_classes: int, dtype: torch.dtype) -> Callable[[], Inputs]:
    def make() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(n_rows, n_classes, generator=generator).to(dtype)
        return Inputs(logits, torch.randint(n_classes, (n_rows,), generator=generator))

    return make


def step(loss_of: LossOf) -> Callable[[Inputs], Contender]:
    return lambda given: forward_and_backward(loss_of, given.logits, given.target)


def memcpy(given: Inputs) -> Callable[[], Any]:
    destination = torch.empty_like(given.logits)
    return lambda: destination.copy_(given.logits)


def eager(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target)


def ours(logits: Tensor, target: Tensor) -> Tensor:
    return gu.cross_entropy(logits, target)


def ours_in_place(logits: Tensor, target: Tensor) -> Tensor:
    return gu.cross_entropy(logits, target, inplace=True)


def case(n_rows: int, n_classes: int, dtype: torch.dtype, in_place: bool, slow: bool) -> Case:
    return Case(
        name=f"forward and backward, {'in place' if in_place else 'out of place'}, "
        f"{str(dtype).removeprefix('torch.')}",
        sizes={"N": n_rows, "V": n_classes},
        inputs=inputs(n_rows, n_classes, dtype),
        contenders={
            "groundup": step(ours_in_place if in_place else ours),
            "torch eager": step(eager),
            "torch.compile": lambda given: step(compiled(eager))(given),
        },
        limit=Limit("one memcpy of the logits", memcpy),
        amount=(float(n_rows), "rows"),
        slow=slow,
    )


def calls(loss_of: LossOf, with_gradient: bool) -> Callable[[Inputs], Contender]:
    """One call on logits that are a leaf, and with gradient .backward() and dropping .grad."""

    def ready(given: Inputs) -> Contender:
        logits, target = given.logits.clone().requires_grad_(with_gradient), given.target

        def forward() -> None:
            loss_of(logits, target)

        def forward_and_backward() -> None:
            loss_of(logits, target).backward()  # type: ignore[no-untyped-call]
            logits.grad = None

        run = forward_and_backward if with_gradient else forward
        # How often a call is repeated within a round follows from its second call, which is still
        # many times slower than those that are meant.
        for _ in range(1000):
            run()
        return Contender(run)

    return ready


def no_work(logits: Tensor, target: Tensor) -> Tensor:
    return logits.sum()


def overhead(with_gradient: bool) -> Case:
    return Case(
        name=f"the call alone, {'with' if with_gradient else 'without'} gradient, float32",
        sizes={"N": 2, "V": 8},
        inputs=inputs(2, 8, torch.float32),
        contenders={
            "groundup": calls(ours, with_gradient),
            "torch eager": calls(eager, with_gradient),
            "torch.compile": lambda given: calls(compiled(eager), with_gradient)(given),
        },
        limit=Limit(
            "the same around a sum, torch's own cost of a call", calls(no_work, with_gradient)
        ),
    )


SUITE = Suite(
    "cross_entropy",
    (
        overhead(with_gradient=False),
        overhead(with_gradient=True),
        *(
            case(n_rows, n_classes, dtype, in_place, slow)
            for n_rows, n_classes, slow in (
                (1024, 50257, False),
                (768, 512, False),
                (8192, 4096, True),
            )
            for dtype in (torch.float32, torch.bfloat16)
            for in_place in (True, False)
        ),
    ),
    tests=("tests/*/test_cross_entropy*.py",),
)

test_speed = speed_test(SUITE)
