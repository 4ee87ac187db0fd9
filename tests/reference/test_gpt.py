"""The GPT on NumPy: the engine's logits with the same weights, causality, learning, generation."""

import numpy as np
import pytest
import torch

from groundup.models import GPT, GPTConfig
from groundup.reference import gpt as reference
from groundup.reference import training
from groundup.reference.layers import Linear
from groundup.reference.tensor import Tensor

SIZES = {"vocab_size": 19, "block_size": 12, "n_embd": 16, "n_head": 4, "n_layer": 2}


def rng():
    return np.random.default_rng(0)


def test_logits_loss_and_gradients_are_the_engines_with_the_same_weights():
    torch.manual_seed(0)
    engine = GPT(GPTConfig(19, 12, 16, 2, 4)).double()
    for parameter in engine.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    ours = reference.gpt2(**SIZES, rng=rng())
    arrays = {
        name.removeprefix("transformer."): value.detach().numpy()
        for name, value in engine.state_dict().items()
    }
    ours.load(arrays)
    ids = rng().integers(0, 19, (3, 13))
    x, y = ids[:, :-1], ids[:, 1:]
    expected = engine(torch.tensor(x))
    np.testing.assert_allclose(ours(x).data, expected.detach(), atol=1e-12)

    loss = torch.nn.functional.cross_entropy(expected.flatten(0, 1), torch.tensor(y).flatten())
    loss.backward()
    mine = ours.loss(x, y)
    mine.backward()
    assert mine.item() == pytest.approx(loss.item(), abs=1e-12)
    theirs = {n.removeprefix("transformer."): p.grad for n, p in engine.named_parameters()}
    named = ours.named_parameters()
    assert named.keys() == theirs.keys()
    for name, parameter in named.items():
        np.testing.assert_allclose(parameter.grad, theirs[name], atol=1e-12, err_msg=name)


def test_the_three_ways_to_average_agree():
    ways = reference.averages(Tensor(rng().normal(size=(2, 6, 3))))
    for way in ways[1:]:
        np.testing.assert_allclose(way.data, ways[0].data, atol=1e-15)


def test_no_position_hears_the_future():
    model = reference.gpt2(**SIZES, rng=rng())
    ids = rng().integers(0, 19, (1, 12))
    changed = ids.copy()
    changed[0, 7] = (ids[0, 7] + 1) % 19
    before, after = model(ids).data, model(changed).data
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.abs(before[:, 7:] - after[:, 7:]).max() > 0


def test_it_learns_a_text_and_generates_past_its_block():
    text = np.tile(np.arange(5), 60)
    model = reference.gpt2(5, 8, 16, 2, 1, rng())
    losses = list(training.train(model, training.batches(text, 8, 16, rng()), 80, lr=1e-2))
    assert losses[0] == pytest.approx(np.log(5), abs=0.1)
    assert losses[-1] < 0.1
    held_out = training.evaluate(model, *training.windows(text, 8), batch_size=7)
    assert held_out == pytest.approx(model.loss(*training.windows(text, 8)).item(), abs=1e-12)
    assert model.training
    made = model.generate(np.array([[2]]), 20, rng())
    assert made.shape == (1, 21)
    with pytest.raises(IndexError, match="Embedding: expected ids"):
        model.generate(np.array([[5]]), 1, rng())
    assert model.training
    assert ((made[0, 1:] - made[0, :-1]) % 5 == 1).mean() > 0.8


def test_stages_of_the_lecture_can_be_put_together():
    head = reference.Attention(16, 1, rng(), bias=False, project=False)
    model = reference.GPT(19, 8, 16, [head], rng(), norm=False, head=Linear(16, 19, rng()))
    assert model(np.zeros((2, 8), int)).shape == (2, 8, 19)
    blocks = [
        reference.Block(
            reference.Attention(16, 4, rng()), reference.FeedForward(16, rng()), 16, norm=False
        )
    ]
    assert reference.GPT(19, 8, 16, blocks, rng())(np.zeros((2, 3), int)).shape == (2, 3, 19)


def test_batches_of_what_is_no_id_are_refused():
    with pytest.raises(TypeError, match="text: expected whole numbers as ids, got float64"):
        next(training.batches(np.arange(20) * 1.5, 8, 2, rng()))
    assert next(training.batches(list(range(20)), 8, 2, rng()))[0].shape == (2, 8)


def test_windows_are_the_text_cut_every_block():
    x, y = training.windows(np.arange(10), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert y.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert len(training.windows(np.arange(9), 3)[0]) == 2


def test_a_mask_of_ones_own_takes_the_place_of_the_future():
    query, key, value = map(Tensor, rng().normal(size=(3, 2, 3, 4)))
    nothing = np.zeros((1, 1), bool)
    everywhere = reference.attend(query, key, value, hidden=nothing)
    last = reference.attend(query, key, value)
    np.testing.assert_array_equal(everywhere.data[:, -1], last.data[:, -1])
    assert np.abs(everywhere.data[:, 0] - last.data[:, 0]).max() > 0.1
    only_first = np.array([[False, True, True]])
    heard = reference.attend(query, key, value, hidden=only_first)
    np.testing.assert_array_equal(heard.data, np.broadcast_to(value.data[:, :1], (2, 3, 4)))


def test_dropout_is_off_in_use():
    model = reference.gpt2(**SIZES, rng=rng(), dropout=0.5)
    ids = np.zeros((1, 4), int)
    assert np.abs(model(ids).data - model(ids).data).max() > 0
    model.eval()
    np.testing.assert_array_equal(model(ids).data, model(ids).data)


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        (lambda m: m(np.zeros((1, 13), int)), "at most block_size = 12 ids, got 13"),
        (lambda m: m(np.zeros((1, 0), int)), "at least one and at most .* got 0"),
        (lambda m: m.loss(np.zeros((1, 4), int), np.zeros((1, 3), int)), "a target for each id"),
        (lambda m: m.generate(np.zeros((2, 3), int), 1, rng()), r"one row \(1, T\), got shape"),
        (lambda m: training.evaluate(m, *training.windows(np.arange(3), 8)), "got 0 rows and 512"),
        (lambda m: next(training.batches(np.arange(9), 3, 0, rng())), "1 or more, got 0"),
        (lambda m: m.load({}), "expected an array 'wte.weight'"),
        (lambda m: m.load({"wte.weight": np.zeros((2, 2))}), r"expected shape \(19, 16\)"),
        (lambda m: reference.Attention(16, 3, rng()), "16 features to divide by 3 heads"),
        (lambda m: reference.FeedForward(4, rng(), activation="x"), '"gelu" or "relu"'),
        (lambda m: next(training.batches(np.zeros(3, int), 3, 1, rng())), "more than block_size"),
    ],
)
def test_errors_say_what_was_expected(compute, sentence):
    with pytest.raises(ValueError, match=sentence):
        compute(reference.gpt2(**SIZES, rng=rng()))
