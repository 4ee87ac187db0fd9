"""Words as tokens, tokens as vectors, and where they stand.

A first tokenizer cuts text into words and signs; a table gives each a vector, which is a product
with a one-hot row; and a position tells attention in which order they came. Read beside it:
groundup/reference/words.py, embedding.py and positions.py.
"""

# %% [markdown]
# # 9c. Words, embeddings and positions

# %%
import re
import time

import numpy as np
import torch

from groundup import course
from groundup.reference.embedding import lookup, lookup_backward, one_hot, product
from groundup.reference.positions import relative_bias, rotate, scores, sinusoidal
from groundup.reference.words import END_OF_TEXT, UNKNOWN, WORDS, TableTokenizer, cut_words

lesson = course.Lesson("9c", "Words, embeddings and positions")
PLAYS = "tinyshakespeare/input.txt"
plays = lesson.text(PLAYS, stand_in=course.text_of_python)
plays = plays[: lesson.choose(fast=100_000, usual=len(plays), full=len(plays))]

# %% [markdown]
# ## Words and signs
#
# One regular expression: a word, or one sign. Two ids are kept for what is no word: <unk> for what
# the table has not, and the end of a text between two of them.

# %%
tokenizer = TableTokenizer.train([plays], WORDS)
line = 'Speak, speak: "I\'ll hear thee!"'
ids = tokenizer.encode(line)
print(f"    {cut_words(line)}\n    {ids}\n    {tokenizer.decode(ids)}")
lesson.check("id of <unk>", tokenizer.encode("zyzzyva")[0], 0)
two = tokenizer.encode_documents(["I speak.", "I hear."])
lesson.check("documents told apart by ends of text", two.count(1), 2)
lesson.claim("no text can spell the end of one", 1 not in tokenizer.encode(f"I{END_OF_TEXT}"))
known = tokenizer.pieces[0]
unknown = tokenizer.decode(tokenizer.encode(f"{known} zyzzyva"))
lesson.claim("what is unknown is lost", unknown == f"{known} {UNKNOWN}")
whole = tokenizer.encode(plays)
lesson.claim("ids come back from their text", tokenizer.encode(tokenizer.decode(whole)) == whole)
lesson.claim("but the text not from its ids: blanks and lines", tokenizer.decode(whole) != plays)

# %% [markdown]
# How long a text is and how many different words it has are two figures: a text of 40,000 tokens
# has no vocabulary of 40,000. Words come ever more slowly, and never stop coming.

# %%
lengths = [n for n in (1_000, 4_000, 16_000, 40_000, 100_000, 250_000) if n <= len(whole)]
kinds = [len(set(whole[:n])) for n in lengths]
for n, n_kinds in zip(lengths, kinds, strict=True):
    print(f"    {n:>9,} tokens, {n_kinds:>6,} different ones")
lesson.claim(
    "tokens are more than kinds of them",
    all(k < n / 2 for k, n in zip(kinds, lengths, strict=True)),
)
lesson.claim("and the kinds do not end", bool((np.diff(kinds) > 0).all()))
if len(whole) >= 40_000:
    n_kinds = kinds[lengths.index(40_000)]
    lesson.check_band("different words in 40,000 of Shakespeare", n_kinds, 4_000, 7_000, of=PLAYS)

# %% [markdown]
# Hindi writes spaces between its words, so the same cut serves, if a word keeps its vowel signs.
# Those are marks, and the \w of Python's own regular expressions does not have them.

# %%
HINDI = "क्या आप पानी पीते हैं?"
print("   ", cut_words(HINDI), re.findall(r"\w+", HINDI))
lesson.check("words and a sign", len(cut_words(HINDI)), 6)
lesson.claim("cut by \\w they are shreds", len(re.findall(r"\w+", HINDI)) > 5)

# %% [markdown]
# ## A row of a table is a product
#
# Each id has a row of numbers, which training shapes. A one-hot row times the table is that row:
# all else is times 0. So a layer that looks up is a linear layer that does not multiply.

# %%
rng = np.random.default_rng(0)
V, C, N = tokenizer.n_vocab, 32, 256
table = rng.normal(size=(V, C))
batch = np.array(whole[:N])
began = time.perf_counter()
multiplied = one_hot(batch, V) @ table
product_s = time.perf_counter() - began
began = time.perf_counter()
looked_up = lookup(batch, table)
lookup_s = time.perf_counter() - began
lesson.check("lookup against product, largest difference", np.abs(multiplied - looked_up).max(), 0)
lesson.claim("equal to the last bit", np.array_equal(multiplied, looked_up))
print(f"    {N} ids of {V:,}: product {product_s:.5f} s, lookup {lookup_s:.5f} s, once each")

# %% [markdown]
# The gradient goes the same way back: the one-hot matrix, turned, times the gradient of what came
# out. A row used three times gets three gradients, added: the same sums. A library may add them
# in another order, and then the last bit may differ; added in order, none does.

