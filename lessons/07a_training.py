"""What listings promise and leave out: a loader that goes round, an initialisation, a schedule.

A model that is right learns badly where what surrounds it is not, and nothing crashes, or much
later. Lecture: Zero to Hero, "Let's reproduce GPT-2". Read beside it: groundup/data/batches.py,
models/gpt.py, train/schedule.py, and reference/adamw.py.
"""

# %% [markdown]
# # 7a. What surrounds a GPT

# %%
import copy
import math

import numpy as np
import torch

from groundup import course, models
from groundup.data.batches import Batches
from groundup.data.shards import Tokens, write_shard
from groundup.reference import gpt, training
from groundup.reference.adamw import AdamW, clip_grad_norm
from groundup.reference.makemore.training import descend
from groundup.train.schedule import learning_rate

lesson = course.Lesson("7a", "What surrounds a GPT")
FILE = "tinyshakespeare/input.txt"
text = lesson.text(FILE, stand_in=course.text_of_python)
characters = sorted(set(text))
number = {character: i for i, character in enumerate(characters)}
V = len(characters)
ids = np.array([number[character] for character in text])
cut = int(0.9 * len(ids))
train_ids, held_out = ids[:cut], ids[cut : cut + 8_001]

# %% [markdown]
# ## A loader that ends, and one that goes round
#
# As printed: a place in the text, moved on by each batch. At the end of the text the last piece is
# too short, and a run dies after hours. Where somebody mended that by going back to the start,
# every pass has the same batches, of neighbours, in the same order.


# %%
class Listing:
    """Batches (B, T) as printed."""

    def __init__(self, ids, batch_size, block_size, goes_round):
        self.ids, self.B, self.T = ids, batch_size, block_size
        self.goes_round, self.place = goes_round, 0

    def next_batch(self):
        if self.goes_round and self.place + self.B * self.T + 1 > len(self.ids):
            self.place = 0
        piece = self.ids[self.place : self.place + self.B * self.T + 1]
        self.place += self.B * self.T
        return piece[:-1].reshape(self.B, self.T), piece[1:].reshape(self.B, self.T)


B, T = 4, 8
on_disk = ids[:1_000].astype(np.uint16)
printed, n_batches, died = Listing(on_disk, B, T, False), 0, ""
try:
    while True:
        printed.next_batch()
        n_batches += 1
except ValueError as error:
    died = str(error)
print(f"    {died}")
lesson.check("batches of 32 in 1,000 ids, before it dies", n_batches, 31)
lesson.claim("it dies on what is left", "cannot reshape array" in died)
mended = Listing(on_disk, B, T, True)
passes = [[mended.next_batch()[0] for _ in range(n_batches)] for _ in range(2)]
lesson.claim("mended, both passes have the same batches", np.array_equal(*passes))
try:
    torch.nn.functional.embedding(torch.from_numpy(passes[0][0]), torch.zeros(V, 2))
    refused = ""
except RuntimeError as error:
    refused = str(error)
lesson.claim("and ids of two bytes, which no embedding takes", "Long, Int" in refused)

# %% [markdown]
# The engine's: windows in an order drawn anew for each pass, from another offset; a batch is a
# function of its number, so that a run goes on where it stopped; and int64.

