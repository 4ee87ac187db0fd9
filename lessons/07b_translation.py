"""One text answered by another: an encoder, a decoder, and the question between them.

A GPT writes on; a translator writes what somebody else has said. Two stacks of lesson 7's blocks,
one without the mask, and a third kind of attention from the one to the other. Lecture: the end of
Zero to Hero's "Let's build GPT"; Vaswani et al. 2017. Read beside it:
groundup/reference/translator.py.
"""

# %% [markdown]
# # 7b. Encoder and decoder

# %%
import re

import numpy as np

from groundup import course
from groundup.reference import training, translator
from groundup.reference.translator import Translator, Words

lesson = course.Lesson("7b", "Encoder and decoder")
rng = np.random.default_rng(0)

# %% [markdown]
# ## A small language
#
# Hindi puts the verb last, and its verb agrees with the subject: लड़का पढ़ता है, a boy reads,
# लड़की पढ़ती है, a girl reads. A few words of each kind make six hundred sentences, and a
# translator has to turn them round.

# %%
SUBJECTS = {
    "boy": ("लड़का", "laṛkā", "m"),
    "girl": ("लड़की", "laṛkī", "f"),
    "man": ("आदमी", "ādmī", "m"),
    "woman": ("औरत", "aurat", "f"),
    "king": ("राजा", "rājā", "m"),
    "queen": ("रानी", "rānī", "f"),
}
VERBS = {
    "sees": ("देख", "dekh"),
    "wants": ("चाह", "cāh"),
    "buys": ("ख़रीद", "xarīd"),
    "sells": ("बेच", "bec"),
    "makes": ("बना", "banā"),
    "brings": ("ला", "lā"),
}
ADJECTIVES = {"red": ("लाल", "lāl"), "beautiful": ("सुंदर", "sundar"), "heavy": ("भारी", "bhārī")}
OBJECTS = {
    "book": ("किताब", "kitāb"),
    "house": ("घर", "ghar"),
    "table": ("मेज़", "mez"),
    "chair": ("कुर्सी", "kursī"),
    "flower": ("फूल", "phūl"),
    "stone": ("पत्थर", "patthar"),
}
ENDING = {"m": ("ता", "tā"), "f": ("ती", "tī")}
romanized = {"है": "hai"}


def small_language():
    """Every sentence once, in English and Hindi, a pair a line."""
    lines = []
    for subject, (hindi, roman, gender) in SUBJECTS.items():
        romanized[hindi] = roman
        for verb, stems in VERBS.items():
            verb_hindi, verb_roman = (a + b for a, b in zip(stems, ENDING[gender], strict=True))
            romanized[verb_hindi] = verb_roman
            for thing, (thing_hindi, thing_roman) in OBJECTS.items():
                romanized[thing_hindi] = thing_roman
                for quality, (quality_hindi, quality_roman) in ADJECTIVES.items():
                    romanized[quality_hindi] = quality_roman
                    read = f"the {subject} {verb} a {quality} {thing}"
                    lines.append(f"{read}\t{hindi} {quality_hindi} {thing_hindi} {verb_hindi} है")
    return "\n".join(lines)


def words_of(text):
    """Words in lower case and marks; Devanagari has no cases."""
    return re.findall(r"[^\s.,?!।|\"()]+|[.,?!।]", text.lower())


