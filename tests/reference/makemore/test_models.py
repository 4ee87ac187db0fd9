"""Trees, WaveNet, recurrent cells, transformer: sizes, PyTorch's numbers, no looking ahead."""

import numpy as np
import pytest
import torch
from torch import nn

from groundup.reference.layers import BatchNorm1d
from groundup.reference.makemore import recurrent, training, transformer, wavenet
from groundup.reference.makemore.words import Vocabulary, examples
from groundup.reference.tensor import Tensor

FEW = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "ella"]
IDS = np.random.default_rng(9).integers(0, 27, (5, 8))


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("settings", "n_parameters"),
    [
        ({"fan_in": (3,), "n_features": 10, "n_hidden": 200}, 12_097),
        ({"fan_in": (8,), "n_features": 10, "n_hidden": 200}, 22_097),
        ({"fan_in": (2, 2, 2), "n_features": 10, "n_hidden": 68}, 22_397),
        ({"fan_in": (2, 2, 2), "n_features": 24, "n_hidden": 128}, 76_579),
    ],
)
def test_the_lectures_networks_have_its_numbers_of_parameters(settings, n_parameters):
    assert wavenet.Tree(27, rng(), **settings).n_parameters() == n_parameters


MODELS = {
    "tree": lambda: wavenet.Tree(27, rng(), n_features=8, n_hidden=16),
    "wavenet": lambda: wavenet.WaveNet(27, rng(), n_channels=16),
    "rnn": lambda: recurrent.Recurrent(27, rng(), "rnn", n_hidden=24),
    "gru": lambda: recurrent.Recurrent(27, rng(), "gru", n_hidden=24),
    "lstm": lambda: recurrent.Recurrent(27, rng(), "lstm", n_hidden=24),
    "transformer": lambda: transformer.Transformer(27, rng(), n_embd=16, n_head=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_starts_near_uniform_and_learns_by_the_same_loop(name):
    vocabulary = Vocabulary.of(["abcdefghijklmnopqrstuvwxyz"])
    model = MODELS[name]()
    contexts, targets = examples(FEW, vocabulary, model.block_size)
    steps = training.train(model, contexts, targets, 120, 32, lambda _: 0.15, rng())
    losses = list(steps)
    assert losses[0] == pytest.approx(np.log(27), abs=0.35)
    assert training.evaluate(model, contexts, targets) < 2.1
    training.sample(model, vocabulary, model.block_size, rng())


def test_a_tree_takes_its_block_and_no_multiple_of_it():
    with pytest.raises(ValueError, match=r"block_size = 8\), got \(2, 16\)"):
        MODELS["tree"]()(np.zeros((2, 16), int))


@pytest.mark.parametrize("name", ["wavenet", "rnn", "lstm"])
def test_contexts_are_rows_of_at_least_one_id(name):
    for shape in ((3,), (2, 0)):
        with pytest.raises(ValueError, match=r"ids: expected shape \(B, T\) with T of 1 or more"):
            MODELS[name]()(np.zeros(shape, int))


@pytest.mark.parametrize("name", ["tree", "wavenet", "gru", "transformer"])
def test_a_list_of_contexts_is_as_good_as_an_array(name):
    model = MODELS[name]().eval()
    np.testing.assert_array_equal(model(IDS.tolist()).data, model(IDS).data)


@pytest.mark.parametrize("name", ["wavenet", "transformer"])
def test_a_position_sees_what_stood_before_and_nothing_after(name):
    model = MODELS[name]()
    before = model.every_position(IDS).data
    changed = IDS.copy()
    changed[:, 5] = (changed[:, 5] + 1) % 27
    after = model.every_position(changed).data
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(before[:, 7] - after[:, 7]).max() > 0
    assert np.abs(before[:, 5] - after[:, 5]).max() > 0


def test_dilated_convolutions_give_what_calls_position_by_position_give():
    model = wavenet.WaveNet(27, rng(), n_channels=8)
    together = model.every_position(IDS).data
    x = model.embedding(IDS)
    block = model.blocks[1]
    both = block.both(x)[0].data
    for t in range(8):
        alone = model.every_position(IDS[:, : t + 1]).data[:, -1]
        np.testing.assert_allclose(together[:, t], alone, atol=1e-12)
        far = x.data[:, t - 2] if t >= 2 else np.zeros((5, 8))
        taps = [far @ w.data[0] + x.data[:, t] @ w.data[1] for w in (block.filter, block.gate)]
        passed = np.tanh(taps[0]) / (1 + np.exp(-taps[1]))
        by_hand = x.data[:, t] + passed @ block.residual.weight.data + block.residual.bias.data
        np.testing.assert_allclose(both[:, t], by_hand, atol=1e-12)


def test_the_lectures_bug_keeps_statistics_for_every_place():
    x = Tensor(rng().normal(size=(6, 4, 3)))
    wrong, right = wavenet.BatchNormOfTheBug(3), BatchNorm1d(3)
    assert np.abs(wrong(x).data - right(x).data).max() > 0.1
    assert (wrong.running_mean.size, right.running_mean.size) == (12, 3)
    expected = nn.BatchNorm1d(12).double()(torch.tensor(x.data).reshape(6, 12)).detach()
    np.testing.assert_allclose(wrong(x).data, expected.reshape(6, 4, 3), atol=1e-12)
    wrong.eval()
    assert wrong(Tensor(x.data[:1])).shape == (1, 4, 3)


@pytest.mark.parametrize("cell", recurrent.CELLS)
def test_cells_are_torchs_with_the_same_weights(cell):
    model = recurrent.Recurrent(27, rng(), cell, n_features=5, n_hidden=6)
    ours = model.cell
    theirs = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](5, 6, batch_first=True).double()

    def put(first, layer, columns=slice(None)):
        weight, bias = layer.weight.data[:, columns].T, layer.bias.data[columns]
        rows = slice(first, first + weight.shape[0])
        with torch.no_grad():
            theirs.weight_ih_l0[rows] = torch.tensor(weight[:, :5])
            theirs.weight_hh_l0[rows] = torch.tensor(weight[:, 5:])
            theirs.bias_ih_l0[rows] = torch.tensor(bias)
            theirs.bias_hh_l0[rows] = 0

    if cell == "rnn":
        put(0, ours.weights)
    elif cell == "lstm":  # torch's order: i, f, g, o
        for place, part in enumerate((0, 1, 3, 2)):
            put(6 * place, ours.gates, slice(6 * part, 6 * part + 6))
    else:
        put(0, ours.reset)
        put(6, ours.update)
        put(12, ours.candidate)
    x = torch.tensor(model.embedding(IDS).data)
    if cell == "gru":  # torch resets after the product and keeps z of the old: step by step
        h = torch.zeros(5, 6, dtype=torch.float64)
        for t in range(8):
            both = torch.cat([x[:, t], h], 1)
            z, r = (
                torch.sigmoid(both @ torch.tensor(g.weight.data) + torch.tensor(g.bias.data))
                for g in (ours.update, ours.reset)
            )
            inner = torch.cat([x[:, t], r * h], 1) @ torch.tensor(ours.candidate.weight.data)
            h = (1 - z) * h + z * torch.tanh(inner + torch.tensor(ours.candidate.bias.data))
        expected = h
    else:
        expected = theirs(x)[0][:, -1].detach()
    np.testing.assert_allclose(model.states(IDS)[-1].data[:, :6], expected, atol=1e-12)


def test_gradients_fade_on_the_way_back_through_an_rnn_and_less_through_an_lstm():
    reach = {}
    for cell in ("rnn", "lstm"):
        model = recurrent.Recurrent(27, rng(), cell, block_size=24, n_hidden=32)
        ids = rng().integers(0, 27, (8, 24))
        states = model.states(ids)
        (states[-1][:, :32] ** 2).sum().backward()
        norms = recurrent.gradient_norms(states)
        reach[cell] = norms[4] / norms[-1]
    assert reach["rnn"] < reach["lstm"]
    with pytest.raises(ValueError, match="a cell of rnn, gru, lstm, got 'x'"):
        recurrent.Recurrent(27, rng(), "x")
