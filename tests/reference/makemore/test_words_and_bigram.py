"""The figures of the first lectures, on names where they are to be had and on a few of our own."""

import doctest

import numpy as np
import pytest

from groundup.reference.layers import Function, Linear, Sequential
from groundup.reference.makemore import bigram, mlp, training, words
from groundup.reference.tensor import Tensor, cross_entropy

FEW = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "ella"]


@pytest.fixture(scope="module")
def names(data_file):
    return words.read_names(data_file("names/names.txt").read_text(encoding="utf-8"))


def test_counting_gives_the_lectures_loss(names):
    vocabulary = words.Vocabulary.of(names)
    table = bigram.counts(names, vocabulary)
    assert (len(names), len(vocabulary), table.sum()) == (32_033, 27, 228_146)
    p = bigram.probabilities(table)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert bigram.mean_nll(p, names, vocabulary) == pytest.approx(2.4540, abs=5e-5)
    smoothed = bigram.probabilities(table, 1)
    assert bigram.mean_nll(smoothed, names, vocabulary) == pytest.approx(2.4546, abs=5e-5)
    assert bigram.mean_nll(p, ["andrejq"], vocabulary) == np.inf
    assert bigram.mean_nll(smoothed, ["andrejq"], vocabulary) < 4


def test_gradients_find_what_counting_knows(names):
    vocabulary = words.Vocabulary.of(names)
    table = bigram.counts(names, vocabulary)
    weight = bigram.Bigram(27, np.random.default_rng(0)).weight
    losses = [data for data, _ in bigram.learn(weight, table, 100)]
    assert 3.5 < losses[0] < 4.1
    assert losses[-1] == pytest.approx(2.473, abs=2e-3)
    table_again = bigram.Bigram(27, np.random.default_rng(0)).weight
    _, total = bigram.learn(table_again, table, 400, decay=0.01)[-1]
    assert total == pytest.approx(2.4805, abs=2e-3)


def test_the_split_of_names_has_the_lectures_sizes(names):
    vocabulary = words.Vocabulary.of(names)
    parts = words.split(names)
    sizes = [len(words.examples(part, vocabulary, 3)[1]) for part in parts]
    assert sizes == [182_625, 22_655, 22_866]


def test_a_pair_weighed_by_its_count_is_the_loss_of_every_example():
    vocabulary = words.Vocabulary.of(FEW)
    model = bigram.Bigram(len(vocabulary), np.random.default_rng(1))
    contexts, targets = words.examples(FEW, vocabulary, 1)
    one_by_one = cross_entropy(model(contexts), targets)
    one_by_one.backward()
    expected = model.weight.grad
    model.zero_grad()
    data, _ = bigram.loss_of_counts(model.weight, bigram.counts(FEW, vocabulary))
    data.backward()
    assert data.item() == pytest.approx(one_by_one.item())
    np.testing.assert_allclose(model.weight.grad, expected, atol=1e-12)
    one_hot = np.eye(len(vocabulary))[contexts[:, 0]]
    np.testing.assert_allclose((one_hot @ model.weight).data, model(contexts).data)


def test_a_row_never_seen_is_uniform():
    vocabulary = words.Vocabulary("." + "abc")
    p = bigram.probabilities(bigram.counts(["ab"], vocabulary))
    assert p[3].tolist() == [0.25] * 4