def prepare(lines, at_least, longest):
    """Pairs of sentences as ids, a tenth held out; sentences that stand twice stay together."""
    pairs = [tuple(map(words_of, line.split("\t")[:2])) for line in lines.splitlines()]
    pairs = [pair for pair in pairs if 0 < max(map(len, pair)) < longest]
    different = sorted({tuple(read) for read, _ in pairs})
    order = np.random.default_rng(0).permutation(len(different))
    apart = {different[i] for i in order[: len(different) // 10]}
    learn = [pair for pair in pairs if tuple(pair[0]) not in apart]
    languages = [Words((pair[side] for pair in learn), at_least) for side in (0, 1)]

    def encoded(chosen):
        sides = [[lang.encode(p[i]) for p in chosen] for i, lang in enumerate(languages)]
        return translator.examples(*sides)

    held_out = [pair for pair in pairs if tuple(pair[0]) in apart]
    return languages, encoded(learn), encoded(held_out)


(english, hindi), learn, held_out = prepare(small_language(), 1, 10)
print(f"    {len(learn[0]):,} sentences to learn from, {len(held_out[0])} held out")
print("   ", " ".join(english.decode(learn[0][0])), "|", " ".join(hindi.decode(learn[2][0])))
lesson.check("sentences", len(learn[0]) + len(held_out[0]), 6 * 6 * 3 * 6)

# %% [markdown]
# ## With the source and without
#
# The same network twice, weight for weight: one decoder may ask the encoder, the other is shown an
# empty sentence. Both are taught behind the right words. What the blind one cannot know is what the
# sentence says: six subjects, three qualities, six things, six verbs, over six words (the end mark
# counts), so at best (ln 6 + ln 3 + ln 6 + ln 6) / 6 = 1.08 nats a word.

# %%
n_steps = lesson.choose(fast=80, usual=400, full=1_500)


def fit(look, parts, languages, n_steps, seed=0, lr=3e-3, **sizes):
    """A trained translator; float32."""
    model = Translator(len(languages[0]), len(languages[1]), look=look, **sizes)
    model.to(np.float32)
    drawn = translator.batches(parts, 32, np.random.default_rng(seed))
    for _ in training.train(model, drawn, n_steps, lr):
        pass
    return model.eval()


small = {"block_size": 10, "n_embd": 32, "n_head": 2, "n_layer": 1}
seeing, blind = (
    fit(look, learn, (english, hindi), n_steps, rng=np.random.default_rng(1), **small)
    for look in (True, False)
)
lesson.check("parameters of both", seeing.n_parameters(), blind.n_parameters())
sees, guesses = (model.loss(*held_out).item() for model in (seeing, blind))
at_best = (3 * np.log(6) + np.log(3)) / 6
print(f"    held out, nats a word: seeing {sees:.4f}, blind {guesses:.4f}")
lesson.check_band("the blind one's, 1.08 at best", guesses, at_best - 0.1, at_best + 0.25)
lesson.check_band("the seeing one's", sees, 0, lesson.choose(fast=0.9, usual=0.1, full=0.02))
written = seeing.translate(held_out[0])
right = [
    hindi.decode(row) == hindi.decode(target)
    for row, target in zip(written, held_out[2], strict=True)
]
share = float(np.mean(right))
print(f"    translated word for word: {share:.0%} of the sentences held out")
if lesson.mode != "fast":
    lesson.check_band("share of sentences translated without a fault", share, 0.9, 1)

# %% [markdown]
# ## Where it looks
#
# Each row is a word about to be written, and how much it hears of each word read. The order of the
# verb and the thing is turned round, and so is the picture. Where it looks beside the word: an
# encoder's position has heard its neighbours, and may speak for them.

# %%
seeing.loss(*(part[:1] for part in held_out))
weights = seeing.decoder[0].ask.weights[0].mean(axis=0)
read = [*english.decode(held_out[0][0]), "·"]
spoken = [romanized[word] for word in hindi.decode(held_out[2][0])] + ["·"]
picture = lesson.figure("where_it_looks", 6, 5)
if picture is not None:
    axes = picture.subplots()
    axes.imshow(weights, cmap="Blues", vmin=0)
    axes.set_xticks(range(len(read)), read, rotation=45, ha="right")
    axes.set_yticks(range(len(spoken)), spoken)
    axes.set(xlabel="read", ylabel="about to be written")
lesson.keep(picture)
for word, row in zip(spoken, weights, strict=True):
    print(f"    {word:>10}  looks at {read[int(row.argmax())]}")

seeing.loss(*held_out)
looks = seeing.decoder[0].ask.weights.mean(axis=(0, 1))
lesson.check("every row sums to", float(looks.sum(axis=-1).mean()), 1, within=1e-5)
thing, verb = (float(looks[row] @ np.arange(looks.shape[1])) for row in (2, 3))
print(f"    mean place looked at: {thing:.1f} for the thing, {verb:.1f} for the verb after it")
lesson.claim("what is written first is looked for behind", thing > verb + 1)

# %% [markdown]
# ## Sentences that people wrote
#
# Three thousand pairs of Tatoeba are few: half of the words stand there once. The translations are
# bad, and yet the source tells: the decoder that sees it is less surprised by sentences it never
# learned than the one that does not. And given somebody else's sentence it is worse off than with
# none.

# %%
FILE = "tatoeba/hin.txt"
languages, learn, held_out = prepare(lesson.text(FILE, stand_in=small_language), 2, 14)
print(f"    {len(learn[0]):,} sentences to learn from, {len(held_out[0])} held out;")
print(f"    {len(languages[0]):,} English words, {len(languages[1]):,} Hindi ones")
n_steps = lesson.choose(fast=20, usual=300, full=600)
larger = {
    "block_size": 16,
    "n_embd": lesson.choose(fast=16, usual=64, full=64),
    "n_head": 4,
    "n_layer": 1,
    "dropout": 0.2,
}
gaps = []
for seed in lesson.choose(fast=[0], usual=[0], full=[0, 1, 2]):
    seeing, blind = (
        fit(look, learn, languages, n_steps, seed, 2e-3, rng=np.random.default_rng(seed), **larger)
        for look in (True, False)
    )
    sees, guesses = (model.loss(*held_out).item() for model in (seeing, blind))
    others = [np.roll(held_out[0], 1, axis=0), *held_out[1:]]
    misled = seeing.loss(*others).item()
    gaps.append((guesses - sees, misled - sees))
    print(
        f"    held out, nats a word, after {n_steps} steps: seeing {sees:.4f}, blind "
        f"{guesses:.4f}, with another's source {misled:.4f}"
    )
if lesson.mode != "fast":
    lesson.claim("the source tells more than .15 nats a word", min(gap for gap, _ in gaps) > 0.15)
    lesson.claim("another's misleads by more", all(misled > gap for gap, misled in gaps))
for i in range(0, 60, 12):
    read, right = languages[0].decode(held_out[0][i]), languages[1].decode(held_out[2][i])
    said = languages[1].decode(seeing.translate(held_out[0][i : i + 1])[0])
    print("   ", " ".join(read), "|", " ".join(said), "|", " ".join(right))

# %%
lesson.finish()
