"""The backward pass by hand, until autograd is no magic.

Exercise 1: every intermediate. Exercise 2: cross-entropy in one expression. Exercise 3: BatchNorm
in one. Exercise 4: the whole loop without autograd. Then the same two expressions as the native
kernels have them. Lecture: Zero to Hero, "makemore part 4: becoming a backprop ninja". Read beside
it: groundup/reference/makemore/backprop.py.
"""

# %% [markdown]
# # 5. Manual backpropagation

# %%
import time

import numpy as np
import torch

import groundup as gu
from groundup import course
from groundup.reference.layers import BatchNorm1d
from groundup.reference.makemore import backprop
from groundup.reference.makemore.words import Vocabulary, examples, read_names, split
from groundup.reference.tensor import Tensor, cross_entropy

lesson = course.Lesson(5, "Backpropagation by hand")
FILE = "names/names.txt"
names = read_names(lesson.text(FILE, stand_in=course.names_of_python))
vocabulary = Vocabulary.of(names)
train_names, dev_names, _ = split(names)
train_x, train_y = examples(train_names, vocabulary, 3)
dev_x, dev_y = examples(dev_names, vocabulary, 3)
rng = np.random.default_rng(42)
parameters = backprop.parameters(len(vocabulary), rng)
chosen = rng.integers(0, len(train_y), 32)
x, y = train_x[chosen], train_y[chosen]

# %% [markdown]
# ## Exercise 1: every intermediate
#
# PyTorch's autograd on the same lines is the judge, in float64.

# %%
made = backprop.forward(parameters, x, y)
gradients = backprop.backward_step_by_step(parameters, made, x, y)


def autograd(p, x, y):
    """backprop.forward in torch, line by line; the gradient of everything in it."""
    t = {name: torch.tensor(value, requires_grad=True) for name, value in p.items()}
    B = len(x)
    t["embedded"] = t["C"][torch.tensor(x)]
    t["joined"] = t["embedded"].reshape(B, -1)
    t["before_norm"] = t["joined"] @ t["W1"] + t["b1"]
    t["mean"] = t["before_norm"].sum(0, keepdim=True) / B
    t["centered"] = t["before_norm"] - t["mean"]
    t["squared"] = t["centered"] ** 2
    t["variance"] = t["squared"].sum(0, keepdim=True) / B
    t["scale"] = (t["variance"] + backprop.EPS) ** -0.5
    t["normal"] = t["centered"] * t["scale"]
    t["preactivation"] = t["gain"] * t["normal"] + t["shift"]
    t["hidden"] = t["preactivation"].tanh()
    t["logits"] = t["hidden"] @ t["W2"] + t["b2"]
    t["largest"] = t["logits"].max(1, keepdim=True).values
    t["shifted"] = t["logits"] - t["largest"]
    t["powers"] = t["shifted"].exp()
    t["total"] = t["powers"].sum(1, keepdim=True)
    t["total_inverse"] = t["total"] ** -1
    t["probabilities"] = t["powers"] * t["total_inverse"]
    t["log_probabilities"] = t["probabilities"].log()
    loss = -t["log_probabilities"][torch.arange(B), torch.tensor(y)].mean()
    for tensor in t.values():
        tensor.retain_grad()
    loss.backward()
    return {name: tensor.grad.numpy() for name, tensor in t.items()}


expected = autograd(parameters, x, y)
for name, gradient in gradients.items():
    print("   ", backprop.cmp(name, gradient, expected[name]))
worst = max(float(np.abs(g - expected[name]).max()) for name, g in gradients.items())
lesson.check("exercise 1, largest difference from autograd", worst, 0, within=1e-8)
lesson.check("gradients compared", len(gradients), len(parameters) + len(made) - 1)

# %% [markdown]
# Gain, shift and biases start a little off 1 and 0 here, for an exact 1 or 0 hides mistakes. Forget
# the gain on the way back: where it is 1 nobody can tell.

