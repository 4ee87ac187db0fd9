"""Text as tokens: characters are bytes, and pairs of bytes that are often seen are merged.

Characters are numbers and numbers are bytes; byte pair encoding makes words of them, first in
Python, then in the native engine. Lecture: Zero to Hero, "Let's build the GPT tokenizer". Read
beside it: groundup/reference/bpe.py, utf.py and words.py. Lesson 9a goes on with published ones.
"""

# %% [markdown]
# # 9. The tokenizer

# %%
import random
import time
from itertools import pairwise

import numpy as np

from groundup import course
from groundup.reference import bpe, utf
from groundup.reference.words import CHARACTERS, WHITESPACE, WORDS, TableTokenizer
from groundup.tokenizer import PATTERNS, Tokenizer
from groundup.tokenizer.engine import engine_name

lesson = course.Lesson(9, "The tokenizer")
PAGE, PLAYS = "taylorswift/taylorswift.txt", "tinyshakespeare/input.txt"
page = lesson.text(PAGE, stand_in=lambda: course.text_of_python(200_000))
plays = lesson.text(PLAYS, stand_in=course.text_of_python)
# Where the native core is not built, the tokenizer is the reference: the same ids, and patience for
# some hundred merges.
is_native = engine_name() == "native"
most = 50_000 if is_native else 400

# %% [markdown]
# ## A character, its number, its bytes
#
# Unicode numbers characters. How many bytes a number takes is the encoding's affair. What looks
# like one letter may be several characters: क्ष is क, a sign that mutes its vowel, and ष. That is 9
# bytes in UTF-8. It is told as 3, which is how many characters it has.

# %%
for text in ("a", "é", "क", "क्ष", "你", "🙂"):
    sizes = [len(utf.encode(text, form)) for form in ("utf-8", "utf-16", "utf-32")]
    points = " ".join(f"{ord(c):X}" for c in text)
    print(
        f"    {text}  {points}: {sizes[0]} bytes in UTF-8, {sizes[1]} in UTF-16, {sizes[2]} in 32"
    )
lesson.check("characters of क्ष", len("क्ष"), 3)
lesson.check("its bytes in UTF-8", len(utf.encode("क्ष")), 9)
everyone = [chr(c) for c in range(utf.LAST + 1) if c not in utf.SURROGATES]
everyone = "".join(everyone[:: lesson.choose(fast=37, usual=1, full=1)])
lesson.claim(
    "UTF-8, 16 and 32 by hand are Python's, for every code point",
    utf.encode(everyone) == everyone.encode()
    and utf.encode(everyone, "utf-16") == everyone.encode("utf-16-be")
    and utf.encode(everyone, "utf-32") == everyone.encode("utf-32-be"),
)
lesson.claim("and back", utf.decode_utf8(everyone.encode()) == everyone)

# %% [markdown]
# Why not take code points as tokens? There are some 150,000, most of them rare, and a text is as
# long as it has characters. Bytes are 256 and a text is longer still. So: bytes, and merge.
#
# ## Two moves
#
# Count pairs of neighbours; put a new id in the place of the most frequent. That is all.

# %%
ids = list(b"aaabdaaabac")
stats = bpe.get_stats(ids)
best = max(stats, key=stats.get)
print(f"    aaabdaaabac: {bytes(best)} occurs {stats[best]} times ->", bpe.merge(ids, best, 256))
lesson.claim("a a a is X a, never a X", bpe.merge([97] * 3, (97, 97), 256) == [256, 97])

# %% [markdown]
# 20 merges make a vocabulary of 276, and the lecture's passage, of a blog, 1.27 times shorter. Two
# other English texts, 25,000 characters of each, show the same. The figure is the text's: formal
# prose, which repeats its "the" and "of", becomes 1.3 to 1.4 times shorter.

# %%
N_PAGE = 25_000


def merged_20(text):
    """20 merges of a text's beginning as one chunk, and how many times shorter they make it."""
    chunk = text[:N_PAGE].encode()
    merges, counts = bpe.train_plainly({chunk: 1}, 20, ties="first_seen")
    ids = list(chunk)
    for left, right, new in merges:
        ids = bpe.merge(ids, (left, right), new)
    return merges, counts, len(chunk) / len(ids)


