"""A network that reads three letters: an embedding, a hidden layer, a guess.

More context is more rows: a table for three letters would have 27³ of them, most never seen. A
network shares what it learns about a letter between all places where it stands. Lecture: Zero to
Hero, "makemore part 2". Read beside it: groundup/reference/makemore/mlp.py.
"""

# %% [markdown]
# # 3. An MLP language model

# %%
import math

import numpy as np

from groundup import course
from groundup.reference.makemore import bigram, training
from groundup.reference.makemore.mlp import MLP
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor, cross_entropy, softmax

lesson = course.Lesson(3, "An MLP language model")
FILE = "names/names.txt"
names = read_names(lesson.text(FILE, stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
V = len(vocabulary)
train_names, dev_names, test_names = split(names)
train_x, train_y = examples(train_names, vocabulary, 3)
dev_x, dev_y = examples(dev_names, vocabulary, 3)
test_x, test_y = examples(test_names, vocabulary, 3)
sizes = [len(train_y), len(dev_y), len(test_y)]
for part, n, expected in zip(
    ("train", "dev", "test"), sizes, (182_625, 22_655, 22_866), strict=True
):
    lesson.check(f"examples to {part}", n, expected, of=FILE)
lesson.check("examples in all", sum(sizes), 228_146, of=FILE)
for context, target in zip(train_x[:5], train_y[:5], strict=True):
    print(f"    {vocabulary.decode(context)} -> {vocabulary.decode([target])}")

# %% [markdown]
# ## Softmax, and where floats end
#
# e^100 is no float32. But a softmax does not change when the same number is taken off every logit,
# so take off the largest: then the largest power is e^0.

# %%
logits = np.array([[-5.0, -3.0, 0.0, 100.0]], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    powers = np.exp(logits)
    naive = powers / powers.sum()
lesson.claim("the naive softmax of a logit of 100 is not a number", bool(np.isnan(naive).any()))
stable = softmax(Tensor(logits)).data
lesson.check("the stable one", float(stable[0, 3]), 1.0)
lesson.check(
    "its loss, from logarithms alone",
    cross_entropy(Tensor(logits), np.array([2])).item(),
    100.0,
    within=1e-4,
)

# %% [markdown]
# ## Which learning rate?
#
# Try them all in one run: let the exponent rise step by step and look where the loss falls
# fastest, and where it takes off.

# %%
rng = np.random.default_rng(0)
finder = MLP(V, rng).to(np.float32)
n_tries = lesson.choose(fast=300, usual=1000, full=1000)
exponents = np.linspace(-3, 1, n_tries)
found = list(
    training.train(finder, train_x, train_y, n_tries, 32, lambda i: 10 ** exponents[i], rng)
)
tried = np.array(training.mean_by(found, n_tries // 20))
at = np.array(training.mean_by(list(exponents), n_tries // 20))
best_rate = 10 ** at[int(np.argmin(tried))]
picture = lesson.figure("rates")
if picture is not None:
    axes = picture.subplots()
    axes.plot(exponents, np.minimum(found, 10), color="lightgray", label="a batch")
    axes.plot(at, np.minimum(tried, 10), color="black", label="a mean of batches")
    axes.set(xlabel="log10 of the learning rate", ylabel="loss, nats")
    axes.legend()
lesson.keep(picture)
lesson.check_band("the best rate, about .1", float(best_rate), 0.02, 1.5)
lesson.claim("too large a rate takes off", tried[-1] > tried.min() + 0.5)

# %% [markdown]
# ## Train
#
# Minibatches of 32: a rough gradient now is better than an exact one later. A tenth of the rate
# in the second half. One batch's loss says little; means of 1,000 do. All weights start as plain
# random numbers of size 1, as one would at first; lesson 4 shows what that costs.

# %%
n_steps = lesson.choose(fast=4000, usual=30_000, full=200_000)
rng = np.random.default_rng(1)
model = MLP(V, rng, start="naive").to(np.float32)
lesson.check("parameters", model.n_parameters(), 11_897)
losses = list(
    training.train(
        model, train_x, train_y, n_steps, 32, lambda i: 0.1 if 2 * i < n_steps else 0.01, rng
    )
)
n_mean = max(1, min(1000, n_steps // 20))
smoothed = training.mean_by(losses, n_mean)
picture = lesson.figure("loss")
if picture is not None:
    axes = picture.subplots()
    axes.plot(losses, color="lightgray", linewidth=0.3)
    axes.plot([(i + 0.5) * n_mean for i in range(len(smoothed))], smoothed, color="black")
    axes.set(xlabel="step", ylabel=f"loss, nats; black: means of {n_mean:,}", ylim=(1.5, 3.5))
lesson.keep(picture)

dev = training.evaluate(model, dev_x, dev_y)
counted = bigram.probabilities(bigram.counts(train_names, vocabulary), 1)
bigram_dev = bigram.mean_nll(counted, dev_names, vocabulary)
print(f"    loss: train {training.evaluate(model, train_x, train_y):.4f}, dev {dev:.4f}")
if lesson.mode == "full":
    lesson.check("dev loss after 200,000 steps", dev, 2.17, within=0.02, of=FILE)
else:
    high = lesson.choose(fast=2.8, usual=2.32, full=0.0)  # a blind guess: 3.3
    lesson.check_band(f"dev loss after {n_steps:,} steps", dev, 2.15, high, of=FILE)
if lesson.mode != "fast":
    lesson.claim("three letters tell more than one", dev < bigram_dev)
lesson.claim("one letter tells more than none", bigram_dev < math.log(V))

# %% [markdown]
# The test set is for the end, once: whoever chooses by it has trained on it.

# %%
test = training.evaluate(model, test_x, test_y)
lesson.check_band("test loss against dev loss", test - dev, -0.06, 0.06, of=FILE)
print("    made up:", ", ".join(training.sample(model, vocabulary, 3, rng) for _ in range(8)))

# %% [markdown]
# ## What the embedding knows
#
# With two features a letter is a point. After training, vowels lie together: they are followed by
# the same letters.

# %%
rng = np.random.default_rng(2)
flat = MLP(V, rng, n_features=2, n_hidden=100).to(np.float32)
n_flat = lesson.choose(fast=1500, usual=15_000, full=100_000)
for _ in training.train(flat, train_x, train_y, n_flat, 32, lambda i: 0.1, rng):
    pass
points = flat.net.layers[0].weight.data
picture = lesson.figure("embedding", 6, 6)
if picture is not None:
    axes = picture.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=220, color="lightblue")
    for letter, (across, up) in zip(vocabulary.characters, points, strict=True):
        axes.text(across, up, letter, ha="center", va="center")
    axes.grid(alpha=0.3)
lesson.keep(picture)
is_vowel = np.array([c in "aeiou" for c in vocabulary.characters])
spread = np.linalg.norm(points[is_vowel][:, None] - points[is_vowel][None], axis=-1).mean()
apart = np.linalg.norm(points[is_vowel][:, None] - points[~is_vowel][None], axis=-1).mean()
print(f"    mean distance between vowels {spread:.2f}, from vowels to other letters {apart:.2f}")
if lesson.mode != "fast":
    lesson.claim("vowels lie nearer to each other than to the rest", bool(spread < apart))

# %%
lesson.finish()