# %%
shard = lesson.folder / "ids.bin"
write_shard(shard, on_disk, vocab_size=V)
ours = Batches(Tokens([shard]), B, T, seed=0)
n = ours.windows_per_epoch
batches = [ours.batch(k) for k in range(3 * n // B)]
windows, targets = (np.concatenate(part) for part in zip(*batches, strict=True))
first, second = windows[:n], windows[n : 2 * n]
lesson.claim("the second pass has another order", not np.array_equal(first, second))
neighbours = int((windows[1:, 0] == targets[:-1, -1]).sum())
print(f"    rows that begin as the text before them goes on: {neighbours} of {len(windows)}")
lesson.claim("rows are not each other's neighbours", neighbours < len(windows) / 4)
lesson.claim(
    "the thousandth batch is there, and the same when asked again",
    torch.equal(ours.batch(1_000)[0], ours.batch(1_000)[0]),
)
lesson.claim("ids are int64", ours.batch(0)[0].dtype == torch.int64)

# %% [markdown]
# ## An initialisation that is defined and never applied
#
# 2 n_layer branches add to one stream. At equal size their sum grows with depth, so GPT-2 draws the
# last weights of each branch smaller, .02 / √(2 n_layer). One listing marks those layers for it,
# and its `init` never looks at the mark: it runs, and all weights are of .02.


# %%
def initialised(n_layer, reads_the_mark, seed=0):
    """A GPT-2 as the listing draws its weights."""
    rng = np.random.default_rng(seed)
    model = gpt.gpt2(V, 32, 64, n_head=4, n_layer=n_layer, rng=rng)
    for name, parameter in model.named_parameters().items():
        marked = name.endswith("c_proj.weight")
        if parameter.data.ndim == 2:
            std = 0.02 / math.sqrt(2 * n_layer) if marked and reads_the_mark else 0.02
            parameter.data = rng.normal(0, std, parameter.shape)
    return model


def added(model):
    """The size of what all branches together add to the stream."""
    start = stream = model.wte(ids[None, :32]) + model.wpe(np.arange(32))
    for block in model.h:
        stream = block(stream)
    return float((stream - start).data.std())


depths = (2, 8, 32)
for reads, says in ((False, "not applied"), (True, "applied")):
    grown = [added(initialised(depth, reads)) for depth in depths]
    print(
        f"    {says}: branches add {', '.join(f'{size:.3f}' for size in grown)} at {depths} layers"
    )
    lesson.check(
        f"{says}: 32 layers add, times what 2 do",
        grown[-1] / grown[0],
        1 if reads else 4,
        within=0.8,
    )

# %% [markdown]
# To be sure, ask the weights and not the code: the engine's, and the reference's.

# %%
engine = models.GPT(models.GPTConfig(V, 32, 64, n_layer=8, n_head=4))
sizes = {
    "the engine": {name: w.numpy().std() for name, w in engine.state_dict().items() if w.ndim == 2},
    "the reference": {
        name: w.data.std()
        for name, w in gpt.gpt2(V, 32, 64, 4, 8, np.random.default_rng(0))
        .named_parameters()
        .items()
        if w.data.ndim == 2
    },
}
for whose, stds in sizes.items():
    back = np.mean([std for name, std in stds.items() if name.endswith("c_proj.weight")])
    rest = np.mean([std for name, std in stds.items() if not name.endswith("c_proj.weight")])
    lesson.check(f"{whose}: weights", rest, 0.02, within=5e-4)
    lesson.check(f"{whose}: weights back to the stream, times √16", back * 4, 0.02, within=5e-4)

# %% [markdown]
# ## A schedule, printed
#
# Promised in a listing's text, absent from its loop. GPT-2's: up to 6e-4 over 715 steps, down along
# a cosine to a tenth at step 19,073. Ours is a function of the share of a run.


# %%
def rate(step, peak=6e-4, n_warm=715, n_steps=19_073):
    """The rate of a step, from 0 on. The first is not 0: that step would be lost."""
    if step < n_warm:
        return peak * (step + 1) / n_warm
    falls = min(1.0, (step - n_warm) / (n_steps - n_warm))
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * falls)))


for step, expected in (
    (0, 6e-4 / 715),
    (714, 6e-4),
    (9_894, 3.3e-4),
    (19_073, 6e-5),
    (30_000, 6e-5),
):
    lesson.check(
        f"rate at step {step:,}, in ten-thousandths", rate(step) * 1e4, expected * 1e4, 1e-6
    )
share = [learning_rate(i / 19_073, peak=6e-4, warmup=715 / 19_073) for i in range(715, 19_074)]
far = max(abs(a - rate(i)) for i, a in enumerate(share, start=715))
lesson.check("the engine's, once it falls: largest difference", far, 0, within=1e-12)
picture = lesson.figure("schedule")
if picture is not None:
    axes = picture.subplots()
    shown = range(0, 20_000, 50)
    axes.plot(shown, [rate(step) for step in shown], color="black")
    axes.set(xlabel="step", ylabel="learning rate")