merges, counts, of_plays = merged_20(plays)
lesson.check("times shorter: Shakespeare", of_plays, 1.27, within=0.01, of=PLAYS)
merges, counts, of_page = merged_20(page)
lesson.check("times shorter: an article on a singer", of_page, 1.27, within=0.01, of=PAGE)
tokens = bpe.tokens_of(merges)
lesson.check("size of the vocabulary", len(tokens), 276)
print(
    "   ",
    ", ".join(f"{tokens[new].decode()!r} {n}" for (*_, new), n in zip(merges, counts, strict=True)),
)

# %% [markdown]
# ## Any bytes in, the same bytes out
#
# Every byte is an id, so nothing is unknown. The other way there is a catch: not all ids spell
# text. A model may choose byte 128 first, which begins no character: decoding shows U+FFFD there.

# %%
rng = random.Random(0)
ranks = bpe.ranks_of(merges)
for n in range(lesson.choose(fast=100, usual=2000, full=20_000)):
    chunk = rng.randbytes(n % 60) + page[n : n + 40].encode()
    if b"".join(tokens[i] for i in bpe.encode_chunk(chunk, ranks)) != chunk:
        break
else:
    n = None
lesson.claim("round trip on any bytes", n is None)
lesson.claim("byte 128 alone is no text", bpe.decode([128], tokens) == "\ufffd")

# %% [markdown]
# ## Cut first
#
# On raw text "dog." and "dog!" earn tokens of their own, and the blank after a word is glued to it:
# the same word many times over. GPT-2 cuts text by a regular expression first, and merges within
# pieces only.

# %%
N_MERGES = min(most, lesson.choose(fast=200, usual=1000, full=3000))
glued = {}
for name in ("none", "gpt2", "gpt4"):
    tok = Tokenizer.train([page], 256 + N_MERGES, pattern=name)
    learned = [t.decode("utf-8", "replace") for t in tok.token_byte_values()[256:]]
    glued[name] = sum(a.isalpha() and not b.isalpha() for t in learned for a, b in pairwise(t))
print(f"    of {N_MERGES} tokens, places where a letter is glued to what follows: {glued}")
lesson.claim("uncut, many tokens glue a word to what follows it", glued["none"] > N_MERGES / 10)
lesson.check("cut as GPT-2 does, none", glued["gpt2"], 0)

# %% [markdown]
# GPT-2's rule knows 's and not 'S, and takes a number whole; GPT-4's mends both.

# %%
for text in ("how's HOW'S", "1234567", "    return x"):
    print(
        f"    {text!r}:",
        *(list(map(bytes.decode, bpe.split(text, PATTERNS[p]))) for p in ("gpt2", "gpt4")),
    )
lesson.claim("GPT-2 cuts 'S in two", b"'S" not in bpe.split("HOW'S", PATTERNS["gpt2"]))
lesson.claim("GPT-4 does not", b"'S" in bpe.split("HOW'S", PATTERNS["gpt4"]))
lesson.claim(
    "and cuts digits in threes", bpe.split("1234567", PATTERNS["gpt4"]) == [b"123", b"456", b"7"]
)

# %% [markdown]
# ## Special tokens
#
# The end of a text is an id that no merge makes and no text can spell: it is put in by whoever
# joins texts. Text that spells it out is refused until one says what is meant.

# %%
EOT = "<|endoftext|>"
tok = Tokenizer.train([page], 300, special_tokens=[EOT])
try:
    tok.encode(f"hello{EOT}")
    refused = False
except ValueError as error:
    refused = True
    print(f"    {error}")
lesson.claim("spelled out in a text, it is refused", refused)
lesson.check("allowed, it is one id, the last", tok.encode(EOT, allowed_special="all")[0], 299)
as_text = tok.encode_ordinary(EOT)
lesson.claim(
    "taken as text, it is text",
    tok.decode(as_text) == EOT and tok.eot_token not in as_text,
)

# %% [markdown]
# ## What one would try first
#
# A table of all characters seen, of all words, of all that stands between blanks. What was not
# seen is <unk>, and lost; and of words there is no end. Falling back to bytes mends the first, as
# SentencePiece does. Merging bytes has no table to fall out of.

