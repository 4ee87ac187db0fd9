"""Longer memories: a tree over eight letters, and the convolution that computes all trees at once.

Lecture: Zero to Hero, "makemore part 5: building a WaveNet". Then what the lecture left open:
dilated causal convolutions with gates, recurrent cells, a transformer, and a search for something
better. Read beside it: groundup/reference/makemore/wavenet.py, recurrent.py, experiment.py.
"""

# %% [markdown]
# # 6. WaveNet, and its rivals

# %%
import time

import numpy as np
import torch

from groundup import course, torch_twin
from groundup.reference.layers import BatchNorm1d
from groundup.reference.makemore import bigram, experiment, recurrent, training, wavenet
from groundup.reference.makemore.transformer import Transformer
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor

lesson = course.Lesson(6, "WaveNet, recurrent networks, and a search")
FILE = "names/names.txt"
names = read_names(lesson.text(FILE, stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
V = len(vocabulary)
train_names, dev_names, _ = split(names)
data = {
    block: (*examples(train_names, vocabulary, block), *examples(dev_names, vocabulary, block))
    for block in (3, 8, 16)
}
n_dev = lesson.choose(fast=1000, usual=None, full=None)
torch.set_num_threads(1)  # these products are too small for two


def fit(model, n_steps, rate=0.1, loop=training.train):
    """Train as in the lecture, a tenth of the rate in the last quarter; the dev loss."""
    began = time.perf_counter()
    x, y, dev_x, dev_y = data[model.block_size]

    def falling(i):
        return rate if 4 * i < 3 * n_steps else rate / 10

    for _ in loop(model.to(np.float32), x, y, n_steps, 32, falling, np.random.default_rng(0)):
        pass
    print(f"    {n_steps:,} steps of {type(model).__name__} in {time.perf_counter() - began:.0f} s")
    return training.evaluate(model, dev_x[:n_dev], dev_y[:n_dev])


# %% [markdown]
# ## The same steps in torch
#
# 200,000 steps of these networks take NumPy up to ten minutes each. torch_twin.py has them in
# torch, on the same arrays. First show that both take the same steps, in float64; then let the
# faster one make the long runs.

# %%
SHOWN = {
    "tree": wavenet.Tree(V, np.random.default_rng(1), (2, 2, 2), 10, 68),
    "WaveNet": wavenet.WaveNet(V, np.random.default_rng(1), n_channels=16),
    **{c: recurrent.Recurrent(V, np.random.default_rng(1), c) for c in recurrent.CELLS},
}
n_shown = lesson.choose(fast=3, usual=20, full=100)
for name, model in SHOWN.items():
    off = torch_twin.agreement(model, *data[8][:2], n_steps=n_shown)
    lesson.check(f"{name} in torch, largest difference in {n_shown} steps", off, 0, within=1e-10)
long_run = lesson.choose(fast=training.train, usual=torch_twin.train, full=torch_twin.train)


# %% [markdown]
# ## Flat or by and by
#
# From three letters to eight the flat network gains. Then the same number of weights as a tree:
# pairs, fours, eights. At equal size the tree is no better; it is what lets the network grow.

# %%
NETWORKS = {
    "flat, 3 letters": ({"fan_in": (3,), "n_features": 10, "n_hidden": 200}, 12_097, 2.10),
    "flat, 8 letters": ({"fan_in": (8,), "n_features": 10, "n_hidden": 200}, 22_097, 2.02),
    "tree, 8 letters": ({"fan_in": (2, 2, 2), "n_features": 10, "n_hidden": 68}, 22_397, 2.022),
    "tree, larger": ({"fan_in": (2, 2, 2), "n_features": 24, "n_hidden": 128}, 76_579, 1.993),
}
n_steps = lesson.choose(fast=120, usual=4_000, full=200_000)
results = {}
for name, (settings, n_parameters, published) in NETWORKS.items():
    model = wavenet.Tree(V, np.random.default_rng(1), **settings)
    lesson.check(f"{name}: parameters", model.n_parameters(), n_parameters, of=FILE)
    if lesson.mode == "fast" and name != "tree, 8 letters":
        continue
    results[name] = fit(model, n_steps, loop=long_run)
    if lesson.mode == "full":
        lesson.check(f"{name}: dev loss", results[name], published, within=0.02, of=FILE)
    else:
        seen = f"{results[name]:.4f} after {n_steps:,} steps"
        print(f"    {name}: dev {seen}; after 200,000 {published}")
if lesson.mode == "usual":
    lesson.claim(
        "eight letters tell more than three",
        results["flat, 8 letters"] < results["flat, 3 letters"],
    )
if lesson.mode == "full":
    lesson.check_band("the larger tree's dev loss", results["tree, larger"], 1.9, 2.0, of=FILE)

# %% [markdown]
# ## The bug that does not crash
#
# BatchNorm over the first axis only: on (B, T, C) each place gets a mean of its own, of fewer
# numbers. Everything runs. After 200,000 steps it was a little worse (2.029 against 2.022 in the
# lecture, 2.030 against 2.025 here): one seed each, which another seed may turn round. What gives a
# bug of this kind away is a shape, and not a loss.

# %%
x = Tensor(np.random.default_rng(0).normal(size=(32, 4, 68)))
right, wrong = BatchNorm1d(68), wavenet.BatchNormOfTheBug(68)
right(x), wrong(x)
lesson.check("running means, fixed", right.running_mean.size, 68)
lesson.check("running means, with the bug", wrong.running_mean.size, 4 * 68)
buggy = wavenet.Tree(V, np.random.default_rng(1), (2, 2, 2), 10, 68)
buggy.net.layers = [
    wavenet.BatchNormOfTheBug(68) if isinstance(part, BatchNorm1d) else part
    for part in buggy.net.layers
]
with_bug = fit(buggy, n_steps, loop=long_run)
print(f"    dev with the bug {with_bug:.4f}, without {results['tree, 8 letters']:.4f}")
if lesson.mode == "full":
    lesson.check("dev loss with the bug", with_bug, 2.029, within=0.02, of=FILE)

# %% [markdown]
# ## One pass for all positions
#
# A name of eight letters is eight examples, and eight trees share most of their branches. A
# dilated convolution computes every branch once.

# %%
net = wavenet.WaveNet(
    V, np.random.default_rng(2), n_channels=lesson.choose(fast=16, usual=64, full=64)
)
block = data[8][0][:16]
together = net.every_position(block).data
one_by_one = np.stack(
    [net.every_position(block[:, : t + 1]).data[:, -1] for t in range(block.shape[1])], axis=1
)
lesson.check(
    "convolution against position by position", float(np.abs(together - one_by_one).max()), 0, 1e-12
)
loss = fit(net, lesson.choose(fast=80, usual=2_500, full=40_000), loop=long_run)
print(f"    gated, dilated, residual: dev {loss:.4f}, {net.n_parameters():,} parameters")

# %% [markdown]
# One more dilation, 8, and it sees 16 letters: longer than any name. Each doubling of the block is
# one layer more, where the flat network's first layer doubles.

# %%
wide = wavenet.WaveNet(V, np.random.default_rng(2), 16, lesson.choose(fast=16, usual=32, full=64))
block = data[16][0][40:56]
together = wide.every_position(block).data[:, -1]
alone = np.stack([wide.every_position(row[None]).data[0, -1] for row in block])
lesson.check("16 letters, all rows or each alone", float(np.abs(together - alone).max()), 0, 1e-12)
changed = block.copy()
changed[:, 0] = (changed[:, 0] + 1) % V
heard = np.abs(wide.every_position(changed).data[:, -1] - together).max(axis=1)
lesson.claim("the last place hears the first, 15 before it", bool((heard > 0).all()))
longer = np.concatenate([np.ones((16, 1), int), block], axis=1)
beyond = wide.every_position(longer).data[:, -1] - together
lesson.check("and nothing further back", float(np.abs(beyond).max()), 0, within=1e-12)
loss = fit(wide, lesson.choose(fast=40, usual=1_000, full=40_000), loop=long_run)
print(f"    16 letters: dev {loss:.4f}, {wide.n_parameters():,} parameters")

# %% [markdown]
# ## 6b. One state, carried along
#
# The same interface, the same data. A plain RNN's gradient fades with every step back. A gate lets
# it pass as far as it is open: the LSTM's forget gate begins with a bias of 1. The GRU's update
# gate begins at a half, every step forgets half of the state, and its gradient fades about as the
# RNN's does; a bias opens it.

# %%
counted = bigram.probabilities(bigram.counts(train_names, vocabulary), 1)
bigram_dev = bigram.mean_nll(counted, dev_names, vocabulary)
reach = {}


def reach_of(model):
    """How much of the last state's gradient comes back to each of the 30 before it."""
    states = model.states(np.random.default_rng(4).integers(0, V, (64, 30)))
    (states[-1][:, :64] ** 2).sum().backward()
    model.zero_grad()
    norms = recurrent.gradient_norms(states)
    return [norm / norms[-1] for norm in norms]


for cell in recurrent.CELLS:
    model = recurrent.Recurrent(V, np.random.default_rng(3), cell)
    reach[cell] = reach_of(model)
    n_steps = lesson.choose(fast=150, usual=2_000, full=20_000)
    loss = fit(model, n_steps, rate=0.3, loop=long_run)
    print(f"    {cell}: dev {loss:.4f}; of the gradient, {reach[cell][10]:.1e} comes 20 steps back")
    if lesson.mode != "fast":
        lesson.claim(f"the {cell} is below the bigram, {bigram_dev:.4f}", loss < bigram_dev)
    if cell == "gru":
        opened = recurrent.Recurrent(V, np.random.default_rng(3), cell)
        opened.cell.update.bias.data -= 2  # less is new, more stays
        reach["gru with a bias"] = reach_of(opened)
lesson.claim(
    "the LSTM's gradient reaches further back than the RNN's", reach["rnn"][5] < reach["lstm"][5]
)
lesson.claim("and than that of a GRU half open", reach["gru"][5] < reach["lstm"][5])
lesson.claim("a bias opens the GRU", reach["gru with a bias"][5] > 10 * reach["gru"][5])
picture = lesson.figure("gradients")
if picture is not None:
    axes = picture.subplots()
    for cell, line in reach.items():
        axes.semilogy(range(30, -1, -1), line, label=cell)
    axes.set(xlabel="steps back", ylabel="gradient's size, of the last one's")
    axes.legend()
lesson.keep(picture)
attention = Transformer(V, np.random.default_rng(5), n_embd=32, n_layer=1)
loss = fit(attention, lesson.choose(fast=60, usual=1_500, full=10_000), rate=0.3)
print(f"    transformer: dev {loss:.4f}, {attention.n_parameters():,} parameters")

# %% [markdown]
# ## A search
#
# Which width, which rate? Many short runs, compared; each stops when it no longer gets better, and
# is in the log before the next begins.

# %%
n_part = lesson.choose(fast=20, usual=400, full=2_000)


def start(settings):
    """The dev loss after every part of a run."""
    model = wavenet.Tree(V, np.random.default_rng(1), (2, 2, 2), 10, settings["n_hidden"])
    model.to(np.float32)
    x, y, dev_x, dev_y = data[8]
    rng = np.random.default_rng(2)
    while True:
        for _ in long_run(model, x, y, n_part, 32, lambda i: settings["rate"], rng):
            pass
        yield training.evaluate(model, dev_x[: n_dev or 4000], dev_y[: n_dev or 4000])


log = lesson.folder / f"search-{lesson.mode}{'-stand-in' * lesson.has_stand_in}.jsonl"
candidates = experiment.grid(n_hidden=[16, 48], rate=[0.03, 0.3])
if lesson.mode != "fast":
    candidates += experiment.random_search(
        2, np.random.default_rng(0), n_hidden=[32, 64], rate=(0.05, 0.5)
    )


def at_most(progress, n):
    for _, loss in zip(range(n), progress, strict=False):
        yield loss


runs = experiment.search(candidates, lambda s: at_most(start(s), 4), log, patience=2)
print("   ", experiment.table(runs).replace("\n", "\n    "))
again = experiment.search(candidates, lambda s: iter(()), log, patience=2)
lesson.claim(
    "a second search takes every run from the log",
    [r.loss for r in again] == [r.loss for r in runs],
)

# %%
lesson.finish()
