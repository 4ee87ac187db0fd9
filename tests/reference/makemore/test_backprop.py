"""Every gradient by hand equals autograd's: PyTorch's, in float64, to the last of ten digits."""

import numpy as np
import pytest
import torch

from groundup.reference.makemore import backprop

V, B = 11, 32


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    p = backprop.parameters(V, rng)
    return p, rng.integers(0, V, (B, 3)), rng.integers(0, V, B)


def autograd(p, x, y):
    """The same forward pass in torch, every intermediate keeping its gradient."""
    t = {name: torch.tensor(value, requires_grad=True) for name, value in p.items()}
    t["embedded"] = t["C"][torch.tensor(x)]
    t["joined"] = t["embedded"].reshape(B, -1)
    t["before_norm"] = t["joined"] @ t["W1"] + t["b1"]
    t["mean"] = t["before_norm"].sum(0, keepdim=True) / B
    t["centered"] = t["before_norm"] - t["mean"]
    t["squared"] = t["centered"] ** 2
    t["variance"] = t["squared"].sum(0, keepdim=True) / B
    t["scale"] = (t["variance"] + backprop.EPS) ** -0.5
    t["normal"] = t["centered"] * t["scale"]
    t["preactivation"] = t["gain"] * t["normal"] + t["shift"]
    t["hidden"] = t["preactivation"].tanh()
    t["logits"] = t["hidden"] @ t["W2"] + t["b2"]
    t["largest"] = t["logits"].max(1, keepdim=True).values
    t["shifted"] = t["logits"] - t["largest"]
    t["powers"] = t["shifted"].exp()
    t["total"] = t["powers"].sum(1, keepdim=True)
    t["total_inverse"] = t["total"] ** -1
    t["probabilities"] = t["powers"] * t["total_inverse"]
    t["log_probabilities"] = t["probabilities"].log()
    loss = -t["log_probabilities"][torch.arange(B), torch.tensor(y)].mean()
    for tensor in t.values():
        tensor.retain_grad()
    loss.backward()
    return loss.item(), {name: tensor.grad.numpy() for name, tensor in t.items()}


def test_every_intermediate_has_autograds_gradient(batch):
    p, x, y = batch
    m = backprop.forward(p, x, y)
    loss, expected = autograd(p, x, y)
    ours = backprop.backward_step_by_step(p, m, x, y)
    assert m["loss"] == pytest.approx(loss, abs=1e-14)
    assert ours.keys() == expected.keys()
    for name in expected:
        assert ours[name].shape == expected[name].shape, name
        assert np.abs(ours[name] - expected[name]).max() < 1e-8, name


def test_the_two_expressions_and_the_whole_pass_are_the_same(batch):
    p, x, y = batch
    m = backprop.forward(p, x, y)
    _, expected = autograd(p, x, y)
    dlogits = backprop.cross_entropy_backward(m["probabilities"], y)
    assert np.abs(dlogits - expected["logits"]).max() < 1e-12
    assert np.abs(dlogits.sum(axis=1)).max() < 1e-15
    dbefore = backprop.batch_norm_backward(expected["normal"], m["normal"], m["scale"])
    assert np.abs(dbefore - expected["before_norm"]).max() < 1e-10
    for name, gradient in backprop.gradients(p, m, x, y).items():
        assert np.abs(gradient - expected[name]).max() < 1e-10, name


def test_a_bias_before_batch_norm_has_no_gradient(batch):
    p, x, y = batch
    gradient = backprop.gradients(p, backprop.forward(p, x, y), x, y)["b1"]
    assert np.abs(gradient).max() < 1e-15


def test_the_loop_learns_and_the_calibrated_loss_agrees(batch):
    p, x, y = batch
    losses = list(backprop.train(p, x, y, 200, B, np.random.default_rng(1)))
    assert losses[-1] < losses[0] / 2
    statistics = backprop.calibrated(p, x)
    in_use = backprop.loss_in_use(p, statistics, x, y)
    assert in_use == pytest.approx(float(backprop.forward(p, x, y)["loss"]), abs=1e-9)
    assert backprop.loss_in_use(p, statistics, x[:1], y[:1]) > 0


def test_cmp_tells_exact_from_approximate_from_wrong():
    one = np.ones(3)
    assert "exact: True " in backprop.cmp("a", one, one)
    close = backprop.cmp("a", one, one + 1e-9)
    assert "exact: False approximate: True  max difference: 1.0e-09" in close
    assert "approximate: False max difference: 1.0e+00" in backprop.cmp("a", one, one * 2)