# %%
forgotten = {}
for name, gain in (("1", np.ones_like(parameters["gain"])), ("drawn", parameters["gain"])):
    p = parameters | {"gain": gain}
    g = backprop.backward_step_by_step(p, backprop.forward(p, x, y), x, y)
    forgotten[name] = float(np.abs(g["preactivation"] - g["normal"]).max())
lesson.check("forgotten where it is 1: difference", forgotten["1"], 0)
lesson.claim("where it is a little off, it shows", forgotten["drawn"] > 1e-4)

# %% [markdown]
# ## Exercise 2: cross-entropy in one expression
#
# softmax minus one-hot, over the number of rows. What is taken from the wrong letters is given to
# the right one: each row sums to 0. The trap: one descends against the gradient, so the right
# letter's entry is the negative one. Told the other way round, the loss climbs.

# %%
dlogits = backprop.cross_entropy_backward(made["probabilities"], y)
difference = float(np.abs(dlogits - expected["logits"]).max())
lesson.check("exercise 2, largest difference", difference, 0, within=1e-8)
lesson.check("sums of its rows", float(np.abs(dlogits.sum(axis=1)).max()), 0, within=1e-15)
right = dlogits[np.arange(32), y]
lesson.claim("negative at the right letter, whose logit should rise", bool((right < 0).all()))
lesson.check("positive at all others", (dlogits > 0).sum(), 32 * (len(vocabulary) - 1))
down, up = (cross_entropy(Tensor(made["logits"] - step * dlogits), y).item() for step in (1, -1))
lesson.claim("a step against it lowers the loss", down < made["loss"])
lesson.claim("with the signs told wrong, it climbs", up > made["loss"])
picture = lesson.figure("dlogits", 7, 6)
if picture is not None:
    axes = picture.subplots()
    axes.imshow(dlogits, cmap="gray")
    axes.set(xlabel="letter", ylabel="example")
lesson.keep(picture)

# %% [markdown]
# ## Exercise 3: BatchNorm in one expression
#
# Printed listings of it are wrong by .35 to .71 on a scale of 1.2. What goes wrong: the mean's
# part left out, or the variance's.

# %%
dbefore = backprop.batch_norm_backward(expected["normal"], made["normal"], made["scale"])
difference = float(np.abs(dbefore - expected["before_norm"]).max())
lesson.check("exercise 3, largest difference", difference, 0, within=1e-8)
without_mean = (
    expected["normal"]
    - made["normal"] * (expected["normal"] * made["normal"]).mean(axis=0, keepdims=True)
) * made["scale"]
without_variance = (expected["normal"] - expected["normal"].mean(axis=0)) * made["scale"]
without_both = expected["normal"] * made["scale"]
scale = float(np.abs(expected["before_norm"]).max())
for name, wrong in (
    ("the mean", without_mean),
    ("the variance", without_variance),
    ("mean and variance", without_both),
):
    off = float(np.abs(wrong - expected["before_norm"]).max()) / scale
    lesson.claim(f"leaving out {name} is off by {off:.0%} of the largest gradient", off > 0.05)
lesson.check(
    "the bias before BatchNorm, which takes it off again: its gradient",
    float(np.abs(gradients["b1"]).max()),
    0,
    within=1e-12,
)

# %% [markdown]
# Four more slips of printed BatchNorms, which crash nothing. eps beside the root and not under it:
# another function where a feature hardly varies. The variance of n in one place and of n - 1 in
# another. Momentum the wrong way round, so that the running mean is the last batch's. And the
# batch's own statistics in use, so that an answer depends on who else asks.

