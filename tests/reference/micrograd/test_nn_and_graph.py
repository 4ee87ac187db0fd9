"""The MLP on Values equals torch's step by step; the graph is drawn with and without Graphviz."""

import doctest
import shutil
import xml.etree.ElementTree as ET

import pytest
import torch

from groundup.reference.micrograd import engine, gradcheck, graph, nn
from groundup.reference.micrograd.engine import Value
from groundup.reference.micrograd.nn import MLP, Layer, Neuron

XS = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
YS = [1.0, -1.0, -1.0, 1.0]


def torch_twin(model):
    """The same network in torch, in float64, with the weights as they are now."""
    layers = []
    for layer in model.layers:
        linear = torch.nn.Linear(
            len(layer.neurons[0].weights), len(layer.neurons), dtype=torch.float64
        )
        with torch.no_grad():
            for row, neuron in enumerate(layer.neurons):
                linear.bias[row] = neuron.bias.data
                for column, weight in enumerate(neuron.weights):
                    linear.weight[row, column] = weight.data
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers)


def losses_on_values(model, n_steps, rate):
    for _ in range(n_steps):
        loss = sum((model(x) - y) ** 2 for x, y in zip(XS, YS, strict=True))
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= rate * p.grad
        yield loss.data


def losses_in_torch(model, n_steps, rate):
    xs, ys = torch.tensor(XS, dtype=torch.float64), torch.tensor(YS, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(n_steps):
        loss = (model(xs).squeeze(1) - ys).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def test_the_lectures_mlp_has_41_parameters_and_learns():
    model = MLP(3, [4, 4, 1], seed=1)
    assert len(model.parameters()) == 41
    losses = list(losses_on_values(model, 50, 0.05))
    assert losses[-1] < 0.1 < losses[0]


def test_the_loss_after_every_step_is_torchs():
    model = MLP(3, [4, 4, 1], seed=2)
    theirs = list(losses_in_torch(torch_twin(model), 20, 0.05))
    assert list(losses_on_values(model, 20, 0.05)) == pytest.approx(theirs, abs=1e-9)


def test_without_activation_layers_on_layers_are_one_linear_map():
    model = MLP(2, [5, 3, 1], activation=None, seed=3)
    at_zero = model([0.0, 0.0]).data
    slopes = [model([1.0, 0.0]).data - at_zero, model([0.0, 1.0]).data - at_zero]
    there = model([7.0, -2.0]).data
    assert there == pytest.approx(at_zero + 7 * slopes[0] - 2 * slopes[1])


def test_a_seed_fixes_the_weights_and_one_output_is_no_list():
    first, second = (MLP(2, [3, 2], seed=7) for _ in range(2))
    assert [p.data for p in first.parameters()] == [p.data for p in second.parameters()]
    assert len(first([1.0, 2.0])) == 2
    assert isinstance(MLP(2, [1])([1.0, 2.0]), Value)
    assert len(Layer(2, 3)([1.0, 2.0])) == 3


def test_a_wrong_number_of_inputs_is_a_sentence():
    with pytest.raises(ValueError, match="expected 3 inputs, got 2"):
        Neuron(3)([1.0, 2.0])
    with pytest.raises(ValueError, match="expected at least one layer"):
        MLP(3, [])


def an_expression():
    a, b = Value(2.0, label='a<"|{}'), Value(-3.0, label="b")
    result = (a * b + a).tanh()
    result.label = "out"
    result.backward()
    return result


def test_graphviz_source_holds_every_value_and_operation():
    source = graph.to_dot(an_expression())
    assert source.startswith("digraph {")
    assert source.count("shape=record") == 5
    assert source.count("shape=circle") == 3
    assert source.count("->") == 3 + 5
    assert r"a\<\"\|\{\}" in source


def test_the_plain_picture_is_valid_svg_and_places_no_two_boxes_together():
    picture = ET.fromstring(graph.plain_svg(an_expression()))
    boxes = [(r.get("x"), r.get("y")) for r in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(set(boxes)) == len(boxes) == 5
    assert any('a<"|{}' in t.text for t in picture.iter("{http://www.w3.org/2000/svg}text"))


def test_a_label_with_signs_that_xml_does_not_know_is_drawn_without_them():
    (picture,) = ET.fromstring(graph.plain_svg(Value(1.0, label="a\x01\ud800क"))).iter(
        "{http://www.w3.org/2000/svg}text"
    )
    assert picture.text.startswith("a\ufffd\ufffdक | 1")


def test_without_graphviz_the_plain_picture_is_drawn(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert graph.to_svg(an_expression()) == graph.plain_svg(an_expression())


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not installed")
def test_graphviz_draws_the_source():
    assert "<svg" in graph.to_svg(an_expression())


@pytest.mark.parametrize("module", [engine, nn, gradcheck])
def test_examples_in_the_text_are_true(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
