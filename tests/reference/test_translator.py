"""Encoder and decoder: who may hear whom, gradients, and a sentence learned backwards."""

import numpy as np
import pytest
import torch

from groundup.reference import training
from groundup.reference.gpt import Attention
from groundup.reference.tensor import Tensor
from groundup.reference.translator import (
    END,
    PAD,
    START,
    UNKNOWN,
    CrossAttention,
    Translator,
    Words,
    batches,
    examples,
    padded,
)


def rng():
    return np.random.default_rng(0)


def small(**settings):
    return Translator(9, 7, 8, 8, 2, 2, rng(), **settings)


SOURCE = np.array([[4, 5, 6, END, PAD, PAD], [8, 7, 6, 5, 4, END]])
WRITTEN = np.array([[START, 4, 5, PAD], [START, 6, 5, 4]])
TARGETS = np.array([[4, 5, END, PAD], [6, 5, 4, END]])


def test_the_encoder_hears_in_both_directions():
    model = small()
    before, _ = model.encode(SOURCE)
    for place in (0, 4):
        changed = SOURCE.copy()
        changed[1, place] = 4 if place == 0 else 8
        after, _ = model.encode(changed)
        moved = np.abs(after.data[1] - before.data[1]).max(axis=-1)
        assert (moved > 1e-6).all()
        np.testing.assert_array_equal(after.data[0], before.data[0])


def test_the_decoder_hears_no_future_but_all_of_the_source():
    model = small()
    before = model(SOURCE, WRITTEN).data
    ahead = WRITTEN.copy()
    ahead[1, 2] = 4
    after = model(SOURCE, ahead).data
    np.testing.assert_array_equal(after[1, :2], before[1, :2])
    assert np.abs(after[1, 2:] - before[1, 2:]).max() > 1e-6
    other = SOURCE.copy()
    other[1, 4] = 8
    moved = np.abs(model(other, WRITTEN).data[1] - before[1]).max(axis=-1)
    assert (moved > 1e-6).all()


def test_padding_changes_nothing():
    model = small()
    loss = model.loss(SOURCE, WRITTEN, TARGETS).item()
    more = [np.pad(part, ((0, 0), (0, 2))) for part in (SOURCE, WRITTEN, TARGETS)]
    assert model.loss(*more).item() == pytest.approx(loss, abs=1e-12)
    alone = model(SOURCE[:1, :4], WRITTEN[:1, :3]).data
    np.testing.assert_allclose(model(SOURCE, WRITTEN).data[0, :3], alone[0], atol=1e-12)
    assert not model.decoder[0].ask.weights[0, :, :, 4:].any()
    each = [model.loss(*(p[i : i + 1] for p in (SOURCE, WRITTEN, TARGETS))).item() for i in (0, 1)]
    assert loss == pytest.approx((3 * each[0] + 4 * each[1]) / 7, abs=1e-12)


def test_padding_gets_no_gradient():
    model = small()
    model.loss(SOURCE, WRITTEN, TARGETS).backward()
    assert not model.read.weight.grad[PAD].any()
    assert not model.write.weight.grad[PAD].any()
    assert model.read.weight.grad[4].any()


def test_gradients_are_those_of_finite_differences():
    model = small()
    parameters = model.named_parameters()
    for value in parameters.values():
        value.data += rng().normal(size=value.shape) * 0.1
    model.loss(SOURCE, WRITTEN, TARGETS).backward()
    step = 1e-6
    for name, parameter in parameters.items():
        at = tuple(rng().integers(0, n) for n in parameter.shape)
        if name in ("read.weight", "write.weight"):
            at = (5, 3)
        kept, losses = parameter.data[at], []
        for moved in (kept + step, kept - step):
            parameter.data[at] = moved
            losses.append(model.loss(SOURCE, WRITTEN, TARGETS).item())
        parameter.data[at] = kept
        slope = (losses[0] - losses[1]) / (2 * step)
        assert parameter.grad[at] == pytest.approx(slope, abs=1e-8, rel=1e-5), name


