"""A GPT, part by part: what each part brings, measured on Shakespeare.

From a table of pairs to attention, heads, feed-forward layers, residual paths and norms; then the
same model in the engine. Lecture: Zero to Hero, "Let's build GPT: from scratch, in code, spelled
out". Read beside it: groundup/reference/gpt.py and training.py.
"""

# %% [markdown]
# # 7. A GPT from scratch

# %%
import math
import time

import numpy as np
import torch

import groundup as gu
from groundup import course, models
from groundup.reference import gpt, training
from groundup.reference.layers import Dropout, Embedding, Function, Linear, Module, Sequential
from groundup.reference.tensor import Tensor, cross_entropy

lesson = course.Lesson(7, "A GPT from scratch")
FILE = "tinyshakespeare/input.txt"
text = lesson.text(FILE, stand_in=course.text_of_python)
characters = sorted(set(text))
number = {character: i for i, character in enumerate(characters)}
V = len(characters)
ids = np.array([number[character] for character in text])
cut = int(0.9 * len(ids))
train_ids, held_out = ids[:cut], ids[cut:]
judged = held_out[: lesson.choose(fast=20_001, usual=None, full=None)]


def show(numbers):
    print("   ", "".join(characters[i] for i in numbers).strip().replace("\n", "\n    "))


lesson.check("characters in the text", len(text), 1_115_394, of=FILE)
lesson.check("different ones", V, 65, of=FILE)
lesson.check("the loss of a guess that knows nothing, ln V", math.log(V), 4.17, 0.005, of=FILE)

# %% [markdown]
# ## Where it starts
#
# A table of logits, a row for each character: what may follow it. Filled with normal numbers it is
# worse than knowing nothing, for it is sure of itself by chance: the logarithm of a sum of V powers
# of e is about ln V + 1/2, 4.67. The lecture prints 4.87, and that is no other truth but one batch,
# 4 pieces of 8 characters at seed 1337. Draw the same, and it is there.


# %%
class Table(Module):
    """Logits of what follows, by the last character alone."""

    block_size = 8

    def __init__(self, rng):
        self.rows = Embedding(V, V, rng)

    def __call__(self, ids):
        return self.rows(ids)

    loss = gpt.GPT.loss
    generate = gpt.GPT.generate


tables = [Table(np.random.default_rng(seed)) for seed in range(100)]
x, y = training.windows(held_out[:2_001], 8)
untrained = [table.loss(x, y).item() for table in tables]
lesson.check("parameters of the table", tables[0].n_parameters(), 4_225, of=FILE)
lesson.check("its loss untrained, mean of 100 tables", np.mean(untrained), 4.67, 0.03, of=FILE)
print(f"    one table and another: {min(untrained):.2f} to {max(untrained):.2f}")

torch.manual_seed(1337)
window = train_ids[torch.randint(cut - 8, (4, 1)).numpy() + np.arange(9)]
torch.manual_seed(1337)
lectures = Table(np.random.default_rng())
lectures.rows.weight.data = torch.nn.Embedding(V, V).weight.detach().double().numpy()
printed = lectures.loss(window[:, :-1], window[:, 1:]).item()
lesson.check("the printed one: seed 1337, 32 characters", printed, 4.87, within=0.01, of=FILE)
print(f"    that table on 2,000 characters held out: {training.evaluate(lectures, x, y):.4f}")

# %% [markdown]
# ## What a table can know
#
# The answer is known: count (lesson 2). Descent comes near it.

# %%
counts = np.ones((V, V))
np.add.at(counts, (train_ids[:-1], train_ids[1:]), 1)
log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
counted = -log_p[held_out[:-1], held_out[1:]].mean()
lesson.check("counted pairs, held out", counted, 2.48, within=0.005, of=FILE)

batches = training.batches(train_ids, 8, 32, np.random.default_rng(0))
n_steps = lesson.choose(fast=200, usual=2_000, full=5_000)
table = tables[0].to(np.float32)
for _ in training.train(table, batches, n_steps, lr=0.01):
    pass
