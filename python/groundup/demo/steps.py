"""The same training step four ways: forward, loss, backward, clip, AdamW, zero.

Each takes a batch of ids and targets (B, T) and returns the loss in nats. From equal weights and
batches their losses agree to rounding; only the time differs.
"""

import shutil
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

import groundup as gu
from groundup.models import GPT, EagerGPT, GPTConfig

Step = Callable[[Tensor, Tensor], float]
Weights = Mapping[str, Tensor]

LEARNING_RATE = 1e-3
MAX_GRAD_NORM = 1.0


def groundup_step(config: GPTConfig, weights: Weights) -> Step:
    """groundup's model and optimizer, as `groundup train` runs them."""
    model = GPT(config)
    model.load_state_dict(weights)
    optimizer = gu.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        fused=True,
        max_grad_norm=MAX_GRAD_NORM,
        zero_grad_after_step=True,
    )

    def step(ids: Tensor, targets: Tensor) -> float:
        loss = model.loss(ids, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def eager_step(config: GPTConfig, weights: Weights) -> Step:
    """Eager PyTorch as people write it: masked softmax, F.cross_entropy, AdamW's defaults."""
    model = EagerGPT(config)
    model.load_state_dict(weights)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    return _torch_step(model, model.loss, optimizer)


def strongest_step(config: GPTConfig, weights: Weights) -> Step:
    """Eager PyTorch at its best: addmm, SDPA, F.cross_entropy, fused AdamW."""
    model, optimizer = _strongest(config, weights)
    return _on_torch(_torch_step(model, model.loss, optimizer))


def compiled_step(config: GPTConfig, weights: Weights) -> Step:
    """The strongest eager step with its model and loss through torch.compile."""
    model, optimizer = _strongest(config, weights)
    return _on_torch(_torch_step(model, torch.compile(model.loss), optimizer))


def can_compile() -> bool:
    """Whether torch.compile has the C++ compiler that it needs on a CPU."""
    return any(map(shutil.which, ("g++", "clang++", "c++")))


def _strongest(config: GPTConfig, weights: Weights) -> tuple[GPT, torch.optim.Optimizer]:
    model = GPT(config)
    model.load_state_dict(weights)
    return model, torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)


def _torch_step(
    model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer
) -> Step:
    def step(ids: Tensor, targets: Tensor) -> float:
        loss = loss_of(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def _on_torch(step: Step) -> Step:
    """The step with every groundup op on its torch form."""

    def on_torch(ids: Tensor, targets: Tensor) -> float:
        with gu.use("torch"):
            return step(ids, targets)

    return on_torch
