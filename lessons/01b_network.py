"""A network of neurons learns four examples, and loses no digit against PyTorch.

Forward, zero_grad, backward, step: all it takes to train a network. Lecture: Zero to Hero, "The
spelled-out intro to neural networks and backpropagation". Read beside it:
groundup/reference/micrograd/nn.py.
"""

# %% [markdown]
# # 1b. A network of neurons

# %%
import random

import numpy as np
import torch

from groundup.course import Lesson
from groundup.reference.micrograd.engine import Value
from groundup.reference.micrograd.nn import MLP

lesson = Lesson("1b", "A network of neurons")

# %% [markdown]
# ## Four examples
#
# 3 inputs, two layers of 4 neurons, one output: 41 numbers. The loss is the sum of squared
# errors. Forget nothing: forward, zero_grad, backward, step.

# %%
XS = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
YS = [1.0, -1.0, -1.0, 1.0]


def sum_of_squares(model):
    return sum((model(x) - y) ** 2 for x, y in zip(XS, YS, strict=True))


def train(model, rates, loss_of=sum_of_squares):
    """The loss before each step, and after the last."""
    losses = []
    for rate in rates:
        loss = loss_of(model)
        losses.append(loss.data)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= rate * p.grad
    return [*losses, loss_of(model).data]


lesson.check("parameters of the MLP", len(MLP(3, [4, 4, 1]).parameters()), 41)

# %% [markdown]
# The loss as printed crashes, twice over. `sum` begins with the plain number 0, and 0 + Value asks
# the Value for `__radd__`. And a layer of one neuron gives a list, which has no minus: the MLP here
# hands out its one Value.


# %%
class Unreflected(Value):
    """A Value as it is without `__radd__`: Python asks, and it knows of nothing."""

    def __radd__(self, other):
        return NotImplemented


def crashes(step):
    try:
        step()
    except TypeError as error:
        print(f"    {error}")
        return "unsupported operand type(s) for" in str(error)
    return False


last_layer = MLP(3, [4, 4, 1], seed=3).layers[-1]
lesson.claim("without __radd__ the sum crashes", crashes(lambda: sum([Unreflected(1.0)])))
lesson.claim("a list of one neuron minus 1 crashes", crashes(lambda: last_layer([0.0] * 4) - 1.0))

# %% [markdown]
# And what the words beside it call a mean is a sum: four times as large, and so are its steps.


# %%
def mean_of_squares(model):
    return sum_of_squares(model) / len(XS)


one, other, slow = (MLP(3, [4, 4, 1], seed=3) for _ in range(3))
as_sum = train(one, [0.05] * 20)
as_mean = train(other, [0.2] * 20, mean_of_squares)
far = max(abs(s - 4 * m) for s, m in zip(as_sum, as_mean, strict=True))
lesson.check("a mean needs four times the rate: difference from the sum's run", far, 0, within=1e-9)
at_the_same = train(slow, [0.05] * 20, mean_of_squares)
lesson.claim("a mean at the sum's rate lags behind", 4 * at_the_same[-1] > as_sum[-1])

# %%
RATES = {
    "rate .05": [0.05] * 50,
    "rate .2": [0.2] * 50,
    "rate .2, a tenth less each step": [0.2 * 0.9**k for k in range(50)],
}
curves = {name: train(MLP(3, [4, 4, 1], seed=3), rates) for name, rates in RATES.items()}
picture = lesson.figure("training")
if picture is not None:
    axes = picture.subplots()
    for name, losses in curves.items():
        axes.semilogy(losses, label=f"{name}: {losses[-1]:.2g}")
    axes.set(xlabel="step", ylabel="sum of squared errors")
    axes.legend()
lesson.keep(picture)

# %% [markdown]
# One run says little: how well it goes depends on where the weights start. Many starts give a
# median and a band. The notes' own runs ended at .01473, .00102 and .00791. On arrays all starts
# train at once; first see that the arrays compute what the Values do.


# %%
def train_many(weights, rates, xs=XS, ys=YS):
    """As `train`, for many MLPs at once: weights [(W (n, in, out), b (n, out))], losses (steps, n).

    Gradients by hand: the chain rule, a layer at a time.
    """
    xs, ys = np.array(xs), np.array(ys)[:, None]
    weights = [(w.copy(), b.copy()) for w, b in weights]
    losses = []
    for rate in [*rates, 0.0]:
        outs = [np.broadcast_to(xs, (len(weights[0][0]), *xs.shape))]
        for w, b in weights:
            outs.append(np.tanh(outs[-1] @ w + b[:, None]))
        losses.append(((outs[-1] - ys) ** 2).sum(axis=(1, 2)))
        gradient = 2 * (outs[-1] - ys)
        for layer in reversed(range(len(weights))):
            w, b = weights[layer]
            gradient = gradient * (1 - outs[layer + 1] ** 2)
            below = gradient @ w.swapaxes(1, 2)
            w -= rate * (outs[layer].swapaxes(1, 2) @ gradient)
            b -= rate * gradient.sum(axis=1)
            gradient = below
    return np.array(losses)