def test_marking_edges_twice_flatters_the_loss(names):
    vocabulary = words.Vocabulary.of(names)
    table = bigram.counts(names, vocabulary)
    table[0, 0] += 2 * len(names)
    p = bigram.probabilities(table, 1)
    assert table.sum() == 292_212
    assert -(table * np.log(p)).sum() / table.sum() == pytest.approx(2.1257, abs=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_mlp_starts_uniform_learns_and_makes_names(batch_norm):
    vocabulary = words.Vocabulary.of(FEW)
    rng = np.random.default_rng(0)
    model = mlp.MLP(len(vocabulary), rng, n_hidden=30, batch_norm=batch_norm)
    contexts, targets = words.examples(FEW, vocabulary, 3)
    losses = list(training.train(model, contexts, targets, 150, 16, lambda _: 0.1, rng))
    assert losses[0] == pytest.approx(np.log(len(vocabulary)), abs=0.2)
    assert training.evaluate(model, contexts, targets) < 1.2
    assert model.training
    name = training.sample(model, vocabulary, 3, np.random.default_rng(5))
    assert name == training.sample(model, vocabulary, 3, np.random.default_rng(5))
    assert set(name) <= set("".join(FEW))


def test_a_naive_start_is_sure_and_wrong_and_saturated():
    vocabulary = words.Vocabulary.of(FEW)
    contexts, targets = words.examples(FEW, vocabulary, 3)
    losses, saturated = {}, {}
    for start in mlp.STARTS:
        model = mlp.MLP(len(vocabulary), np.random.default_rng(3), start=start)
        losses[start] = cross_entropy(model(contexts), targets).item()
        saturated[start] = mlp.saturation(model.net.outputs[-2].data)
    assert losses["naive"] > 10 > 3 > max(losses["calm logits"], losses["calm"])
    assert min(saturated["naive"], saturated["calm logits"]) > 0.4 > 0.2 > saturated["calm"]
    assert mlp.dead_units(np.array([[1.0, 1.0], [-1.0, 0.5]])) == 1


def test_sampling_ends_even_where_the_edge_is_never_drawn():
    vocabulary = words.Vocabulary(".a")
    never = Linear(1, 2, np.random.default_rng(0))
    never.weight.data[:] = 0
    never.bias.data[:] = [-1e9, 0]
    model = Sequential(Function(lambda ids: Tensor(np.ones((len(ids), 1)))), never)
    assert training.sample(model, vocabulary, 3, np.random.default_rng(0), 7) == "a" * 7


@pytest.mark.parametrize(
    ("compute", "error", "sentence"),
    [
        (lambda: words.Vocabulary.of(["a.b"]), ValueError, "which marks a word's edges"),
        (lambda: words.Vocabulary.of(["ab"]).encode("abc"), ValueError, "of 'ab', got 'c'"),
        (lambda: words.Vocabulary.of(["ab"]).encode("a.b"), ValueError, "of 'ab', got '.'"),
        (lambda: words.Vocabulary.of(["ab"]).decode([-1]), IndexError, "expected 0 to 2, got -1"),
        (
            lambda: words.examples(["ab"], words.Vocabulary.of(["ab"]), 0),
            ValueError,
            "block_size: expected 1 or more, got 0",
        ),
        (
            lambda: bigram.Bigram(3, np.random.default_rng(0))(np.array([[-1]])),
            IndexError,
            r"Bigram: expected ids in \[0, 3\), got -1",
        ),
        (
            lambda: mlp.MLP(27, np.random.default_rng(0))(np.zeros((2, 6), int)),
            ValueError,
            r"shape \(B, block_size = 3\), got \(2, 6\)",
        ),
        (
            lambda: training.evaluate(None, np.zeros((0, 3)), np.zeros(0)),
            ValueError,
            "got 0 contexts, 0 targets",
        ),
        (
            lambda: next(training.train(None, [1], [1], 1, 0, lambda _: 1.0, None)),
            ValueError,
            "batch_size 0",
        ),
        (
            lambda: mlp.MLP(5, np.random.default_rng(0), start="x"),
            ValueError,
            "naive, calm logits, calm",
        ),
        (
            lambda: next(training.train(None, [], np.zeros(0), 1, 1, lambda _: 1.0, None)),
            ValueError,
            "examples: expected at least one",
        ),
    ],
)
def test_errors_say_what_was_expected(compute, error, sentence):
    with pytest.raises(error, match=sentence):
        compute()


def test_examples_in_the_text_are_true():
    found = doctest.testmod(words)
    assert found.attempted
    assert not found.failed
    assert training.mean_by([1.0, 3.0, 5.0], 2) == [2.0, 5.0]
