"""The course's models in torch, for runs too long for NumPy: the same weights, in the same memory.

A twin computes what the reference model computes, with torch's autograd. Its parameters are views
of the reference's arrays: what one changes, the other has. So a model may be trained here and be
evaluated, sampled from and looked into there. `agreement` shows, over the first steps of a run,
that both are the same; a lesson calls it before it relies on a twin.
"""

import copy
from collections.abc import Callable, Iterator
from functools import singledispatch

import numpy as np
import torch
import torch.nn.functional as F

from groundup.reference import layers
from groundup.reference.layers import Module
from groundup.reference.makemore import mlp, recurrent, training, wavenet
from groundup.reference.makemore.words import Ids
from groundup.reference.tensor import Tensor

Forward = Callable[[torch.Tensor], torch.Tensor]


class Twin:
    """`model` in torch: ids (B, T) of int64 to logits (B, V), differentiable by the parameters.

    The parameters take the dtype that the model's have now; a later `model.to(...)` gives the
    model new arrays and parts the two. Raises TypeError for a part that has no twin here.
    """

    def __init__(self, model: Module) -> None:
        self._views: dict[int, torch.Tensor] = {}
        self._forward = forward_of(model, self)
        self.parameters = list(self._views.values())

    def share(self, parameter: Tensor) -> torch.Tensor:
        """The parameter's array as a leaf of torch's graph, the same one however often asked."""
        if id(parameter) not in self._views:
            self._views[id(parameter)] = torch.from_numpy(parameter.data).requires_grad_()
        return self._views[id(parameter)]

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return self._forward(ids)