def arrays_of(models):
    """The weights of MLPs of Values as stacked arrays."""
    return [
        (
            np.array(
                [[[w.data for w in n.weights] for n in m.layers[k].neurons] for m in models]
            ).swapaxes(1, 2),
            np.array([[n.bias.data for n in m.layers[k].neurons] for m in models]),
        )
        for k in range(3)
    ]


same = train_many(arrays_of([MLP(3, [4, 4, 1], seed=3)]), RATES["rate .05"])[:, 0]
far = max(abs(a - b) for a, b in zip(same, curves["rate .05"], strict=True))
lesson.check("arrays against Values over 50 steps, largest difference", far, 0, within=1e-9)

n_starts = lesson.choose(fast=200, usual=2000, full=20_000)
rng = np.random.default_rng(0)
starts = [
    (rng.uniform(-1, 1, (n_starts, n, m)), rng.uniform(-1, 1, (n_starts, m)))
    for n, m in ((3, 4), (4, 4), (4, 1))
]
# Median, and the band that 90% of starts lie in: from many thousand starts.
PUBLISHED = {
    "rate .05": (0.016, 0.0095, 0.033),
    "rate .2": (0.0021, 0.0003, 0.0049),
    "rate .2, a tenth less each step": (0.014, 0.0018, 0.078),
}
NOTES = {
    "rate .05": 0.01473,
    "rate .2": 0.00102,
    "rate .2, a tenth less each step": 0.00791,
}
slack = lesson.choose(fast=0.35, usual=0.2, full=0.1)
for name, rates in RATES.items():
    losses = train_many(starts, rates)
    if name == "rate .05":
        lesson.check("median loss at the start", float(np.median(losses[0])), 5.6, within=0.4)
        inside = float(((losses[0] >= 2.4) & (losses[0] <= 8.0)).mean())
        lesson.check_band("share of starts from 2.4 to 8, their band of 90%", inside, 0.8, 0.97)
    last = losses[-1]
    median, low, high = PUBLISHED[name]
    seen = float(np.median(last))
    lesson.check(f"{name}: median after 50 steps", seen, median, within=slack * median)
    inside = float(((last >= low) & (last <= high)).mean())
    lesson.check_band(f"{name}: share of starts in the band of 90%", inside, 0.8, 0.97)
    print(f"    the notes' one run ended at {NOTES[name]:.5f}")

# %% [markdown]
# One example alone, to be told .9 (which example, the notes do not say; here the first). It is
# learned by heart much sooner than four.

# %%
NOTES_ALONE = (0.00092, 0.0000103, 0.00690)
for (name, rates), noted in zip(RATES.items(), NOTES_ALONE, strict=True):
    last = train_many(starts, rates, XS[:1], [0.9])[-1]
    low, median, high = np.quantile(last, (0.05, 0.5, 0.95))
    print(f"    {name}: median {median:.2g}, {low:.2g} to {high:.2g}; the notes' run {noted:.2g}")
    together = float(np.median(train_many(starts, rates)[-1]))
    lesson.claim(f"{name}: one alone is learned better than four", median < together)

# %% [markdown]
# ## Parity with PyTorch, and three ways to lose it
#
# With the weights copied before training the loss is PyTorch's after every step. Three classic
# mistakes: copying after training, another seed than one thinks, no zero_grad.

# %%


def torch_twin(model):
    layers = []
    for layer in model.layers:
        linear = torch.nn.Linear(len(layer.neurons[0].weights), len(layer.neurons)).double()
        with torch.no_grad():
            for i, neuron in enumerate(layer.neurons):
                linear.bias[i] = neuron.bias.data
                for j, weight in enumerate(neuron.weights):
                    linear.weight[i, j] = weight.data
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers)


def train_torch(model, n_steps, rate, zero_grad=True):
    xs, ys = torch.tensor(XS, dtype=torch.float64), torch.tensor(YS, dtype=torch.float64)
    losses = []
    for _ in range(n_steps):
        loss = ((model(xs)[:, 0] - ys) ** 2).sum()
        losses.append(loss.item())
        if zero_grad:
            model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= rate * p.grad
    return losses


def distance(ours, theirs):
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


model = MLP(3, [4, 4, 1], seed=5)
twin, forgetful = torch_twin(model), torch_twin(model)
ours = train(model, [0.05] * 20)[:-1]
after_training = torch_twin(model)
other_seed = torch_twin(MLP(3, [4, 4, 1], seed=random.Random(5).randrange(1000)))
lesson.check("torch, step by step", distance(ours, train_torch(twin, 20, 0.05)), 0, within=1e-6)
for name, wrong in (
    ("weights copied after training", train_torch(after_training, 20, 0.05)),
    ("another seed", train_torch(other_seed, 20, 0.05)),
    ("no zero_grad", train_torch(forgetful, 20, 0.05, zero_grad=False)),
):
    lesson.claim(f"{name}: the losses part", distance(ours, wrong) > 1e-3)

# %%
lesson.finish()