lesson.keep(picture)

# %% [markdown]
# Why up: AdamW divides a gradient by its own size, and after one step it has seen but one. Every
# weight moves by the whole rate, whatever its gradient. Why down: near the bottom, steps that do
# not shrink jump about. The same batches, with the rate kept and with it falling:


# %%
def steps(model, optimizer, batches, rates):
    for lr in rates:
        loss = model.loss(*next(batches))
        model.zero_grad()
        loss.backward()
        clip_grad_norm([p.grad for p in model.parameters()], 1.0)
        optimizer.step(lr)


rng = np.random.default_rng(1)
model = gpt.gpt2(V, 16, 32, n_head=4, n_layer=2, rng=rng).to(np.float32)
optimizer = AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
before = model.wte.weight.data.copy()
batches = training.batches(train_ids, 16, 16, rng)
steps(model, optimizer, batches, [6e-4])
moved = np.abs(model.wte.weight.data - before)
lesson.check(
    "AdamW's first step, rate 6e-4: the median weight moves", np.median(moved) * 1e4, 6, 0.01
)
peak, n_up, n_down = 5e-3, lesson.choose(fast=60, usual=200, full=200), 100
steps(model, optimizer, batches, [rate(i, peak, 20, 10**9) for i in range(n_up)])
ends = {}
for way, rates in (
    ("kept", [peak] * n_down),
    ("falling", [rate(i, peak, 0, n_down) for i in range(n_down)]),
):
    again = copy.deepcopy(model)
    stepper = AdamW(again.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    stepper.states = copy.deepcopy(optimizer.states)
    steps(again, stepper, training.batches(train_ids, 16, 16, np.random.default_rng(5)), rates)
    ends[way] = training.evaluate(again, *training.windows(held_out, 16))
    print(f"    rate {way}: held out {ends[way]:.4f} after {n_down} more steps")
if lesson.mode != "fast":
    lesson.claim("falling, it ends lower", ends["falling"] < ends["kept"], of=FILE)

# %% [markdown]
# ## Clipping, printed
#
# One damaged page, the same character over and over, and plain descent is thrown far. Clipped, all
# gradients together are at most 1 long, and keep their direction. (AdamW is thrown less, because it
# divides by the gradient's size; what it keeps of the page is then in its averages.)

# %%
rarest = int(np.bincount(train_ids, minlength=V).argmin())
page = np.full((16, 16), rarest)
x, y = training.windows(held_out, 16)
undisturbed = training.evaluate(model, x, y)
after = {}
for most in (math.inf, 1.0):
    thrown = copy.deepcopy(model)
    thrown.loss(page, page).backward()
    gradients = [p.grad for p in thrown.parameters()]
    theirs = [torch.nn.Parameter(torch.from_numpy(g.copy())) for g in gradients]
    for p in theirs:
        p.grad = p.detach().clone()
    norm = clip_grad_norm(gradients, most)
    by_torch = torch.nn.utils.clip_grad_norm_(theirs, most).item()
    far = max(np.abs(g - p.grad.numpy()).max() for g, p in zip(gradients, theirs, strict=True))
    descend(thrown.parameters(), 0.1)
    after[most] = training.evaluate(thrown, x, y)
lesson.check("clipped gradients against torch's, largest difference", far, 0, within=1e-6)
lesson.check("their norm before, against torch's", norm / by_torch, 1, within=1e-5)
length = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))
lesson.check("and after", length, 1, within=1e-4)
print(
    f"    a page of {characters[rarest]!r}, gradient {norm:.1f}: held out {undisturbed:.3f}, "
    f"{after[math.inf]:.3f} after a step, {after[1.0]:.3f} after a clipped one"
)
lesson.claim(
    "unclipped it costs more than twice as much",
    after[math.inf] - undisturbed > 2 * (after[1.0] - undisturbed),
)

# %%
lesson.finish()