# %%
n_seen = lesson.choose(fast=150_000, usual=len(plays) * 9 // 10, full=len(plays) * 9 // 10)
seen, held_out = plays[:n_seen], plays[n_seen : n_seen + len(plays) // 10]
unknown = {}
for name, way in (("characters", CHARACTERS), ("words", WORDS), ("between blanks", WHITESPACE)):
    table = TableTokenizer.train([seen], way)
    ids = table.encode(held_out)
    unknown[name] = ids.count(0) / len(ids)
    print(f"    {name}: {table.n_vocab:,} ids, a text of {len(ids):,}, {unknown[name]:.2%} unknown")
n_words = TableTokenizer.train([seen], WORDS).n_vocab
tok = Tokenizer.train([seen], min(most, n_words), pattern="gpt4")
print(
    f"    merged bytes: {tok.n_vocab:,} ids, a text of {len(tok.encode(held_out)):,}, none unknown"
)
lesson.claim("words held out are unknown more often than 1 in 50", unknown["words"] > 0.02)
lesson.claim("cut at blanks alone, more often still", unknown["between blanks"] > unknown["words"])
hindi, english = "क्या आप पानी पीते हैं?", "Do you drink water?"
table = TableTokenizer.train([seen], CHARACTERS)
lesson.claim(
    "Hindi in a table of English letters is lost",
    set(table.encode(hindi)) <= {0, *table.encode(" ?")},
)
fallback = TableTokenizer.train([seen], CHARACTERS, byte_fallback=True)
lesson.claim("with byte fallback it comes back", fallback.decode(fallback.encode(hindi)) == hindi)
lesson.check("Hindi does put spaces between words: words of a question", len(hindi.split()), 5)
chinese = "你喝水吗？"
lesson.check("Chinese does not", len(chinese.split()), 1)

# %% [markdown]
# ## The same in the engine
#
# The reference counts and merges in Python; csrc/bpe does the same in C++. Merge for merge and id
# for id; only the clock differs.

# %%
n_text = lesson.choose(fast=30_000, usual=600_000, full=len(plays))
n_vocab = lesson.choose(fast=400, usual=1000, full=4096)
began = time.perf_counter()
by_hand, counted = bpe.train(bpe.count_chunks([plays[:n_text]], PATTERNS["gpt4"]), n_vocab - 256)
hand_train_s = time.perf_counter() - began
began = time.perf_counter()
native = Tokenizer.train([plays[:n_text]], n_vocab, pattern="gpt4")
native_train_s = time.perf_counter() - began
lesson.claim("equal merges", [tuple(map(int, m)) for m in native.merges] == by_hand)
lesson.claim("equal counts", native.merge_counts.tolist() == counted)
began = time.perf_counter()
hand_ids = bpe.encode(plays[:n_text], by_hand, PATTERNS["gpt4"])
hand_encode_s = time.perf_counter() - began
began = time.perf_counter()
native_ids = native.encode(plays[:n_text])
native_encode_s = time.perf_counter() - began
lesson.claim("equal ids", native_ids == hand_ids)
for what, slow_s, fast_s in (
    ("training", hand_train_s, native_train_s),
    ("encoding", hand_encode_s, native_encode_s),
):
    print(f"    {what}: {slow_s:.3f} s, {fast_s:.4f} s: {slow_s / fast_s:,.0f} times as fast, once")

# %% [markdown]
# ## How large a vocabulary?
#
# Each doubling shortens the text by less, and every token is a row of the embedding and a column of
# the head.

# %%
sizes = [256 + 2**k for k in range(5, lesson.choose(fast=10, usual=15, full=15)) if 2**k < most]
text = plays if is_native else plays[:100_000]
large = Tokenizer.train([text], sizes[-1], pattern="gpt4")
shorter = [len(text) / len(large.truncate(min(v, large.n_vocab)).encode(text)) for v in sizes]
picture = lesson.figure("vocabulary")
if picture is not None:
    axes = picture.subplots()
    axes.semilogx(sizes, shorter, marker="o", color="black")
    axes.set(xlabel="vocabulary", ylabel="characters a token")
lesson.keep(picture)
gains = np.diff(shorter)
lesson.claim("more merges, fewer tokens", bool((gains >= 0).all()))

# %%
lesson.finish()
