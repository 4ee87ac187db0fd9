"""What to look at: slopes that end, dead units, updates beside weights, and the price of depth.

A network that learns badly rarely says why. Lecture: Zero to Hero, "makemore part 3: activations,
gradients, BatchNorm". Read beside it: groundup/reference/layers.py and tensor.py.
"""

# %% [markdown]
# # 4a. Diagnostics

# %%
import math
import time
import tracemalloc

import numpy as np

from groundup import course
from groundup.reference import layers
from groundup.reference.layers import BatchNorm1d, Function, Linear, Sequential
from groundup.reference.makemore import training
from groundup.reference.makemore.mlp import saturation
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor, cross_entropy

lesson = course.Lesson("4a", "Diagnostics")
names = read_names(lesson.text("names/names.txt", stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
V = len(vocabulary)
train_x, train_y = examples(split(names)[0], vocabulary, 3)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Where slopes end
#
# A gradient passes a unit times its slope. Five switches: how each is computed, the gain that its
# layer wants (lesson 4), and its slope, made of what came out. Where the slope is under a hundredth
# of the steepest, call the unit flat for that example.


# %%
def leaky_relu(x: Tensor) -> Tensor:
    return x.relu() - (-x).relu() * 0.01


def elu(x: Tensor) -> Tensor:
    return x.relu() + (-(-x).relu()).exp() - 1.0


SWITCHES = {
    "tanh": (Tensor.tanh, 5 / 3, lambda out: 1 - out**2),
    "sigmoid": (Tensor.sigmoid, 1.0, lambda out: 4 * out * (1 - out)),
    "relu": (Tensor.relu, math.sqrt(2), lambda out: out > 0),
    "leaky relu": (leaky_relu, math.sqrt(2), lambda out: np.where(out > 0, 1, 0.01)),
    "elu": (elu, math.sqrt(2), lambda out: np.minimum(out + 1, 1)),
}


def stack(function, gain, n_layers=6, width=100):
    """Linear and function n_layers times."""
    parts = []
    for _ in range(n_layers):
        parts += [Linear(width, width, rng, gain=gain), Function(function)]
    return Sequential(*parts)


x = Tensor(rng.normal(size=(500, 100)))
picture = lesson.figure("activations", 9, 8)
if picture is not None:
    grid = picture.subplots(len(SWITCHES), 2, squeeze=False)
for row, (name, (function, gain, slope)) in enumerate(SWITCHES.items()):
    net = stack(function, gain)
    out = net(x)
    (out * rng.normal(size=out.shape)).sum().backward()
    flat = [float((slope(o.data) < 0.01).mean()) for o in net.outputs[1::2]]
    print(f"    {name}, flat by layer: {' '.join(f'{share:.0%}' for share in flat)}")
    if picture is not None:
        for layer, o in enumerate(net.outputs[1::2]):
            for axes, values in ((grid[row, 0], o.data), (grid[row, 1], o.grad)):
                heights, edges = np.histogram(values, 60, density=True)
                axes.plot(edges[:-1], heights, label=f"layer {layer + 1}")
        grid[row, 0].set(ylabel=name)
        grid[0, 0].set(title="activations")
        grid[0, 1].legend(fontsize=6)
        grid[0, 1].set(title="gradients")
lesson.keep(picture)

# %% [markdown]
# ## Dead units
#
# One step at too large a rate throws biases far out. White: flat. A column that is white from top
# to bottom is a unit flat for every example. Only a relu is dead then: no gradient reaches its
# weights, and they stay where they are. The others' slope is small and not 0, and their weights
# creep. A leaky relu's is a hundredth and never less, which is what its leak is for.

# %%
thrown = Tensor(rng.normal(size=(100, 100)) / 10)
biases = rng.normal(size=100) * 6
weighed = rng.normal(size=(200, 100))
all_flat, gradients = {}, {}
picture = lesson.figure("dead_units", 9, 9)
if picture is not None:
    grid = picture.subplots(len(SWITCHES), 1, sharex=True)
for row, (name, (function, _, slope)) in enumerate(SWITCHES.items()):
    thrown.grad = None
    out = function(x[:200] @ thrown + biases)
    flat = slope(out.data) < 0.01
    all_flat[name] = flat.all(axis=0)
    (out * weighed).sum().backward()
    gradients[name] = np.abs(thrown.grad).max(axis=0)
    if picture is not None:
        grid[row].imshow(flat, cmap="gray", aspect="auto", interpolation="nearest")
        n_flat = all_flat[name].sum()
        grid[row].set(title=f"{name}: {n_flat} of 100 flat for all", ylabel="example")
        grid[-1].set(xlabel="unit")
lesson.keep(picture)
for name, units in all_flat.items():
    if units.any():
        there, elsewhere = (np.median(gradients[name][some]) for some in (units, ~units))
        print(f"    {name}: {units.sum()} of 100 flat for all; their weights' largest gradients")
        print(f"        {there:.2g} (median), the other units' {elsewhere:.2g}")
dead = all_flat["relu"]
lesson.claim(
    "every switch but the leaky relu has some", sum(u.any() for u in all_flat.values()) == 4
)
lesson.check("largest gradient at the weights of dead relus", gradients["relu"][dead].max(), 0)
creeping = [gradients[name][all_flat[name]].min() for name in ("tanh", "sigmoid", "elu")]
lesson.claim("no other switch's is 0 there", min(creeping) > 0)
thrown.grad = None
((x[:200] @ thrown) * weighed).sum().backward()
leaked = gradients["leaky relu"][dead] / np.abs(thrown.grad).max(axis=0)[dead]
lesson.check(
    "leaky relus in the dead ones' place: share of a gradient unhindered", leaked.max(), 0.01
)
lesson.check("and at least", leaked.min(), 0.01)

# %% [markdown]
# ## What depth costs
#
# Each layer is the same product again, so compute grows with depth, and three times: one product
# forward, two back (one in the first layer, whose input learns nothing). Memory grows too: what
# each layer made (a product, the bias added, its tanh) waits for the backward pass. In use nothing
# waits, and depth costs no memory.

# %%
tracemalloc.start()
multiplied = []  # how many multiplications each product took
product = Tensor.__matmul__


def noting_product(a, b):
    """a @ b, noted on the way forward and on the way back."""
    out = product(a, b)
    n = out.data.size * a.shape[-1]
    multiplied.append(n)

    def noting(pull):
        def noted(gradient):
            multiplied.append(n)
            return pull(gradient)

        return noted

    out.pulls = tuple(noting(pull) for pull in out.pulls)
    return out


Tensor.__matmul__ = noting_product


def kept_by(n_layers, learns):
    """Bytes that a forward pass leaves behind, and seconds of it with its backward pass."""
    net = stack(Tensor.tanh, 5 / 3, n_layers)
    net.to(np.float32)
    for parameter in net.parameters():
        parameter.requires_grad = learns
    given = Tensor(x.data.astype(np.float32), requires_grad=False)
    before, _ = tracemalloc.get_traced_memory()
    began = time.perf_counter()
    out = net(given)
    net.outputs = []  # kept for the curious only
    after, _ = tracemalloc.get_traced_memory()
    if learns:
        out.sum().backward()
    return after - before, time.perf_counter() - began


kept_by(1, True)
depths = [1, 2, 4, 8, 16, 32]
kept, in_use, seconds, products = [], [], [], []
for depth in depths:
    multiplied.clear()
    n_bytes, second = kept_by(depth, True)
    products.append(sum(multiplied))
    kept.append(n_bytes)
    in_use.append(kept_by(depth, False)[0])
    seconds.append(second)
    print(
        f"    {depth:2} layers: {products[-1] / 1e6:5.0f} million products, "
        f"{second * 1e3:5.1f} ms; {n_bytes / 1e6:5.2f} MB wait, {in_use[-1] / 1e6:.2f} MB in use"
    )
tracemalloc.stop()
Tensor.__matmul__ = product
per_layer = 500 * 100 * 100
lesson.check("products, 32 layers", products[-1], (3 * 32 - 1) * per_layer)
lesson.check("products, 32 layers more than 16", products[-1] - products[-2], 3 * 16 * per_layer)
lesson.check("memory that waits, 32 layers over 16", kept[-1] / kept[-2], 2, within=0.05)
lesson.check("in use, 32 layers over 1", in_use[-1] / in_use[0], 1, within=0.1)
picture = lesson.figure("depth", 8, 3.5)
if picture is not None:
    left, right = picture.subplots(1, 2)
    left.plot(depths, [n / 1e6 for n in kept], marker="o", label="learning")
    left.plot(depths, [n / 1e6 for n in in_use], marker="o", label="in use")
    left.set(xlabel="layers", ylabel="MB kept")
    left.legend()
    right.plot(depths, [s * 1e3 for s in seconds], marker="o", color="black")
    right.set(xlabel="layers", ylabel="ms, forward and backward, once")
lesson.keep(picture)

# %% [markdown]
# ## Watching a run
#
# How large is a step beside the weight it changes? About a thousandth (-3 in log10) is well: much
# less and the layer hardly learns, much more and it is thrown about. The picture is drawn anew four
# times in a run, in the same file: a viewer that reloads shows it move.

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


def draw_updates():
    picture = lesson.figure("updates")
    if picture is not None:
        axes = picture.subplots()
        for i, line in enumerate(np.array(ratios).T):
            axes.plot(line, linewidth=0.7, label=f"layer {i + 1}")
        axes.axhline(-3, color="black")
        axes.set(xlabel="step", ylabel="log10(update / weight)")
        axes.legend()
    lesson.keep(picture)


losses = []
for loss in training.train(deep, train_x, train_y, n_watched, 32, lambda i: 0.1, rng, step=watched):
    losses.append(loss)
    if len(losses) % (n_watched // 4) == 0:
        draw_updates()
middle = float(np.median(np.array(ratios)[n_watched // 2 :, :-1]))
lesson.check("log10 of update to weight, the layers' median", middle, -3, within=0.7)
lesson.check_band("first loss of the deep network", losses[0], 3.1, 3.5)
tanh_outputs = [
    o.data for o, part in zip(deep.outputs, deep.layers, strict=True) if isinstance(part, Function)
]
print("    tanh saturated, by layer:", " ".join(f"{saturation(o):.1%}" for o in tanh_outputs))
lesson.claim("with BatchNorm few tanh saturate", max(map(saturation, tanh_outputs)) < 0.25)

picture = lesson.figure("weights", 9, 3.5)
if picture is not None:
    left, right = picture.subplots(1, 2)
    for i, p in enumerate(weights):
        for axes, values in ((left, p.data), (right, p.grad / p.data.std())):
            heights, edges = np.histogram(values, 80, density=True)
            axes.semilogy(edges[:-1], heights + 1e-6, label=f"layer {i + 1}")
    left.set(xlabel="weights", ylabel="density")
    right.set(xlabel="gradient over the weights' size")
    right.legend()
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