# %%
layer = BatchNorm1d(2)
few = rng.normal(3.0, (1.0, 1e-3), (4, 2))
normal = layer(Tensor(few)).data
centered = few - few.mean(axis=0)
beside = np.abs(centered / (few.std(axis=0) + layer.eps) - normal).max(axis=0)
print(
    f"    eps beside the root: off by {beside[0]:.1e}, and by {beside[1]:.1f} where little varies"
)
lesson.claim("eps belongs under the root", bool(beside[0] < 1e-3 < 0.1 < beside[1]))
lesson.check("variance of 4 by n - 1 over that by n", few.var(0, ddof=1)[0] / few.var(0)[0], 4 / 3)
lesson.claim(
    "a tenth of the batch is in the running mean", np.allclose(layer.running_mean, few.mean(0) / 10)
)
reversed_momentum = BatchNorm1d(2, momentum=0.9)
reversed_momentum(Tensor(few))
share = reversed_momentum.running_mean[0] / few.mean(0)[0]
lesson.check("with momentum the wrong way round", share, 0.9)
in_company, alone = (BatchNorm1d(2)(Tensor(some)).data[:2] for some in (few, few[:2]))
moved = float(np.abs(in_company - alone).max())
lesson.claim("by the batch's own statistics an answer depends on who else asks", moved > 0.1)
both = layer.eval()(Tensor(few)).data
lesson.check(
    "in use nobody's answer depends on another's: difference",
    np.abs(both[:1] - layer(Tensor(few[:1])).data).max(),
    0,
)

# %% [markdown]
# The embedding's gradient goes to the letters that went in. Indexed by the letter that should come
# out, a slip seen in print, it runs too, and is another table.

# %%
wrong_table = np.zeros_like(parameters["C"])
np.add.at(wrong_table, np.repeat(y[:, None], 3, axis=1), gradients["embedded"])
off = float(np.abs(wrong_table - expected["C"]).max())
lesson.claim("indexed by the target it is wrong", off > 0.1 * float(np.abs(expected["C"]).max()))

# %% [markdown]
# ## Exercise 4: the loop without autograd
#
# And a loss as good as lesson 4's. Afterwards the statistics of BatchNorm are measured once over
# all of the training set, so that an answer does not depend on its neighbours.

# %%
n_steps = lesson.choose(fast=1500, usual=30_000, full=200_000)
n_hidden = lesson.choose(fast=64, usual=100, full=200)
rng = np.random.default_rng(7)
p = backprop.parameters(len(vocabulary), rng, n_hidden=n_hidden)
losses = list(backprop.train(p, train_x, train_y, n_steps, 32, rng))
statistics = backprop.calibrated(p, train_x)
dev = backprop.loss_in_use(p, statistics, dev_x, dev_y)
print(f"    loss: first batch {losses[0]:.4f}, dev {dev:.4f}")
if lesson.mode == "full":
    lesson.check("dev loss after 200,000 steps", dev, 2.10, within=0.02, of=FILE)
else:
    high = lesson.choose(fast=2.45, usual=2.25, full=0.0)
    lesson.check_band(f"dev loss after {n_steps:,} steps", dev, 2.08, high, of=FILE)
lesson.claim("it learned", dev < np.mean(losses[:20]) - 0.5)

# %% [markdown]
# ## The same expressions in the engine
#
# `gu.cross_entropy` stores no probabilities either: its backward pass makes softmax minus one-hot
# from one read of the logits, in csrc/cross_entropy.cpp. The same gradient, faster.

# %%
N, V = lesson.choose(fast=(256, 5_000), usual=(1024, 50_257), full=(1024, 50_257))
logits = torch.randn(N, V, generator=torch.Generator().manual_seed(0))
targets = torch.randint(V, (N,), generator=torch.Generator().manual_seed(1))


def by_hand():
    shifted = logits.numpy() - logits.numpy().max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return backprop.cross_entropy_backward(
        powers / powers.sum(axis=1, keepdims=True), targets.numpy()
    )


def by_the_op():
    leaf = logits.clone().requires_grad_()
    began = time.perf_counter()
    gu.cross_entropy(leaf, targets).backward()
    return leaf.grad.numpy(), time.perf_counter() - began


began = time.perf_counter()
slow = by_hand()
slow_s = time.perf_counter() - began
by_the_op()
fast, fast_s = by_the_op()
difference = float(np.abs(slow - fast).max() / np.abs(slow).max())
lesson.check("the op's gradient, largest relative difference", difference, 0, within=1e-5)
print(f"    ({N}, {V:,}) logits: NumPy {slow_s:.3f} s, gu.cross_entropy {fast_s:.3f} s, once each")

# %%
lesson.finish()
