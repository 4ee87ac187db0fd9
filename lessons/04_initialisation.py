"""How a network should start: first losses, gains, and a norm that mends bad starts.

A network that starts badly spends its time mending the start. Lecture: Zero to Hero, "makemore
part 3: activations, gradients, BatchNorm"; its diagnostics are lesson 4a. Read beside it:
groundup/reference/layers.py.
"""

# %% [markdown]
# # 4. Initialisation and BatchNorm

# %%
import math

import numpy as np

from groundup import course
from groundup.reference.layers import BatchNorm1d, Function, Linear, Sequential
from groundup.reference.makemore import training
from groundup.reference.makemore.mlp import MLP, dead_units, saturation
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor, cross_entropy

lesson = course.Lesson(4, "Initialisation and BatchNorm")
FILE = "names/names.txt"
names = read_names(lesson.text(FILE, stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
V = len(vocabulary)
train_names, dev_names, _ = split(names)
train_x, train_y = examples(train_names, vocabulary, 3)
dev_x, dev_y = examples(dev_names, vocabulary, 3)
some_x, some_y = train_x[:2000], train_y[:2000]

# %% [markdown]
# ## The first loss
#
# Knowing nothing, every letter is as likely: ln 27 = 3.296. Weights of size 1 start far above, at
# 26 in the mean of a hundred seeds (the lecture's one: 27): the network is sure, and wrong. Small
# last weights mend that. Its tanh are still saturated: at |t| > .97 the slope 1 - t² is under 6%.
# Hidden weights by fan-in mend that too.

# %%
lesson.check("ln 27", math.log(27), 3.296, within=5e-4)
pictures, shares = {}, {}
EXPECTED = {"naive": (26.3, 1.0), "calm logits": (3.3, 0.05), "calm": (3.3, 0.05)}
for start, (expected, slack) in EXPECTED.items():
    first, saturated, dead = [], [], []
    for seed in range(100):
        model = MLP(V, np.random.default_rng(seed), start=start)
        first.append(cross_entropy(model(some_x[:32]), some_y[:32]).item())
        hidden = model.net.outputs[-2].data
        saturated.append(saturation(hidden))
        dead.append(dead_units(hidden))
    pictures[start] = hidden
    seen = float(np.mean(first))
    low, high = np.quantile(first, (0.05, 0.95))
    lesson.check(f"first loss, {start} start (mean of 100)", seen, expected, slack)
    print(
        f"    {start}: 9 of 10 from {low:.2f} to {high:.2f}; "
        f"{np.mean(saturated):.0%} of tanh saturated, {np.mean(dead):.1f} dead units"
    )
    shares[start] = float(np.mean(saturated))
    if start == "naive":
        lesson.claim("the lecture's 27 is among them", bool(low < 27 < high))
lesson.claim("a calm start saturates far less", shares["calm"] < shares["calm logits"] / 3)

picture = lesson.figure("saturation", 9, 7)
if picture is not None:
    for axes, (start, hidden) in zip(picture.subplots(3, 1), pictures.items(), strict=True):
        axes.imshow(np.abs(hidden) > 0.97, cmap="gray", aspect="auto", interpolation="nearest")
        axes.set(title=f"{start} start; white: saturated", xlabel="unit", ylabel="example")
lesson.keep(picture)

# %% [markdown]
# ## Gains
#
# A sum of n numbers of size 1 has size √n: divide by it. What follows squashes: tanh and relu
# make numbers smaller, and a gain makes up for it (1 for nothing, √2 for relu, 5/3 for tanh).

# %%
rng = np.random.default_rng(0)


def stack(function, gain, n_layers=6, width=100):
    """Linear and function n_layers times, and a sum at the end."""
    parts = []
    for _ in range(n_layers):
        parts += [Linear(width, width, rng, gain=gain), Function(function)]
    return Sequential(*parts)


x = Tensor(rng.normal(size=(500, 100)))
sizes = {}
for gain in (0.5, 1.0, 5 / 3, 3.0):
    net = stack(Tensor.tanh, gain)
    net(x)
    sizes[gain] = [out.data.std() for out in net.outputs[1::2]]
    print(f"    tanh with gain {gain:.2f}: sizes {' '.join(f'{s:.2f}' for s in sizes[gain])}")
lesson.claim("a small gain lets activations die out", sizes[0.5][-1] < 0.1)
lesson.check_band("with 5/3 tanh keeps its size over six layers", float(sizes[5 / 3][-1]), 0.5, 0.8)
lesson.claim("a large gain saturates", saturation(stack(Tensor.tanh, 3.0)(x).data) > 0.3)
relu = stack(Tensor.relu, math.sqrt(2))
relu(x)
squares = [float(np.square(out.data).mean()) for out in relu.outputs[1::2]]
lesson.check_band("mean square after six relus with √2, before 1", squares[-1], 0.5, 2.0)

# %% [markdown]
# ## BatchNorm
#
# Instead of starting well and hoping: normalize each unit over the batch, always. The price: an
# example's answer depends on the batch. In use, running statistics stand in; a batch of one has no
# variance, and training on it is refused here. Written as in the lecture, where `x.var(0)` divides
# by n - 1, it is not refused, and gives nan.

# %%
layer = BatchNorm1d(5)
batch = Tensor(np.random.default_rng(3).normal(3, 2, size=(64, 5)))
out = layer(batch).data
lesson.check("mean after BatchNorm", float(np.abs(out.mean(axis=0)).max()), 0, within=1e-12)
lesson.check("size after BatchNorm", float(out.std(axis=0).mean()), 1, within=1e-4)
try:
    layer(Tensor(np.ones((1, 5))))
    refused = False
except ValueError as error:
    refused = ".eval()" in str(error)
lesson.claim("one example alone is refused while training", refused)


def as_in_the_lecture(x):
    centered = x - x.mean(axis=0)
    variance = np.square(centered).sum(axis=0) / np.float64(len(x) - 1)
    return centered / np.sqrt(variance + 1e-5)


ratio = float(as_in_the_lecture(batch.data).std() / out.std())
lesson.check("by n - 1, 64 examples: size over ours", ratio, math.sqrt(63 / 64), within=1e-5)
with np.errstate(invalid="ignore"):
    alone = as_in_the_lecture(np.ones((1, 5)))
lesson.claim("by n - 1, one example is normalized to nan", bool(np.isnan(alone).all()))
lesson.claim(
    "in eval mode one example has an answer",
    bool(np.isfinite(layer.eval()(Tensor(np.ones((1, 5)))).data).all()),
)
shifted = Tensor(np.full(5, 7.0))
moved = BatchNorm1d(5)(batch + shifted).data
lesson.check("a bias before it changes", float(np.abs(moved - out).max()), 0, within=1e-9)

# %% [markdown]
# It belongs before the tanh, not behind it, as one listing has it. Before, it does not matter how
# large the weights are; behind, the tanh are saturated already, and no norm brings back what they
# cut off. What comes out has size 1, and so looks well.

# %%
weights = rng.normal(size=(100, 100)) / 10
given = rng.normal(size=(500, 100))
flat = {}
for size in (1, 10):
    inside = Tensor(given @ weights * size)
    for order, hidden in (
        ("before", BatchNorm1d(100)(inside).tanh()),
        ("behind", inside.tanh()),
    ):
        flat[order, size] = saturation(hidden.data)
print(f"    size of tanh and then BatchNorm: {BatchNorm1d(100)(inside.tanh()).data.std():.2f}")
for size, expected in ((1, 0.037), (10, 0.83)):
    lesson.check(
        f"BatchNorm behind, weights x {size}: saturated", flat["behind", size], expected, 0.02
    )
lesson.check("BatchNorm before, weights x 10: saturated", flat["before", 10], 0.037, 0.01)
lesson.check("against weights x 1", flat["before", 10] - flat["before", 1], 0, within=1e-3)

# %% [markdown]
# ## Four runs
#
# The same network: the naive start, its logits mended, its tanh mended too, and BatchNorm. The
# lecture's results in this order: 2.17, 2.13, 2.10, 2.10. BatchNorm gains nothing where one hidden
# layer was started well; it is there for networks whose start is harder to get right.

# %%
n_steps = lesson.choose(fast=800, usual=16_000, full=200_000)
STARTS = {
    "naive": ({"start": "naive"}, 2.17),
    "calm logits": ({"start": "calm logits"}, 2.13),
    "calm": ({"start": "calm"}, 2.10),
    "calm with BatchNorm": ({"start": "calm", "batch_norm": True}, 2.10),
}
results = {}
for name, (settings, published) in STARTS.items():
    rng = np.random.default_rng(11)
    model = MLP(V, rng, **settings).to(np.float32)
    for _ in training.train(
        model, train_x, train_y, n_steps, 32, lambda i: 0.1 if 2 * i < n_steps else 0.01, rng
    ):
        pass
    results[name] = training.evaluate(model, dev_x, dev_y)
    print(f"    {name}: dev {results[name]:.4f}")
    if lesson.mode == "full":
        lesson.check(f"dev loss, {name} start", results[name], published, within=0.02, of=FILE)
lesson.claim("the calm start ends better than the naive one", results["calm"] < results["naive"])

# %%
lesson.finish()
