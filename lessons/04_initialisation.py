"""How a network should start, and how to see whether it is well: activations, gradients, updates.

A network that starts badly spends its time mending the start. Lecture: Zero to Hero, "makemore
part 3: activations, gradients, BatchNorm". Read beside it: groundup/reference/layers.py.
"""

# %% [markdown]
# # 4. Initialisation, BatchNorm, diagnostics

# %%
import math

import numpy as np

from groundup import course
from groundup.reference import layers
from groundup.reference.layers import BatchNorm1d, Function, Linear, Sequential
from groundup.reference.makemore import training
from groundup.reference.makemore.mlp import MLP, dead_units, saturation
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor, cross_entropy

lesson = course.Lesson(4, "Initialisation, BatchNorm, diagnostics")
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
# Knowing nothing, every letter is as likely: ln 27 = 3.296. Weights of size 1 start far above: the
# network is sure, and wrong. Small last weights mend that. Its tanh are still saturated: at
# |t| > .97 the slope 1 - t² is under 6%. Hidden weights by fan-in mend that too.

# %%
lesson.check("ln 27", math.log(27), 3.296, within=5e-4)
pictures, shares = {}, {}
for start, expected, slack in (("naive", 27, 8), ("calm logits", 3.3, 0.1), ("calm", 3.3, 0.1)):
    first, saturated, dead = [], [], []
    for seed in range(10):
        model = MLP(V, np.random.default_rng(seed), start=start)
        first.append(cross_entropy(model(some_x[:32]), some_y[:32]).item())
        hidden = model.net.outputs[-2].data
        saturated.append(saturation(hidden))
        dead.append(dead_units(hidden))
    pictures[start] = hidden
    seen = float(np.median(first))
    lesson.check(f"first loss, {start} start (median of 10)", seen, expected, slack)
    print(
        f"    {start}: {np.mean(saturated):.0%} of tanh saturated, {np.mean(dead):.1f} dead units"
    )
    shares[start] = float(np.mean(saturated))
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


def leaky_relu(x: Tensor) -> Tensor:
    return x.relu() - (-x).relu() * 0.01


def elu(x: Tensor) -> Tensor:
    return x.relu() + (-(-x).relu()).exp() - 1.0


ACTIVATIONS = {
    "tanh": (Tensor.tanh, 5 / 3),
    "sigmoid": (Tensor.sigmoid, 1.0),
    "relu": (Tensor.relu, math.sqrt(2)),
    "leaky relu": (leaky_relu, math.sqrt(2)),
    "elu": (elu, math.sqrt(2)),
}


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

picture = lesson.figure("activations", 9, 8)
if picture is not None:
    grid = picture.subplots(len(ACTIVATIONS), 2, squeeze=False)
for row, (name, (function, gain)) in enumerate(ACTIVATIONS.items()):
    net = stack(function, gain)
    out = net(x)
    (out * rng.normal(size=out.shape)).sum().backward()
    shut = name == "relu"
    flat = [float((o.data == 0).mean() if shut else saturation(o.data)) for o in net.outputs[1::2]]
    print(f"    {name}, {'zeros' if shut else 'beyond .97'}: {' '.join(f'{f:.2f}' for f in flat)}")
    if picture is not None:
        for layer, o in enumerate(net.outputs[1::2]):
            for axes, values in ((grid[row, 0], o.data), (grid[row, 1], o.grad)):
                heights, edges = np.histogram(values, 60, density=True)
                axes.plot(edges[:-1], heights, label=f"layer {layer + 1}")
        grid[row, 0].set(ylabel=name)
        grid[0, 0].set(title="activations")
        grid[0, 1].set(title="gradients")
lesson.keep(picture)

# %% [markdown]
# ## BatchNorm
#
# Instead of starting well and hoping: normalize each unit over the batch, always. The price: an
# example's answer depends on the batch. In use, running statistics stand in; a batch of one has no
# variance, and training on it is refused here. In PyTorch's arithmetic the unbiased variance of one
# number is 0/0.

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
with np.errstate(invalid="ignore"):
    alone = np.square(np.ones(5) - np.ones(5)) / (1 - np.ones(5))
