"""Skip-gram with negative sampling: its slopes, its draws, its sums, and what it says of a text."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import word2vec
from groundup.reference.word2vec import Settings, SkipGram, Vocabulary

TEXT = "the cat sat on the mat and the dog sat on the log and the cat saw the dog " * 30


def trained(text=TEXT, seed=0, **settings):
    words = word2vec.words_of(text)
    vocabulary = Vocabulary.of(words)
    chosen = Settings(**{"n_features": 8, "n_epochs": 2, "batch_size": 64, **settings})
    model = SkipGram(
        len(vocabulary),
        chosen.n_features,
        np.random.default_rng(seed),
        one_matrix=chosen.one_matrix,
    )
    rng = np.random.default_rng(seed + 1)
    ids = vocabulary.encode(words)
    losses = list(word2vec.train(model, ids, vocabulary.counts, chosen, rng))
    return vocabulary, model, losses


def some_pairs(n_words, n, n_negatives, seed):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, n_words, n),
        rng.integers(0, n_words, n),
        rng.integers(0, n_words, (n, n_negatives)),
    )


def random_model(n_words, n_features, seed, one_matrix=False):
    rng = np.random.default_rng(seed)
    model = SkipGram(n_words, n_features, rng, one_matrix=one_matrix, dtype=np.float64)
    model.centres[:] = rng.normal(size=model.centres.shape)
    if not one_matrix:
        model.contexts[:] = rng.normal(size=model.contexts.shape)
    return model


def pair_by_pair(model, centres, contexts, negatives, rate):
    """The same step in plain numbers: every pair reads the model as it was before the batch."""
    v, u = model.centres.tolist(), model.contexts.tolist()
    new_v, new_u = model.centres.tolist(), model.contexts.tolist()
    if model.contexts is model.centres:
        new_u = new_v
    losses = []
    for centre, context, drawn in zip(centres, contexts, negatives, strict=True):
        loss = 0.0
        for row, truth in [(context, 1), *((k, 0) for k in drawn if k != context)]:
            score = math.fsum(x * y for x, y in zip(v[centre], u[row], strict=True))
            belief = 1 / (1 + math.exp(-score))
            loss += math.log1p(math.exp(-score if truth else score))
            for c in range(len(v[centre])):
                new_v[centre][c] -= rate * (belief - truth) * u[row][c]
                new_u[row][c] -= rate * (belief - truth) * v[centre][c]
        losses.append(loss)
    return losses, np.array(new_v), np.array(new_u)


@pytest.mark.parametrize("one_matrix", [False, True])
@given(seed=st.integers(0, 999), n_words=st.integers(1, 6), n=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_a_batch_adds_up_what_its_pairs_do_one_by_one(one_matrix, seed, n_words, n):
    model = random_model(n_words, 3, seed, one_matrix)
    batch = some_pairs(n_words, n, 2, seed)
    losses, v, u = pair_by_pair(model, *batch, 0.1)
    np.testing.assert_allclose(model.step(*batch, 0.1), losses, rtol=1e-12)
    np.testing.assert_allclose(model.centres, v, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.contexts, u, rtol=0, atol=1e-12)


@pytest.mark.parametrize("one_matrix", [False, True])
def test_a_step_follows_the_loss_by_finite_differences(one_matrix):
    model = random_model(5, 4, 1, one_matrix)
    batch = some_pairs(5, 20, 3, 2)
    tables = [model.centres] if one_matrix else [model.centres, model.contexts]
    expected = []
    for table in tables:
        slopes = np.zeros_like(table)
        for place in np.ndindex(*table.shape):
            old, nudged = table[place], []
            for h in (1e-6, -1e-6):
                table[place] = old + h
                nudged.append(model.slopes(*batch)[0].sum())
            table[place] = old
            slopes[place] = (nudged[0] - nudged[1]) / 2e-6
        expected.append(slopes)
    before = [table.copy() for table in tables]
    model.step(*batch, 1.0)
    for table, old, slopes in zip(tables, before, expected, strict=True):
        np.testing.assert_allclose(old - table, slopes, rtol=0, atol=1e-7)


def test_a_context_drawn_as_its_own_negative_changes_nothing():
    with_it, without = random_model(4, 3, 5), random_model(4, 3, 5)
    with_it.step(np.array([0]), np.array([1]), np.array([[1, 2]]), 0.5)
    without.step(np.array([0]), np.array([1]), np.array([[2]]), 0.5)
    np.testing.assert_array_equal(with_it.centres, without.centres)
    np.testing.assert_array_equal(with_it.contexts, without.contexts)


def test_scores_of_any_size_give_finite_losses():
    model = random_model(3, 2, 0)
    model.centres *= 1e4
    model.contexts *= 1e4
    with np.errstate(all="raise", under="ignore"):
        losses, _, dscores = model.slopes(*some_pairs(3, 50, 4, 0))
    assert np.isfinite(losses).all()
    assert (np.abs(dscores) <= 1).all()


def test_rows_that_repeat_get_every_change():
    table = np.zeros((3, 2))
    rows, changes = np.array([2, 0, 2, 2]), np.arange(8.0).reshape(4, 2)
    word2vec.add_rows(table, rows, changes)
    np.testing.assert_array_equal(table, [[2, 3], [0, 0], [10, 13]])
    lossy = np.zeros((3, 2))
    lossy[rows] += changes
    assert lossy[2, 0] == 6  # the last one alone
    with pytest.raises(ValueError, match="changes to a copy would be lost"):
        word2vec.add_rows(np.zeros((2, 3)).T, rows, changes)


@given(counts=st.lists(st.integers(1, 1000), min_size=1, max_size=8), power=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_negatives_are_drawn_by_the_law(counts, power):
    law = word2vec.noise_law(np.array(counts), power)
    exact = [c**power / math.fsum(n**power for n in counts) for c in counts]
    np.testing.assert_allclose(law, exact, rtol=1e-12)
    drawn = word2vec.draw(law, (100, 400), np.random.default_rng(0))
    seen = np.bincount(drawn.ravel(), minlength=len(counts)) / drawn.size
    # five standard deviations of a share over 40,000 draws, for each of at most 8 words
    np.testing.assert_array_less(np.abs(seen - law), 5 * np.sqrt(law * (1 - law) / 40_000) + 1e-4)


def test_a_draw_cuts_the_unit_interval_exactly_as_the_law_does():
    class Fixed:
        def random(self, shape):
            return np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53]).reshape(shape)

    drawn = word2vec.draw(np.array([0.25, 0.5, 0.25]), (6,), Fixed())
    np.testing.assert_array_equal(drawn, [0, 0, 1, 1, 2, 2])
    never = word2vec.draw(np.array([0.0, 1.0, 0.0]), (1000,), np.random.default_rng(0))
    assert set(never.tolist()) == {1}


def test_frequent_words_are_kept_by_the_papers_formula():
    counts = np.array([50_000, 1_000, 100, 48_900])
    keep = word2vec.keep_probability(counts, 1e-3)
    assert keep[0] == pytest.approx(math.sqrt(1e-3 / 0.5))
    assert keep[1] == pytest.approx(math.sqrt(0.1))
    assert keep[2] == 1.0
    assert (word2vec.keep_probability(counts, math.inf) == 1).all()


@given(n=st.integers(0, 30), window=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_pairs_are_each_words_neighbours_as_far_as_it_looks(n, window, seed):
    ids = np.arange(n)
    reach = np.random.default_rng(seed).integers(1, window + 1, n)
    expected = sorted(
        (i, j) for i in range(n) for j in range(n) if i != j and abs(i - j) <= reach[i]
    )
    got = word2vec.pairs(ids, window, np.random.default_rng(seed))
    assert sorted(zip(*(side.tolist() for side in got), strict=True)) == expected


def test_a_seed_gives_the_same_vectors_and_another_seed_others():
    _, first, losses = trained(seed=3)
    _, again, losses_again = trained(seed=3)
    _, other, _ = trained(seed=4)
    assert losses == losses_again
    np.testing.assert_array_equal(first.centres, again.centres)
    assert not np.array_equal(first.centres, other.centres)
    assert first.centres.dtype == np.float32


def test_training_lowers_the_loss_from_a_chance_of_one_half():
    _, _, losses = trained(n_epochs=20, subsampling=1.0)
    assert losses[0] == pytest.approx(6 * math.log(2), abs=1.0)
    assert np.mean(losses[-10:]) < losses[0] - 0.5


def test_words_used_alike_come_to_lie_together():
    rng = np.random.default_rng(0)
    company = {"red": "apple cherry rose", "blue": "sky sea ice"}
    colours = {"red": ["scarlet", "crimson"], "blue": ["azure", "navy"]}
    words = []
    for _ in range(1500):
        kind = str(rng.choice(["red", "blue"]))
        words += [str(rng.choice(colours[kind])), *rng.permutation(company[kind].split()).tolist()]
        words += ["stop"] * 3
    vocabulary, model, _ = trained(" ".join(words), window=2, n_epochs=6, subsampling=1.0)
    found = word2vec.nearest(
        model.centres,
        model.centres[vocabulary.id("scarlet")],
        1,
        without=(vocabulary.id("scarlet"),),
    )
    assert vocabulary.words[found[0][0]] == "crimson"


def test_a_text_of_one_word_is_learned_without_a_negative():
    vocabulary, model, losses = trained("so " * 50, subsampling=math.inf)
    assert vocabulary.words == ("so",)
    assert losses[0] == pytest.approx(math.log(2))
    assert losses[-1] < losses[0]
    assert np.isfinite(model.centres).all()


def test_words_keep_the_marks_that_stand_on_their_letters():
    text = "हिन्दी में 'क्या' rock’n’roll İstanbul x_y e\u0301te\u0301 3ab"
    words = ["हिन्दी", "में", "क्या", "rock'n'roll", "i̇stanbul", "x", "y", "e\u0301te\u0301", "ab"]
    assert word2vec.words_of(text) == words


@pytest.mark.parametrize("text", ["", "1866!", "all of these are rare"])
def test_a_text_without_enough_words_is_refused(text):
    with pytest.raises(ValueError, match=r"occur min_count = 5 times or more, got 0 of \d;"):
        Vocabulary.of(word2vec.words_of(text))


def test_one_occurrence_has_no_neighbour_and_is_refused():
    with pytest.raises(ValueError, match=r"two or more places .* = 1 .*, got 1 of 1; give"):
        Vocabulary.of(["alone"], min_count=1)


def test_an_epoch_whose_words_are_all_dropped_trains_nothing():
    _, model, losses = trained(subsampling=1e-12)
    assert losses == []
    assert not model.contexts.any()


def test_unknown_words_and_impossible_settings_are_sentences():
    vocabulary = Vocabulary.of(word2vec.words_of(TEXT))
    assert vocabulary.words[0] == "the"
    with pytest.raises(ValueError, match="of this vocabulary, got 'Cat'; rare words are left out"):
        vocabulary.id("Cat")
    for name in ("n_features", "window", "n_negatives", "n_epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
            Settings(**{name: 0})
    for name in ("subsampling", "rate"):
        with pytest.raises(ValueError, match=f"{name}: expected more than 0, got 0"):
            Settings(**{name: 0})


def test_nearest_and_analogy_leave_out_what_was_asked():
    vectors = np.array([[1, 0], [1, 1], [3, 0], [3, 3.1], [-1, 0], [0, 0]], float)
    assert [i for i, _ in word2vec.nearest(vectors, vectors[0], 2, without=(0,))] == [2, 1]
    assert word2vec.nearest(vectors, vectors[0], 1)[0] == (0, pytest.approx(1.0))
    assert word2vec.analogy(vectors, 0, 1, 2, n=1)[0][0] == 3
    assert len(word2vec.nearest(vectors, vectors[0], 99, without=(0, 1))) == 4


def test_spearman_takes_order_alone_and_shares_ties():
    up = np.array([1.0, 2, 3, 4])
    assert word2vec.spearman(up, np.exp(up)) == pytest.approx(1)
    assert word2vec.spearman(up, -up) == pytest.approx(-1)
    assert word2vec.ranks(np.array([5.0, 7, 5, 9])).tolist() == [0.5, 2, 0.5, 3]
    # by hand: 0 1 2 3 against .5 2 .5 3, around 1.5
    ties = np.array([5.0, 7, 5, 9])
    assert word2vec.spearman(up, ties) == pytest.approx(3 / math.sqrt(5 * 4.5))
    assert word2vec.spearman(up, np.zeros(4)) == 0


def test_human_judgements_are_compared_where_both_words_are_known():
    vocabulary = Vocabulary.of(word2vec.words_of(TEXT))
    vectors = np.eye(len(vocabulary))
    cat, dog = vocabulary.id("cat"), vocabulary.id("dog")
    vectors[cat] += vectors[dog]
    rho, n = word2vec.judged(vectors, vocabulary, "Cat\tdog\t9.5\nthe mat 1.0\ncat tiger 7\n")
    assert (n, rho) == (2, pytest.approx(1.0))
    with pytest.raises(ValueError, match="line 1: expected two words and a number, got 'cat dog'"):
        word2vec.judged(vectors, vocabulary, "cat dog")


def test_the_plane_is_the_one_of_greatest_spread():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 2)) * [5.0, 2.0]
    turned = flat @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:2] + 3.0
    seen = word2vec.plane(turned)
    np.testing.assert_allclose(
        np.linalg.norm(seen[:, None] - seen[None], axis=-1),
        np.linalg.norm(flat[:, None] - flat[None], axis=-1),
        atol=1e-9,
    )


def test_examples_in_the_text_hold():
    assert doctest.testmod(word2vec).failed == 0
