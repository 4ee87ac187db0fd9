"""One AdamW step: many parameters at the speed of memory, many tensors at the speed of Python.

The least a step can move is 28 bytes a parameter (read parameter, gradient and two moments, write
all but the gradient), which is 3.5 copies of a float; clipping reads the gradients once more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import groundup as gu
from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from groundup.inspect.timing import Contender

MAX_NORM = 1.0


@dataclass(frozen=True)
class Inputs:
    """Shapes of a model, and one gradient that all of its tensors are views of."""

    n_tensors: int
    size: int


def parameters(given: Inputs) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    params = []
    for _ in range(given.n_tensors):
        param = torch.nn.Parameter(torch.randn(given.size, generator=generator))
        param.grad = torch.randn(given.size, generator=generator)
        params.append(param)
    return params


def stepping(make: Callable[[list[Any]], Any]) -> Callable[[Inputs], Contender]:
    return lambda given: Contender(make(parameters(given)).step)


def torch_clipped(given: Inputs) -> Contender:
    params = parameters(given)
    optimizer = torch.optim.AdamW(params, fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return Contender(step, _gradients_back(params))


def ours_clipped(given: Inputs) -> Contender:
    params = parameters(given)
    optimizer = gu.optim.AdamW(params, max_grad_norm=MAX_NORM, zero_grad_after_step=True)
    return Contender(optimizer.step, _gradients_back(params))


def _gradients_back(params: list[Any]) -> Callable[[], None]:
    """Zeroing drops them; putting them back is not timed."""
    grads: list[Tensor] = [param.grad for param in params]

    def prepare() -> None:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad

    return prepare


def copies(given: Inputs) -> Callable[[], Any]:
    source = torch.randn(given.n_tensors * given.size)
    destination = torch.empty_like(source)
    return lambda: destination.copy_(source)


def case(n_tensors: int, size: int, *, clipped: bool, slow: bool) -> Case:
    contenders = (
        {"groundup": ours_clipped, "torch clip + fused + zero": torch_clipped}
        if clipped
        else {
            "groundup": stepping(gu.optim.AdamW),
            "torch fused": stepping(lambda params: torch.optim.AdamW(params, fused=True)),
            "torch foreach": stepping(lambda params: torch.optim.AdamW(params, foreach=True)),
        }
    )
    bytes_each = 32 if clipped else 28
    return Case(
        name="clip, step, zero" if clipped else "step",
        sizes={"tensors": n_tensors, "each": size},
        inputs=lambda: Inputs(n_tensors, size),
        contenders=contenders,
        limit=Limit(f"{bytes_each} bytes a parameter at a copy's rate", copies, bytes_each / 8),
        amount=(float(n_tensors * size), "parameters"),
        slow=slow,
    )


SUITE = Suite(
    "adamw",
    tuple(
        case(n_tensors, size, clipped=clipped, slow=slow)
        for n_tensors, size, slow in ((1000, 1000, False), (50, 200_000, False), (50, 10**6, True))
        for clipped in (False, True)
    ),
    tests=("tests/*/test_adamw*.py",),
)

test_speed = speed_test(SUITE)