# %%
gradient = rng.normal(size=(N, C))
scattered = lookup_backward(batch, gradient, V)
lesson.claim(
    "gradient, summed in order: equal to the last bit",
    np.array_equal(scattered, product(one_hot(batch, V).T, gradient)),
)
blas = one_hot(batch, V).T @ gradient
lesson.check("gradient, in the library's order", np.abs(blas - scattered).max(), 0, within=1e-12)
unseen = np.setdiff1d(np.arange(V), batch)
lesson.claim("words that were not there get none", not scattered[unseen].any())
most = np.bincount(batch).argmax()
n_most = int((batch == most).sum())
print(f"    {tokenizer.decode([most])!r} was there {n_most} times: its row gets {n_most} gradients")

# %% [markdown]
# **Ids on disk are not ids in a table.** Two bytes hold an id below 65,536, so shards of GPT-2's
# ids are uint16. PyTorch's embedding takes none of them: read as int64 first. And GPT-4's do not
# fit: an id of 100,257 becomes another one, and nobody complains.

# %%
on_disk = batch.astype(np.uint16)
weight = torch.tensor(table)
try:
    torch.nn.functional.embedding(torch.from_numpy(on_disk), weight)
    refused = ""
except RuntimeError as error:
    refused = str(error)
lesson.claim("uint16 is refused by an embedding", "Long, Int" in refused)
read = torch.nn.functional.embedding(torch.from_numpy(on_disk.astype(np.int64)), weight)
lesson.claim("as int64 the rows are ours", np.array_equal(read.numpy(), looked_up))
lesson.check("GPT-4's end of text in two bytes", int(np.array(100_257).astype(np.uint16)), 34_721)

# %% [markdown]
# ## Order
#
# Attention compares every token with every other: score = query · key. Nothing in it says where
# they stand. Shuffle the text, and the scores are shuffled.

# %%
T, D = 24, 32
q_of, k_of = rng.normal(size=(2, C, D)) / np.sqrt(C)
text = looked_up[:T]
plain = scores(text @ q_of, text @ k_of)
order = rng.permutation(T)
shuffled = scores(text[order] @ q_of, text[order] @ k_of)
difference = np.abs(shuffled - plain[np.ix_(order, order)]).max()
lesson.check("without positions, scores just move along", difference, 0, within=1e-12)


def shift(score_at, by=7):
    """How far the scores of the same tokens move when they stand `by` places further on."""
    return float(np.abs(score_at(by) - score_at(0)).max())


# %% [markdown]
# **Absolute**: a vector for each place is added to the token's. Learned, as GPT-2's, or made of
# sines. The score then depends on both places: the same words further on score differently.

# %%
n_places = T + 8
learned, sines = rng.normal(size=(n_places, C)), sinusoidal(n_places, C)


def added(positions):
    """The scores of the text when it begins at a place, positions added."""

    def score_at(first):
        told = text + positions[first : first + T]
        return scores(told @ q_of, told @ k_of)

    return score_at


lesson.claim("learned positions: another place, other scores", shift(added(learned)) > 0.1)
lesson.claim("sines: another place, other scores", shift(added(sines)) > 0.1)
between = sines @ sines.T
along = max(float(np.ptp(np.diagonal(between, k))) for k in range(n_places))
lesson.check("though sine times sine knows only the distance", along, 0, within=1e-12)
told = text + sines[:T]
moved = scores(told[order] @ q_of, told[order] @ k_of)
lesson.claim(
    "told its place, a token takes it along: position travels with it",
    float(np.abs(moved - scores(told @ q_of, told @ k_of)[np.ix_(order, order)]).max()) < 1e-12,
)

# %% [markdown]
# **Relative**: a number for each distance is added to the score. Here: the nearer, the more.

# %%
bias = relative_bias(-0.1 * np.arange(16.0), T)
far = float(np.abs(bias[:-1, :-1] - bias[1:, 1:]).max())
lesson.check("one place further on, the same bias", far, 0)
lesson.claim("nearer counts more", bias[10, 9] > bias[10, 3])

# %% [markdown]
# **Rotary**: each pair of features of query and key is turned by an angle that grows with the
# place. A product of two turned arrows depends on the angle between them: on the distance.

# %%
query, key = text @ q_of, text @ k_of


def rotary(first):
    return scores(rotate(query, first), rotate(key, first))


lesson.check("rotary: another place, the same scores", shift(rotary), 0, within=1e-12)
lesson.check("even 10,000 places on", shift(rotary, 10_000), 0, within=1e-10)
lesson.claim("yet order counts", float(np.abs(rotary(0) - plain).max()) > 0.1)

picture = lesson.figure("positions", 9, 3.2)
if picture is not None:
    for axes, (name, drawn) in zip(
        picture.subplots(1, 3),
        {
            "sines": between,
            "bias": bias,
            "rotary, one and the same token": scores(
                rotate(np.repeat(query[:1], T, 0)), rotate(np.repeat(query[:1], T, 0))
            ),
        }.items(),
        strict=True,
    ):
        axes.imshow(drawn, cmap="gray")
        axes.set(title=name, xlabel="key's place", ylabel="query's place")
lesson.keep(picture)

# %%
lesson.finish()
