"""The course's models in torch: equal to NumPy's step by step, on the same memory."""

import numpy as np
import pytest
import torch

from groundup import torch_twin
from groundup.reference.layers import BatchNorm1d, Dropout, Function, Sequential
from groundup.reference.makemore import mlp, recurrent, training, wavenet
from groundup.reference.makemore.transformer import Transformer
from groundup.reference.tensor import Tensor

V = 7
RNG = np.random.default_rng


def tree_of_the_bug():
    tree = wavenet.Tree(V, RNG(1), (2, 2, 2), 4, 6)
    tree.net.layers = [
        wavenet.BatchNormOfTheBug(6) if isinstance(part, BatchNorm1d) else part
        for part in tree.net.layers
    ]
    return tree


MODELS = {
    "naive MLP": lambda: mlp.MLP(V, RNG(1), n_hidden=9, start="naive"),
    "MLP with BatchNorm": lambda: mlp.MLP(V, RNG(1), n_hidden=9, batch_norm=True),
    "flat": lambda: wavenet.Tree(V, RNG(1), (8,), 4, 6),
    "tree": lambda: wavenet.Tree(V, RNG(1), (2, 2, 2), 4, 6),
    "tree with the bug": tree_of_the_bug,
    "WaveNet": lambda: wavenet.WaveNet(V, RNG(1), 8, 5),
    "WaveNet whose taps reach past the block": lambda: wavenet.WaveNet(V, RNG(1), 3, 5),
    **{cell: lambda cell=cell: recurrent.Recurrent(V, RNG(1), cell) for cell in recurrent.CELLS},
}


def some(block, n=300):
    return RNG(2).integers(0, V, (n, block)), RNG(3).integers(0, V, n)


@pytest.mark.parametrize("name", MODELS)
def test_a_twin_takes_the_same_steps(name):
    model = MODELS[name]()
    before = [p.data.copy() for p in model.parameters()]
    x, y = some(model.block_size)
    assert torch_twin.agreement(model, x, y, n_steps=10) < 1e-12
    assert all((p.data == b).all() for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("name", ["MLP with BatchNorm", "tree with the bug", "gru"])
def test_what_a_twin_learned_the_model_has(name):
    trained, expected = (MODELS[name]().to(np.float32) for _ in range(2))
    x, y = some(trained.block_size)
    for loop, model in ((torch_twin.train, trained), (training.train, expected)):
        list(loop(model, x, y, 10, 32, lambda i: 0.1, RNG(0)))
    # Also what is no parameter, such as the running statistics.
    seen, wanted = (training.evaluate(model, x, y) for model in (trained, expected))
    assert seen == pytest.approx(wanted, abs=1e-5)
    assert seen < training.evaluate(MODELS[name](), x, y)


def test_a_difference_shows(monkeypatch):
    model = mlp.MLP(V, RNG(1))
    monkeypatch.setattr(torch, "tanh", torch.sigmoid)
    assert torch_twin.agreement(model, *some(3), n_steps=2) > 1e-3


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Sequential(Dropout(0.1, RNG(0))), "a part that has a twin, got Dropout"),
        (Sequential(Function(Tensor.relu)), "no function but Tensor.tanh"),
        (Transformer(V, RNG(0)), "a part that has a twin, got Transformer"),
    ],
)
def test_a_part_without_a_twin_is_named(model, sentence):
    with pytest.raises(TypeError, match=sentence):
        torch_twin.Twin(model)


def test_no_examples_are_refused():
    x, y = some(3, n=0)
    with pytest.raises(ValueError, match="at least one example, got none"):
        next(torch_twin.train(mlp.MLP(V, RNG(1)), x, y, 1, 32, lambda i: 0.1, RNG(0)))
