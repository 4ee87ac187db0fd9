"""One whole training step: forward, loss, backward, clip, AdamW, zero.

The same weights, the same batch, four ways: groundup; eager PyTorch as people write it (masked
softmax, default AdamW); PyTorch's strongest eager (SDPA, F.cross_entropy, fused AdamW); and that
compiled. The limit is the step's matrix products at the rate of one large square product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, Limit, Suite
from benchmarks.harness import speed_test
from benchmarks.peers import require_compiler
from groundup.demo.steps import (
    Step,
    Weights,
    compiled_step,
    eager_step,
    groundup_step,
    strongest_step,
)
from groundup.models import GPT, GPTConfig

_GEMM = 2048


@dataclass(frozen=True)
class Inputs:
    """One batch of ids and targets (B, T), and the weights that every contender starts from."""

    config: GPTConfig
    ids: Tensor
    targets: Tensor
    weights: dict[str, Tensor]


def inputs(config: GPTConfig, batch_size: int) -> Callable[[], Inputs]:
    def make() -> Inputs:
        torch.manual_seed(0)
        weights = GPT(config).state_dict()
        batch = torch.randint(config.vocab_size, (batch_size, config.n_positions + 1))
        return Inputs(config, batch[:, :-1].contiguous(), batch[:, 1:].contiguous(), weights)

    return make


def stepping(make: Callable[[GPTConfig, Weights], Step]) -> Callable[[Inputs], Callable[[], Any]]:
    """A contender's setup: its own copy of the weights, the batch that all share."""

    def setup(given: Inputs) -> Callable[[], Any]:
        step = make(given.config, given.weights)
        return lambda: step(given.ids, given.targets)

    return setup


def compiled(given: Inputs) -> Callable[[], Any]:
    require_compiler()
    return stepping(compiled_step)(given)


def square_product(given: Inputs) -> Callable[[], Any]:
    left, right = torch.randn(2, _GEMM, _GEMM).unbind()
    out = torch.empty(_GEMM, _GEMM)
    return lambda: torch.mm(left, right, out=out)


def product_share(config: GPTConfig, batch_size: int) -> float:
    """The step's multiplications over those of the square product.

    A weight of a matrix product serves once per token in the forward pass and twice in the
    backward; attention adds its two causal products, half of T x T each, three times over too.
    """
    C, T, L = config.n_embd, config.n_positions, config.n_layer
    weights = L * (4 * C * C + 2 * C * config.inner_size) + config.vocab_size * C
    attention = L * 2 * C * T / 2
    return 3 * batch_size * T * (weights + attention) / _GEMM**3


def case(name: str, config: GPTConfig, batch_size: int, slow: bool) -> Case:
    return Case(
        name=name,
        sizes={
            "B": batch_size,
            "T": config.n_positions,
            "C": config.n_embd,
            "layers": config.n_layer,
            "V": config.vocab_size,
        },
        inputs=inputs(config, batch_size),
        contenders={
            "groundup": stepping(groundup_step),
            "torch eager, as people write it": stepping(eager_step),
            "torch eager, its best path": stepping(strongest_step),
            "torch.compile of its best path": compiled,
        },
        limit=Limit(
            "its matrix products at the rate of a large square one",
            square_product,
            share=product_share(config, batch_size),
        ),
        amount=(float(batch_size * config.n_positions), "tokens"),
        slow=slow,
    )


def _gpt(vocab_size: int, n_positions: int, n_embd: int, n_layer: int, n_head: int) -> GPTConfig:
    return GPTConfig(
        vocab_size=vocab_size,
        n_positions=n_positions,
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
    )


SUITE = Suite(
    "train_step",
    (
        case("the demo's GPT", _gpt(512, 64, 256, 2, 4), batch_size=12, slow=False),
        case("the demo's GPT, larger vocabulary", _gpt(4096, 64, 256, 2, 4), 12, slow=False),
        case("GPT-2's width and vocabulary", _gpt(50257, 1024, 768, 2, 12), 1, slow=True),
    ),
    tests=("tests/models/test_gpt.py", "tests/ops/test_*.py", "tests/optim/test_*.py"),
)

test_speed = speed_test(SUITE)
