"""Layers equal PyTorch's, in training and in use; batches of one and wrong ids are refused."""

import numpy as np
import pytest
import torch
from torch import nn

from groundup.reference import layers
from groundup.reference.tensor import Tensor

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(6, 4), (5, 3, 4), (2, 4)])
def test_batch_norm_is_torchs_while_training_and_after(shape):
    ours, theirs = layers.BatchNorm1d(4), nn.BatchNorm1d(4).double()
    for _ in range(3):
        x = RNG.normal(2, 3, shape)
        leaf = Tensor(x)
        out = ours(leaf)
        tx = torch.tensor(x, requires_grad=True)
        expected = theirs(tx.reshape(-1, 4)).reshape(shape)
        np.testing.assert_allclose(out.data, expected.detach(), atol=1e-12)
        (out * out * out).sum().backward()
        (expected**3).sum().backward()
        np.testing.assert_allclose(leaf.grad, tx.grad, atol=1e-9)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean)
    np.testing.assert_allclose(ours.running_variance, theirs.running_var)
    ours.eval()
    theirs.eval()
    one = RNG.normal(size=(1, 4))
    np.testing.assert_allclose(ours(Tensor(one)).data, theirs(torch.tensor(one)).detach())


def test_batch_statistics_of_one_example_are_refused_and_eval_mends_it():
    layer = layers.BatchNorm1d(3)
    with pytest.raises(ValueError, match=r"at least two examples.*\.eval\(\)"):
        layer(Tensor(np.ones((1, 3))))
    assert layer.eval()(Tensor(np.ones((1, 3)))).shape == (1, 3)


def test_a_linear_layer_keeps_the_width_of_its_input():
    x = Tensor(RNG.normal(size=(2000, 50)))
    assert abs(layers.Linear(50, 300, RNG)(x).data.std() - 1) < 0.05
    squashed = layers.Linear(50, 300, RNG, gain=5 / 3)(x).tanh()
    assert 0.6 < squashed.data.std() < 0.8


def test_an_embedding_picks_rows_and_refuses_ids_outside():
    table = layers.Embedding(5, 3, RNG)
    ids = np.array([[0, 4], [4, 4]])
    np.testing.assert_array_equal(table(ids).data, table.weight.data[ids])
    table(ids).sum().backward()
    assert table.weight.grad[:, 0].tolist() == [1, 0, 0, 0, 3]
    for wrong in ([5], [-1]):
        with pytest.raises(IndexError, match=r"expected ids in \[0, 5\)"):
            table(np.array(wrong))
    with pytest.raises(TypeError, match="Embedding: expected whole numbers as ids, got bool"):
        table(np.array([True, False, True]))


def test_neighbours_are_flattened_side_by_side():
    x = Tensor(np.arange(24.0).reshape(2, 4, 3))
    pairs = layers.FlattenConsecutive(2)(x)
    assert pairs.shape == (2, 2, 6)
    assert pairs.data[0, 1].tolist() == [6, 7, 8, 9, 10, 11]
    assert layers.FlattenConsecutive(4)(x).shape == (2, 12)
    with pytest.raises(ValueError, match="divisible by 3, got 4"):
        layers.FlattenConsecutive(3)(x)


def test_dropout_and_batch_norm_know_whether_they_train():
    net = layers.Sequential(
        layers.Linear(3, 4, RNG), layers.BatchNorm1d(4), layers.Dropout(0.5, RNG)
    )
    assert (net(Tensor(RNG.normal(size=(50, 3)))).data == 0).any()
    net.eval()
    first, second = (net(Tensor(np.ones((1, 3)))).data for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert [out.shape for out in net.outputs] == [(1, 4)] * 3


def test_parameters_are_found_in_lists_tuples_and_dicts_and_results_are_none():
    class Parts(layers.Module):
        def __init__(self):
            self.pair = (layers.Linear(1, 1, RNG), None)
            self.named = {"a": Tensor(np.ones(2)), "b": [Tensor(np.ones(3))]}
            self.net = layers.Sequential(layers.Dropout(0.5, RNG), layers.LayerNorm(2)).eval()

    whole = Parts()
    whole.net(Tensor(np.ones(2)))  # in use, dropout hands on the very leaf that came in
    names = ["pair.0.weight", "pair.0.bias", "named.a", "named.b.0"]
    assert list(whole.named_parameters()) == [*names, "net.layers.1.weight", "net.layers.1.bias"]
    assert len(list(whole.modules())) == 5


def test_whatever_ends_the_use_of_a_model_it_goes_on_to_train():
    net = layers.Sequential(layers.Linear(3, 4, RNG))
    with pytest.raises(ValueError, match="matmul"), net.in_use():
        net(Tensor(np.ones((1, int(net.layers[0].training)))))  # (1, 0) in use
    assert net.training
    assert net.layers[0].training


def test_a_part_that_was_frozen_stays_frozen_after_use():
    net = layers.Sequential(layers.BatchNorm1d(2), layers.Dropout(0.5, RNG))
    net.layers[0].eval()
    with net.in_use():
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, False, True]


@pytest.mark.parametrize(
    "held",
    [
        {"b.c": Tensor(np.ones(1)), "b": {"c": Tensor(np.ones(2))}},
        {0: layers.Linear(1, 1, RNG), "0": layers.Linear(1, 1, RNG)},
    ],
)
def test_two_parameters_of_one_name_are_refused(held):
    module = layers.Module()
    module.held = held
    with pytest.raises(ValueError, match=r"got 'held\.(b\.c|0\.bias)' twice; choose other keys"):
        module.parameters()


@pytest.mark.parametrize("norm", [layers.BatchNorm1d(5), layers.LayerNorm(5)])
def test_a_norm_refuses_another_number_of_features(norm):
    for training in (True, False):
        with pytest.raises(ValueError, match=r"Norm.*: expected shape \(..., 5\), got \(4, 1\)"):
            norm.train(training)(Tensor(np.ones((4, 1))))


def test_parameters_are_listed_once_and_change_precision_together():
    shared = layers.Linear(3, 3, RNG)
    net = layers.Sequential(shared, layers.LayerNorm(3), shared, layers.Function(Tensor.tanh))
    assert net.n_parameters() == 9 + 3 + 3 + 3
    assert {p.data.dtype for p in net.to(np.float32).parameters()} == {np.dtype(np.float32)}
    out = net(Tensor(np.ones((2, 3), np.float32)))
    assert out.data.dtype == np.float32
    out.sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