def train(
    model: Module,
    contexts: Ids,
    targets: Ids,
    n_steps: int,
    batch_size: int,
    rate: training.Schedule,
    rng: np.random.Generator,
) -> Iterator[float]:
    """`training.train` in torch: the same batches by the same draws; yields each batch's loss."""
    if not len(targets):
        raise ValueError("train: expected at least one example, got none")
    model.train()
    twin = Twin(model)
    x, y = torch.from_numpy(contexts), torch.from_numpy(targets)
    for i in range(n_steps):
        chosen = torch.from_numpy(rng.integers(0, len(targets), batch_size))
        loss = F.cross_entropy(twin(x[chosen]), y[chosen])
        gradients = torch.autograd.grad(loss, twin.parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(twin.parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=rate(i))
        yield loss.item()


def agreement(model: Module, contexts: Ids, targets: Ids, n_steps: int = 20) -> float:
    """The largest difference that `n_steps` steps in float64 make between `model` and its twin.

    Of the losses, in nats, and of the parameters afterwards. Both start from copies, with batches
    of 32 and a rate of .1; `model` stays as it is.
    """
    ours, twins = copy.deepcopy(model).to(np.float64), copy.deepcopy(model).to(np.float64)
    by_numpy, by_torch = (
        list(loop(copied, contexts, targets, n_steps, 32, lambda i: 0.1, np.random.default_rng(0)))
        for loop, copied in ((training.train, ours), (train, twins))
    )
    pairs = [(np.array(by_numpy), np.array(by_torch))]
    pairs += [(a.data, b.data) for a, b in zip(ours.parameters(), twins.parameters(), strict=True)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@singledispatch
def forward_of(module: Module, twin: Twin) -> Forward:
    """What `module` computes, in torch, on `twin`'s parameters."""
    raise TypeError(f"Twin: expected a part that has a twin, got {type(module).__name__}")


@forward_of.register
def _(module: layers.Sequential, twin: Twin) -> Forward:
    parts = [forward_of(part, twin) for part in module.layers]

    def forward(x: torch.Tensor) -> torch.Tensor:
        for part in parts:
            x = part(x)
        return x

    return forward


@forward_of.register(mlp.MLP)
@forward_of.register(wavenet.Tree)
def _(module: mlp.MLP | wavenet.Tree, twin: Twin) -> Forward:
    return forward_of(module.net, twin)


@forward_of.register
def _(module: layers.Embedding, twin: Twin) -> Forward:
    weight = twin.share(module.weight)
    return lambda ids: F.embedding(ids, weight)


@forward_of.register
def _(module: layers.Linear, twin: Twin) -> Forward:
    weight = twin.share(module.weight)
    bias = None if module.bias is None else twin.share(module.bias)
    return lambda x: F.linear(x, weight.T, bias)


@forward_of.register
def _(module: layers.FlattenConsecutive, twin: Twin) -> Forward:
    def forward(x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        return x.reshape(B, C * T) if module.n == T else x.reshape(B, -1, C * module.n)

    return forward


@forward_of.register
def _(module: layers.Function, twin: Twin) -> Forward:
    if module.function is not Tensor.tanh:
        raise TypeError("Twin: expected no function but Tensor.tanh, which is torch.tanh")
    return torch.tanh


def running(module: layers.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """The running statistics, from now on in the weights' dtype, which torch asks for."""
    dtype = module.weight.data.dtype
    module.running_mean = module.running_mean.astype(dtype)
    module.running_variance = module.running_variance.astype(dtype)
    return torch.from_numpy(module.running_mean), torch.from_numpy(module.running_variance)


@forward_of.register
def _(module: layers.BatchNorm1d, twin: Twin) -> Forward:
    weight, bias = twin.share(module.weight), twin.share(module.bias)
    mean, variance = running(module)

    def forward(x: torch.Tensor) -> torch.Tensor:
        # (N, C): torch would take the middle axis of (B, T, C) for the features.
        rows = x.reshape(-1, x.shape[-1])
        out = F.batch_norm(
            rows, mean, variance, weight, bias, module.training, module.momentum, module.eps
        )
        return out.view_as(x)

    return forward


@forward_of.register
def _(module: wavenet.BatchNormOfTheBug, twin: Twin) -> Forward:
    weight, bias = twin.share(module.weight), twin.share(module.bias)
    statistics: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(x: torch.Tensor) -> torch.Tensor:
        nonlocal statistics
        n = x[0].numel()  # each place of (B, T, C) with statistics of its own: T C features
        if statistics is None:
            module.widen(n)
            statistics = running(module)
        places = n // len(weight)
        out = F.batch_norm(
            x.reshape(len(x), n),
            statistics[0],
            statistics[1],
            weight.repeat(places),
            bias.repeat(places),
            module.training,
            module.momentum,
            module.eps,
        )
        return out.view_as(x)

    return forward


@forward_of.register
def _(module: wavenet.WaveNet, twin: Twin) -> Forward:
    embedding = forward_of(module.embedding, twin)
    blocks = [(_gated(b, twin), forward_of(b.residual, twin), forward_of(b.skip, twin))
              for b in module.blocks]  # fmt: skip
    hidden, last = forward_of(module.hidden, twin), forward_of(module.last, twin)

    def forward(ids: torch.Tensor) -> torch.Tensor:
        x = embedding(ids)
        skips = []
        for gated, residual, skip in blocks:
            passed = gated(x)
            skips.append(skip(passed[:, -1]))  # of the last place only: the others are not asked
            x = x + residual(passed)
        return last(hidden(sum(skips[1:], skips[0]).relu()).relu())

    return forward


def _gated(block: wavenet.GatedBlock, twin: Twin) -> Forward:
    """Filter and gate as one product: the taps side by side, (B, T, 2 C) @ (2 C, 2 C)."""
    filters, gates = twin.share(block.filter), twin.share(block.gate)
    biases = twin.share(block.filter_bias), twin.share(block.gate_bias)

    def forward(x: torch.Tensor) -> torch.Tensor:
        T = x.shape[1]
        before = F.pad(x, (0, 0, block.dilation, 0))[:, :T]
        weight = torch.cat([filters, gates], -1).flatten(0, 1)
        both = F.linear(torch.cat([before, x], -1), weight.T, torch.cat(biases))
        filtered, gate = both.chunk(2, -1)
        return filtered.tanh() * gate.sigmoid()

    return forward


@forward_of.register
def _(module: recurrent.Recurrent, twin: Twin) -> Forward:
    embedding, last = forward_of(module.embedding, twin), forward_of(module.last, twin)
    start, step = twin.share(module.start), step_of(module.cell, twin)

    def forward(ids: torch.Tensor) -> torch.Tensor:
        x = embedding(ids)
        state = start.expand(len(ids), -1)
        for t in range(ids.shape[1]):
            state = step(x[:, t], state)
        return last(state[:, : module.cell.n_hidden])

    return forward


Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@singledispatch
def step_of(cell: recurrent.Cell, twin: Twin) -> Step:
    """One step of a recurrent cell: x (B, E) and a state to the next state."""
    raise TypeError(f"Twin: expected a cell that has a twin, got {type(cell).__name__}")


@step_of.register
def _(cell: recurrent.RNNCell, twin: Twin) -> Step:
    weights = forward_of(cell.weights, twin)
    return lambda x, state: weights(torch.cat([x, state], -1)).tanh()


@step_of.register
def _(cell: recurrent.GRUCell, twin: Twin) -> Step:
    update, reset = forward_of(cell.update, twin), forward_of(cell.reset, twin)
    candidate = forward_of(cell.candidate, twin)

    def step(x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x, state], -1)
        fresh = candidate(torch.cat([x, reset(both).sigmoid() * state], -1)).tanh()
        return torch.lerp(state, fresh, update(both).sigmoid())

    return step


@step_of.register
def _(cell: recurrent.LSTMCell, twin: Twin) -> Step:
    gates = forward_of(cell.gates, twin)

    def step(x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        h, c = state.chunk(2, -1)
        made = gates(torch.cat([x, h], -1))
        i, f, o = made[:, : 3 * cell.n_hidden].sigmoid().chunk(3, -1)
        c = f * c + i * made[:, 3 * cell.n_hidden :].tanh()
        return torch.cat([o * c.tanh(), c], -1)

    return step
