"""What follows a letter: count it, or find it by gradient.

The smallest language model: a table of how often one letter follows another. Counting gives it at
once; gradient descent, knowing nothing, arrives at the same. Lecture: Zero to Hero, "The
spelled-out intro to language modeling". Read beside it: groundup/reference/makemore/bigram.py.
"""

# %% [markdown]
# # 2. The bigram

# %%
import math

import numpy as np

from groundup import course
from groundup.reference.makemore import bigram, training
from groundup.reference.makemore.words import EDGE, Vocabulary, examples, read_names
from groundup.reference.tensor import Tensor, softmax

lesson = course.Lesson(2, "The bigram, counted and learned")
FILE = "names/names.txt"
names = read_names(lesson.text(FILE, stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
lesson.check("names", len(names), 32_033, of=FILE)
lesson.check("letters and the edge", len(vocabulary), 27)

# %% [markdown]
# ## Count
#
# A name's edge is one mark, before and behind it: 27 rows by 27 columns. With a mark of its own
# for each end, 28 by 28, a row and a column would stay empty: nothing follows an end, nothing
# comes before a start.

# %%
table = bigram.counts(names, vocabulary)
lesson.check("pairs", int(table.sum()), 228_146, of=FILE)

V = len(vocabulary)
two_marks = np.zeros((V + 1, V + 1), int)
two_marks[:V, 1:V] = table[:, 1:]
two_marks[:V, V] = table[:, 0]
lesson.claim("with two marks nothing follows an end", not two_marks[V].any())
lesson.claim("and nothing comes before a start", not two_marks[:, 0].any())

picture = lesson.figure("counts", 9, 9)
if picture is not None:
    axes = picture.subplots()
    axes.imshow(table, cmap="Blues")
    for (i, j), n in np.ndenumerate(table):
        pair = vocabulary.decode([i, j])
        axes.text(j, i, f"{pair}\n{n}", ha="center", va="center", fontsize=4, color="gray")
    axes.axis("off")
lesson.keep(picture)

# %% [markdown]
# ## From counts to probabilities
#
# Each row over its own sum. Leave out `keepdims` and the sums lie along the wrong axis: it runs,
# the loss is the same (a letter is left as often as it is entered), and no row is a distribution
# any more. And a softmax of raw counts is no normalization at all: a count is not a logarithm.

# %%
p = bigram.probabilities(table)
lesson.check("the furthest row sum from 1", float(abs(p.sum(axis=1) - 1).max()), 0, within=1e-12)
wrong = table / table.sum(axis=1)
sums = wrong.sum(axis=1)
print(f"    without keepdims the first rows sum to {', '.join(f'{s:.1f}' for s in sums[:4])}")
lesson.check("without keepdims the first row sums to", float(sums[0]), 7.0, within=0.05, of=FILE)
with np.errstate(over="ignore", invalid="ignore"):
    softmax_of_counts = softmax(Tensor(table.astype(float))).data
largest = np.median(softmax_of_counts.max(axis=1))
lesson.claim("a softmax of raw counts is all or nothing", largest > 0.99)

# %% [markdown]
# ## How good is it?
#
# The mean surprise, -log p of what came: 0 for one who always knew, ln 27 = 3.296 for one who
# always guessed blindly. Without smoothing one pair never seen makes it infinite.

# %%
nll = bigram.mean_nll(p, names, vocabulary)
lesson.check("mean NLL by counting", nll, 2.4540, within=5e-5, of=FILE)
smoothed = bigram.probabilities(table, smoothing=1)
nll_smoothed = bigram.mean_nll(smoothed, names, vocabulary)
lesson.check("with 1 added to each count", nll_smoothed, 2.4546, within=5e-5, of=FILE)
lesson.claim("counting beats the blind guess", nll < math.log(V))
nll_wrong = bigram.mean_nll(wrong, names, vocabulary)
lesson.check("without keepdims, where no row sums to 1, no less and no more", nll_wrong - nll, 0)
unseen = [vocabulary.decode((i, j)) for i, j in np.argwhere(table == 0) if i and j]
if unseen:
    pair = "jq" if "jq" in unseen else unseen[0]
    lesson.claim(
        f"the unseen pair {pair!r} has infinite NLL",
        bigram.mean_nll(p, [pair], vocabulary) == math.inf,
    )
    lesson.claim("and a finite one smoothed", bigram.mean_nll(smoothed, [pair], vocabulary) < 20)

rng = np.random.default_rng(2147483647)


def draw_name(p):
    i, drawn = 0, []
    while True:
        i = int(rng.choice(V, p=p[i]))
        if i == 0 or len(drawn) == 40:
            return vocabulary.decode(drawn)
        drawn.append(i)


print("    drawn:", ", ".join(draw_name(p) for _ in range(6)))
print("    drawn blindly:", ", ".join(draw_name(np.full((V, V), 1 / V)) for _ in range(3)))

# %% [markdown]
# Mark the edges twice, once around the word and once more when its list is padded, and every name
# brings two pairs of edge after edge, which are easy to guess: 2.1257 over 292,212 pairs beats
# every network of the next lessons, and means nothing.

# %%
doubled = table.copy()
doubled[0, 0] += 2 * len(names)
flattering = -(doubled * np.log(bigram.probabilities(doubled, 1))).sum() / doubled.sum()
lesson.check("pairs with edges marked twice", int(doubled.sum()), 292_212, of=FILE)
lesson.check("their NLL", float(flattering), 2.1257, within=1e-4, of=FILE)
lesson.claim("it is lower, and no better", flattering < nll)

# %% [markdown]
# ## The same by gradient
#
# Start with a table of random numbers, read a row as logarithms, softmax it, and follow the
# gradient of the mean surprise. A one-hot vector times the table picks a row: the same as looking
# it up. And a pair that occurs n times gives n times its gradient, so the counts say it all.

# %%
contexts, targets = examples(names[:200], vocabulary, 1)
model = bigram.Bigram(V, np.random.default_rng(1))
one_hot = np.eye(V)[contexts[:, 0]]
difference = np.abs((one_hot @ model.weight).data - model(contexts).data).max()
lesson.check("one-hot times the table, against its rows", float(difference), 0)

losses = [data for data, _ in bigram.learn(model.weight, table, 1000)]
after_1000 = softmax(model.weight).data
losses += [data for data, _ in bigram.learn(model.weight, table, 2000)]
lesson.check_band("loss at the start", losses[0], 3.6, 4.1)
lesson.check("loss after 100 steps", losses[99], 2.473, within=2e-3, of=FILE)
lesson.check("loss after 1,000 steps", losses[999], 2.455, within=1e-3, of=FILE)
lesson.check_band("learned against counted, difference", losses[-1] - nll, 0, 0.02)
again = bigram.Bigram(V, np.random.default_rng(2)).weight
data, total = bigram.learn(again, table, 1000, decay=0.01)[-1]
lesson.check("with .01 mean(W²): in all", total, 2.480, within=2e-3, of=FILE)
lesson.check("with .01 mean(W²): the data's part", data, 2.460, within=2e-3, of=FILE)
lesson.claim("the penalty smooths: the data's part is worse than counting", data > nll)

picture = lesson.figure("by_gradient")
if picture is not None:
    axes = picture.subplots()
    axes.semilogx(range(1, len(losses) + 1), losses, label="by gradient")
    axes.axhline(nll, color="black", linestyle=":", label=f"by counting, {nll:.4f}")
    axes.set(xlabel="step", ylabel="mean NLL, nats")
    axes.legend()
lesson.keep(picture)

# %% [markdown]
# "W is log(N + 1)" is wrong twice. A softmax does not see what is added to a whole row, so the
# weights are no logarithms of anything. And their probabilities come near those of N, not of N + 1:
# what the added 1 moves most, by .065, is a row of few pairs, and longer training does not move it.

# %%
learned = softmax(model.weight).data
far = float(np.abs(learned - p).max())
lesson.check_band(
    "learned against counted probabilities: largest difference", far, 0, 0.01, of=FILE
)
offset = (model.weight.data - np.log(table + 1)).std()
lesson.claim("W is not log(N + 1)", offset > 0.5)
beyond = float(np.abs(p - smoothed).max())
lesson.check("the 1 added moves a probability by", beyond, 0.065, within=5e-4, of=FILE)
before, after = (float(np.abs(q - smoothed).max()) for q in (after_1000, learned))
lesson.check("so far from N + 1 after 3,000 steps", after, 0.063, within=2e-3, of=FILE)
lesson.claim("and further than after 1,000", after > before, of=FILE)
print(
    "    made by the learned table:",
    ", ".join(training.sample(model, vocabulary, 1, rng) for _ in range(4)),
)
assert vocabulary.characters[0] == EDGE

# %%
lesson.finish()