descended = training.evaluate(table, *training.windows(judged, 8))
slack = lesson.choose(fast=1.5, usual=0.1, full=0.03)
lesson.check_band(f"above counting after {n_steps:,} steps", descended - counted, -0.01, slack)
show(table.generate(np.array([[0]]), 150, np.random.default_rng(0))[0])

# %% [markdown]
# ## Listening to the past: the averaging trick
#
# The weakest way to hear those before you: their mean. A loop over positions; a product with a
# lower triangle whose rows sum to 1; a softmax of zeros whose future is minus infinity. The same
# three times, and in the third the zeros may become something else.

# %%
some = Tensor(np.random.default_rng(0).normal(size=(4, 8, 2)))
in_a_loop, *others = [way.data for way in gpt.averages(some)]
for name, way in zip(("a product with a triangle", "a masked softmax"), others, strict=True):
    lesson.check(f"{name}, against the loop", float(np.abs(way - in_a_loop).max()), 0, 1e-14)

# %% [markdown]
# ## Part by part
#
# Attention puts numbers there: how well a key meets a query. Now models of 32 features that see 8
# characters; 5,000 steps of 32 pieces each, and one part more each time. Weights are drawn as
# PyTorch draws them, narrower than reference/layers.py by the square root of 3.
#
# Published figures are means over 200 random batches, ours over the whole held-out text. Another
# seed moves them by .01 to .02; agreement of a mean of three is within .03.

# %%
C, T = 32, 8


def heads(rng, n_head):
    return [gpt.Attention(C, n_head, rng, bias=False, project=False)]


def with_feed_forward(rng):
    return [*heads(rng, 4), Sequential(Linear(C, C, rng), Function(Tensor.relu))]


def blocks(rng, norm, n_embd=C, n_head=4, n_layer=3):
    return [
        gpt.Block(
            gpt.Attention(n_embd, n_head, rng, bias=False),
            gpt.FeedForward(n_embd, rng, activation="relu"),
            n_embd,
            norm,
        )
        for _ in range(n_layer)
    ]


def assemble(layers, rng, norm=False, block_size=T, n_embd=C):
    """A GPT as the lecture has it: the head apart from the embedding, PyTorch's first weights."""
    model = gpt.GPT(V, block_size, n_embd, layers, rng, norm, Linear(n_embd, V, rng))
    for name, parameter in model.named_parameters().items():
        if parameter.data.ndim == 2 and name not in ("wte.weight", "wpe.weight"):
            parameter.data /= math.sqrt(3)
    return model.to(np.float32)


STAGES = {
    "one head": (lambda rng: assemble(heads(rng, 1), rng), 7_553, 2.40),
    "four heads": (lambda rng: assemble(heads(rng, 4), rng), 7_553, 2.28),
    "and a feed-forward layer": (lambda rng: assemble(with_feed_forward(rng), rng), 8_609, 2.24),
    "three residual blocks": (lambda rng: assemble(blocks(rng, False), rng), 41_921, 2.08),
    "and layer norms": (lambda rng: assemble(blocks(rng, True), rng, True), 42_369, 2.06),
}
n_steps = lesson.choose(fast=30, usual=2_000, full=5_000)
seeds = lesson.choose(fast=[0], usual=[0], full=[0, 1, 2])
trained, curves, means = {}, {}, {}
for name, (build, n_parameters, published) in STAGES.items():
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        model, began = build(rng), time.perf_counter()
        batches = training.batches(train_ids, T, 32, rng)
        losses = list(training.train(model, batches, n_steps, lr=1e-3))
        seconds = time.perf_counter() - began
        found.append(training.evaluate(model, *training.windows(judged, T)))
        print(f"    {name}, seed {seed}: held out {found[-1]:.4f}, {seconds:.0f} s")
    trained[name], curves[name], means[name] = model, losses, float(np.mean(found))
    lesson.check(f"{name}: parameters", model.n_parameters(), n_parameters, of=FILE)
    if lesson.mode == "full":
        lesson.check(f"{name}: held-out loss", means[name], published, within=0.03, of=FILE)
    elif lesson.mode == "usual":
        low, high = published - 0.03, published + 0.15
        lesson.check_band(f"{name}: after {n_steps:,} steps", means[name], low, high, of=FILE)