def test_cross_attention_is_torchs():
    ours = CrossAttention(8, 2, rng())
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    joined = np.concatenate([ours.c_q.weight.data, ours.c_kv.weight.data], axis=1).T
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.tensor(joined))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(torch.tensor(ours.c_proj.weight.data.T))
        theirs.out_proj.bias.zero_()
    x, memory = rng().normal(size=(3, 4, 8)), rng().normal(size=(3, 5, 8))
    padding = np.arange(5) >= np.array([[5], [2], [3]])
    out, weights = theirs(
        *map(torch.tensor, (x, memory, memory)), torch.tensor(padding), average_attn_weights=False
    )
    mine = ours(Tensor(x), Tensor(memory), padding[:, None, None, :]).data
    np.testing.assert_allclose(mine, out.detach(), atol=1e-12)
    np.testing.assert_allclose(ours.weights, weights.detach(), atol=1e-12)


def test_it_learns_to_turn_a_sentence_round_and_blind_it_cannot():
    draw = rng()
    rows = [list(draw.integers(4, 8, draw.integers(2, 5))) for _ in range(400)]
    parts = examples(rows, [row[::-1] for row in rows])
    held_out = [part[:50] for part in parts]
    learned = {}
    for look in (True, False):
        model = Translator(8, 8, 6, 24, 2, 1, rng(), look=look)
        drawn = batches([part[50:] for part in parts], 32, draw)
        for _ in training.train(model, drawn, 80, lr=1e-2):
            pass
        learned[look] = training.evaluate(model, *held_out)
    assert learned[True] < 0.3
    assert learned[False] > 1.0


def test_words_and_rows():
    words = Words([["a", "b"], ["b", "c"], ["b", "a"]], at_least=2)
    assert words.words[4:] == ["b", "a"]
    assert words.encode(["a", "c", "b"]) == [5, UNKNOWN, 4]
    assert words.decode([5, UNKNOWN, 4, END, 5]) == ["a", "<unknown>", "b"]
    source, written, targets = examples([[4], [5, 6]], [[7, 8], [9]])
    assert source.tolist() == [[4, END, PAD], [5, 6, END]]
    assert written.tolist() == [[START, 7, 8], [START, 9, PAD]]
    assert targets.tolist() == [[7, 8, END], [9, END, PAD]]
    drawn = next(batches([padded([[4, 5]] * 3), padded([[4]] * 3 + [[4, 5]])[:3]], 2, rng()))
    assert [part.shape for part in drawn] == [(2, 2), (2, 1)]


def test_it_writes_until_every_sentence_has_ended():
    model = small()
    assert model.translate(SOURCE).shape[1] <= 7
    model.head.weight.data[:] = 0
    model.head.bias.data[:] = np.eye(7)[END]
    assert model.translate(SOURCE).tolist() == [[END], [END]]
    assert model.training


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        (
            lambda m: m.loss(SOURCE, SOURCE, PAD * SOURCE),
            r"not all of them padding, .* with 0 words",
        ),
        (lambda m: m.loss(SOURCE, SOURCE, SOURCE[:, :1]), "targets: expected one for each of"),
        (lambda m: m.encode(np.full((1, 9), 4)), "source: expected shape .* block_size = 8, got"),
        (lambda m: m(SOURCE, np.zeros(3, int)), r"written: expected shape .*got \(3,\)"),
        (lambda m: m.encode(np.array([[PAD, 4]])), "begin with a word or a mark, got padding"),
        (lambda m: CrossAttention(8, 3, rng()), "8 features to divide by 3 heads"),
        (lambda m: Attention(8, 3, rng()), "8 features to divide by 3 heads"),
    ],
)
def test_errors_say_what_was_expected(compute, sentence):
    with pytest.raises(ValueError, match=sentence):
        compute(small())