lesson.claim("the unbiased variance of one example is not a number", bool(np.isnan(alone).all()))
lesson.claim(
    "in eval mode one example has an answer",
    bool(np.isfinite(layer.eval()(Tensor(np.ones((1, 5)))).data).all()),
)
shifted = Tensor(np.full(5, 7.0))
moved = BatchNorm1d(5)(batch + shifted).data
lesson.check("a bias before it changes", float(np.abs(moved - out).max()), 0, within=1e-9)

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

# %% [markdown]
# ## Watching a run
#
# How large is a step beside the weight it changes? About a thousandth (-3 in log10) is well: much
# less and the layer hardly learns, much more and it is thrown about.

# %%
rng = np.random.default_rng(5)
deep = Sequential(
    layers.Embedding(V, 10, rng),
    layers.FlattenConsecutive(3),
    *(
        part
        for n_in in (30, 100, 100, 100)
        for part in (Linear(n_in, 100, rng, False, 5 / 3), BatchNorm1d(100), Function(Tensor.tanh))
    ),
    Linear(100, V, rng, gain=0.1),
).to(np.float32)
weights = [p for p in deep.parameters() if p.data.ndim == 2][1:]
ratios = []
n_watched = lesson.choose(fast=150, usual=1000, full=5000)


def watched(parameters, rate):
    ratios.append([float(np.log10((rate * p.grad).std() / p.data.std() + 1e-12)) for p in weights])
    training.descend(parameters, rate)


losses = list(
    training.train(deep, train_x, train_y, n_watched, 32, lambda i: 0.1, rng, step=watched)
)
middle = float(np.median(np.array(ratios)[n_watched // 2 :, :-1]))
lesson.check("log10 of update to weight, the layers' median", middle, -3, within=0.7)
lesson.check_band("first loss of the deep network", losses[0], 3.1, 3.5)
picture = lesson.figure("updates")
if picture is not None:
    axes = picture.subplots()
    for i, line in enumerate(np.array(ratios).T):
        axes.plot(line, linewidth=0.7, label=f"layer {i + 1}")
    axes.axhline(-3, color="black")
    axes.set(xlabel="step", ylabel="log10(update / weight)")
    axes.legend()
lesson.keep(picture)
tanh_outputs = [
    o.data for o, part in zip(deep.outputs, deep.layers, strict=True) if isinstance(part, Function)
]
print("    tanh saturated, by layer:", " ".join(f"{saturation(o):.1%}" for o in tanh_outputs))
lesson.claim("with BatchNorm few tanh saturate", max(map(saturation, tanh_outputs)) < 0.25)

picture = lesson.figure("weights", 9, 3)
if picture is not None:
    axes = picture.subplots()
    for i, p in enumerate(weights):
        heights, edges = np.histogram(p.grad / p.data.std(), 80, density=True)
        axes.semilogy(edges[:-1], heights + 1e-6, label=f"layer {i + 1}")
    axes.set(xlabel="gradient over the weights' size", ylabel="density")
    axes.legend()
lesson.keep(picture)

# %% [markdown]
# ## Clip the gradient, not the loss
#
# One bad example can throw the weights far. Clipping the gradient shortens the step and keeps its
# direction. Clipping the loss, min(loss, c), has no slope above c: exactly the examples that are
# worst are not learned from.

# %%
logits = Tensor(np.array([[8.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
bad = np.array([1])
loss_bad = cross_entropy(logits[0:1], bad)
clipped_loss = -((-loss_bad + 2.0).relu() - 2.0)  # min(loss, 2)
clipped_loss.backward()
lesson.check("a clipped loss: gradient of the bad example", float(np.abs(logits.grad).max()), 0)
lesson.check("and its value", clipped_loss.item(), 2)
logits.grad = None
cross_entropy(logits[0:1], bad).backward()
norm = float(np.sqrt(np.square(logits.grad).sum()))
clipped = logits.grad * min(1.0, 0.5 / norm)
cosine = float((clipped * logits.grad).sum() / norm / np.sqrt(np.square(clipped).sum()))
lesson.check("a clipped gradient: its size", float(np.sqrt(np.square(clipped).sum())), 0.5)
lesson.check("and its direction, the cosine with the whole", cosine, 1)

# %%
lesson.finish()