for before, after in zip(list(STAGES)[:-1], list(STAGES)[1:], strict=True):
    # After fewer steps a part that brings little is not yet told from chance.
    worth = STAGES[before][2] - STAGES[after][2]
    if lesson.mode == "full" or (lesson.mode == "usual" and worth > 0.1):
        lesson.claim(f"{after}: lower than {before}", means[after] < means[before])
picture = lesson.figure("parts")
if picture is not None:
    axes = picture.subplots()
    n_mean = max(1, n_steps // 50)
    for name, losses in curves.items():
        smooth = np.reshape(losses[: n_steps // n_mean * n_mean], (-1, n_mean)).mean(axis=1)
        axes.plot((np.arange(len(smooth)) + 0.5) * n_mean, smooth, label=name)
    axes.axhline(counted, color="gray", linestyle=":", label="counted pairs")
    axes.set(xlabel="step", ylabel="loss, nats", ylim=(1.9, 3.2))
    axes.legend()
lesson.keep(picture)

# %% [markdown]
# ## What a head listens to
#
# Row t: how much position t hears of each before it. A row sums to 1, and above the diagonal is
# nothing.

# %%
model = trained["one head"]
piece = held_out[None, 1_000 : 1_000 + T]
query, key, _ = model.h[0].heads(model.wte(piece) + model.wpe(np.arange(T)))
weights = gpt.attention_weights(query, key, gpt.future(T)).data[0, 0]
lesson.check("rows of the weights sum to", float(weights.sum(axis=1).mean()), 1, within=1e-6)
lesson.check("weight of the future", float(np.abs(np.triu(weights, 1)).sum()), 0)
picture = lesson.figure("attention", 5, 4.5)
if picture is not None:
    axes = picture.subplots()
    labels = [repr(characters[i])[1:-1].replace(" ", "␣") for i in piece[0]]
    axes.imshow(weights, cmap="Blues", vmin=0)
    axes.set_xticks(range(T), labels)
    axes.set_yticks(range(T), labels)
    axes.set(xlabel="heard", ylabel="hearing")
lesson.keep(picture)

# %% [markdown]
# ## Three ways to fool oneself
#
# **No mask.** Attention printed without its mask runs, and the loss is wonderful: each position
# reads the answer from the next. The last position has no next; there the same model shows what it
# is worth.


# %%
class Unmasked(gpt.Attention):
    """Attention as it is sometimes printed."""

    def __call__(self, x, hidden=None):
        return super().__call__(x, np.zeros((1, 1), bool))


rng = np.random.default_rng(0)
unmasked = assemble([Unmasked(C, 1, rng, bias=False, project=False)], rng)
batches = training.batches(train_ids, T, 32, rng)
n_steps = lesson.choose(fast=500, usual=2_000, full=5_000)
for _ in training.train(
    unmasked, batches, n_steps, lr=lesson.choose(fast=1e-2, usual=3e-3, full=1e-3)
):
    pass
x, y = training.windows(judged, T)
wonderful = training.evaluate(unmasked, x, y)
last = cross_entropy(unmasked(x)[:, -1], y[:, -1]).item()
print(f"    without a mask: held out {wonderful:.4f}, at the last position {last:.4f}")
lesson.claim("without the mask a head seems to beat the pairs", wonderful < counted - 0.3)
lesson.claim("where nothing can be read off, it is worse than them", last > counted)

# %% [markdown]
# **No eval().** Dropout hides features at random while a model learns, so that no feature relies on
# another. Left on in evaluation, it hides them there too: another loss each time, and a worse one.

# %%
model = trained["and layer norms"]
for part in model.modules():
    if isinstance(part, Dropout):
        part.p = 0.2
x, y = training.windows(held_out[:16_001], T)
model.train()
forgotten = [model.loss(x, y).item() for _ in range(2)]
model.eval()
meant = [model.loss(x, y).item() for _ in range(2)]
print(f"    without eval() {forgotten[0]:.4f} and {forgotten[1]:.4f}, with it {meant[0]:.4f}")
lesson.claim("with eval() a loss is a number", meant[0] == meant[1])
lesson.claim("without it another each time", forgotten[0] != forgotten[1])
lesson.claim("and higher", min(forgotten) > meant[0])

# %% [markdown]
# **Past the block.** Positions were learned for 8 places. A loop that hands over all it has written
# fails at the ninth character; `generate` hands over the last 8.

# %%
written = np.array([[0] * T])
try:
    model(np.append(written, [[0]], axis=1))
    refused = ""
except ValueError as error:
    refused = str(error)
print("   ", refused)
lesson.claim("nine characters are refused", "at most block_size = 8 ids, got 9" in refused)
written = model.generate(np.array([[0]]), 300, np.random.default_rng(1))
lesson.check("generate goes on past the block", written.shape[1], 301)
show(written[0])

# %% [markdown]
# ## The large one
#
# The same parts at 6 layers of 384 features, 6 heads, 256 characters, dropout .2: 1.48. "About ten
# million parameters" is said of this one, and is true of no other here: the table had 4,225. The
# lecture gives its GPU a quarter of an hour; two cores would take days. Where there is a GPU,
# `python examples/shakespeare.py` trains it, and says whether it got there.

# %%
rng = np.random.default_rng(0)
large = gpt.GPT(V, 256, 384, blocks(rng, True, 384, 6, 6), rng, head=Linear(384, V, rng))
lesson.check("parameters of the large one", large.n_parameters(), 10_788_929, of=FILE)

# %% [markdown]
# ## The same in the engine
#
# First one operation: attention, as written above and as csrc/attention.cpp has it, which never
# holds a (T, T) table.

# %%
B, H, T, D = lesson.choose(fast=(1, 2, 256, 32), usual=(2, 6, 512, 64), full=(2, 6, 512, 64))
draw = np.random.default_rng(0)
query, key, value = (draw.normal(size=(B, H, T, D)).astype(np.float32) for _ in range(3))


def timed(compute):
    compute()
    began = time.perf_counter()
    return compute(), time.perf_counter() - began


slow, slow_s = timed(lambda: gpt.attend(Tensor(query), Tensor(key), Tensor(value)).data)
given = [torch.from_numpy(part) for part in (query, key, value)]
fast, fast_s = timed(lambda: gu.causal_attention(*given).numpy())
difference = float(np.abs(slow - fast).max())
lesson.check("gu.causal_attention, largest difference", difference, 0, within=1e-5)
print(f"    {(B, H, T, D)}: NumPy {slow_s:.4f} s, gu.causal_attention {fast_s:.4f} s, once each")

# %% [markdown]
# Then the whole model, weight for weight, learning: models/gpt.py and this one, the same batches,
# the same losses.

# %%
block, n_embd = lesson.choose(fast=(32, 32), usual=(128, 128), full=(128, 128))
torch.manual_seed(0)
engine = models.GPT(models.GPTConfig(V, block, n_embd, n_layer=2, n_head=4))
ours = gpt.gpt2(V, block, n_embd, n_head=4, n_layer=2, rng=np.random.default_rng(0))
ours.to(np.float32).load(
    {name.removeprefix("transformer."): w.numpy() for name, w in engine.state_dict().items()}
)
batches = list(zip(range(4), training.batches(train_ids, block, 8, draw), strict=False))
began = time.perf_counter()
slow = list(training.train(ours, (batch for _, batch in batches), len(batches), lr=1e-3))
slow_s = time.perf_counter() - began
optimizer = gu.optim.AdamW(engine.parameters(), lr=1e-3)
fast, fast_s = [], []
for _, (x, y) in batches:
    began = time.perf_counter()
    loss = engine.loss(torch.from_numpy(x), torch.from_numpy(y))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    fast.append(loss.item())
    fast_s.append(time.perf_counter() - began)
for step, (a, b) in enumerate(zip(slow, fast, strict=True)):
    print(f"    step {step}: reference {a:.6f}, engine {b:.6f}")
lesson.check(
    "losses of the two, largest difference", float(np.abs(np.subtract(slow, fast)).max()), 0, 1e-4
)
print(
    f"    a step of 8 x {block} characters: NumPy {slow_s / len(batches):.3f} s, "
    f"the engine {min(fast_s):.3f} s"
)

# %%
lesson.finish()
