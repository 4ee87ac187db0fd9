"""What published vocabularies do: to spelling, sums, Hindi, Python, and to a token never trained.

GPT-2's and GPT-4's tokens from their lists, equal to OpenAI's own code, and the known failures of
language models that begin here: each shown by running it. Lecture: Zero to Hero, "Let's build the
GPT tokenizer". Read beside it: groundup/tokenizer/patterns.py.
"""

# %% [markdown]
# # 9a. What published vocabularies do

# %%
import base64
import importlib.util
import json
from itertools import pairwise

import numpy as np

from groundup import course
from groundup.reference import bpe
from groundup.reference.embedding import lookup_backward
from groundup.tokenizer import PATTERNS, Tokenizer

lesson = course.Lesson("9a", "What published vocabularies do")
PLAYS = "tinyshakespeare/input.txt"
plays = lesson.text(PLAYS, stand_in=course.text_of_python)
EOT = "<|endoftext|>"
hindi, english = "क्या आप पानी पीते हैं?", "Do you drink water?"

# %% [markdown]
# ## GPT-2's and GPT-4's own
#
# A published vocabulary is a list of tokens; their rank is their order of merging. With the list
# and the cutting rule, twelve lines give the same ids as OpenAI's own code.

# %%
GPT2, GPT4 = "bpe/r50k_base.tiktoken", "bpe/cl100k_base.tiktoken"
LISTS = {GPT2: ("gpt2", 50256), GPT4: ("gpt4", 100257)}
# The cutting rules as OpenAI's tiktoken writes them; ours cut the same in a plainer spelling.
SPELLED = {
    GPT2: r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    GPT4: r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"""
    r"""| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
}
lists = {name: lesson.file(name) for name in LISTS}


def read_ranks(path):
    """A .tiktoken file: a token in base64 and its rank on each line."""
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def encode_by_rank(text, ranks, pattern):
    """Of all neighbours that join to a token, join the pair of lowest rank, until there is none."""
    ids = []
    for chunk in bpe.split(text, pattern):
        parts = [bytes([byte]) for byte in chunk]
        while len(parts) > 1:
            joined = [left + right for left, right in pairwise(parts)]
            at = min(range(len(joined)), key=lambda i: ranks.get(joined[i], len(ranks)))
            if joined[at] not in ranks:
                break
            parts[at : at + 2] = [joined[at]]
        ids += [ranks[part] for part in parts]
    return ids


def vocabulary(name):
    pattern, end = LISTS[name]
    if lists[name] is None:  # a smaller one, of this machine's own text
        return Tokenizer.train([plays], 5000, pattern=pattern, special_tokens=[EOT])
    return Tokenizer.from_tiktoken(lists[name], pattern, special_tokens={EOT: end})


gpt2, gpt4 = vocabulary(GPT2), vocabulary(GPT4)
if None in lists.values():
    print("    Below, GPT-2 and GPT-4 stand for 5,000 tokens made here, cut by their rules.")
python = course.text_of_python(lesson.choose(fast=600_000, usual=3_000_000, full=10_000_000))
n = lesson.choose(fast=3_000, usual=100_000, full=1_000_000)
sample = (
    f"It's 12,345.67 o'clock; DON'T\r\n\r\n {hindi} ∫₀¹ x² naïve 你好 🙂  {plays[:n]}{python[:n]}"
)
has_tiktoken = importlib.util.find_spec("tiktoken") is not None
for name, tok in ((GPT2, gpt2), (GPT4, gpt4)):
    ids = tok.encode(sample)
    lesson.claim(f"{name}: decodes to the text", tok.decode(ids) == sample)
    if lists[name] is None:
        continue
    ranks, pattern = read_ranks(lists[name]), PATTERNS[LISTS[name][0]]
    lesson.claim(
        f"{name}: twelve lines and the engine agree", encode_by_rank(sample, ranks, pattern) == ids
    )
    if has_tiktoken:
        import tiktoken

        theirs = tiktoken.Encoding(
            name,
            pat_str=SPELLED[name],
            mergeable_ranks=ranks,
            special_tokens={EOT: LISTS[name][1]},
        )
        lesson.claim(f"{name}: ids equal tiktoken's", theirs.encode(sample) == ids)
        both = theirs.encode(f"a{EOT}b", allowed_special="all")
        lesson.claim(
            "and with the end of a text in it",
            tok.encode(f"a{EOT}b", allowed_special="all") == both,
        )
    else:
        print("    tiktoken is not installed: not compared with its ids")


def cut(tok, text):
    """A text's tokens as text."""
    return [tok.decode([i]) for i in tok.encode_ordinary(text)]


# %% [markdown]
# ## What a model never sees
#
# **Spelling.** A token is one number, whatever it is made of. That .DefaultCellStyle has three l's
# is nowhere in it.

# %%
print("    GPT-4:", cut(gpt4, ".DefaultCellStyle"), " GPT-2:", cut(gpt2, ".DefaultCellStyle"))
lesson.check(".DefaultCellStyle in GPT-4", len(gpt4.encode(".DefaultCellStyle")), 1, of=GPT4)
backwards = cut(gpt4, ".DefaultCellStyle"[::-1])
lesson.check_band("its letters backwards", len(backwards), 5, 17, of=GPT4)

# %% [markdown]
# **Arithmetic.** Which numbers got a token depends on how often they were written. " 127" is one in
# GPT-2 (the notes err), " 677" is two. Columns of digits do not line up. GPT-4 cuts all in threes.

# %%
print("    GPT-2:", *(cut(gpt2, f" {n}") for n in (127, 677, 1234, 1945, 6770)))
lesson.check("tokens of ' 127' in GPT-2", len(gpt2.encode(" 127")), 1, of=GPT2)
lesson.check("tokens of ' 677' in GPT-2", len(gpt2.encode(" 677")), 2, of=GPT2)
one = {
    name: sum(len(tok.encode(str(n))) == 1 for n in range(1000))
    for name, tok in ((GPT2, gpt2), (GPT4, gpt4))
}
print(f"    of the numbers below 1,000, one token: {one[GPT2]} in GPT-2, {one[GPT4]} in GPT-4")
ways = {tuple(map(len, cut(gpt2, str(n)))) for n in range(1000, 10_000)}
print(f"    four digits are cut in {len(ways)} ways in GPT-2:", *sorted(ways))
lesson.claim("four digits are cut in several ways", len(ways) > 2)
lesson.check("numbers below 1,000 that are one token in GPT-4", one[GPT4], 1000, of=GPT4)

# %% [markdown]
# **Other languages.** What was rare in training has few merges, and pays by the byte: the same
# sentence costs several times as many tokens, so the context is shorter and the bill longer.

# %%
for name, tok in (("GPT-2", gpt2), ("GPT-4", gpt4)):
    n_english, n_hindi = len(tok.encode(english)), len(tok.encode(hindi))
    print(f"    {name}: {english!r} is {n_english} tokens, {hindi!r} {n_hindi}")
    lesson.claim(f"{name}: a question costs over twice as much in Hindi", n_hindi > 2 * n_english)
news = [lesson.file(f"ntrex/newstest2019-{part}.txt") for part in ("src.eng", "ref.hin")]
if None not in news:
    english_news, hindi_news = (path.read_text(encoding="utf-8") for path in news)
    for name, tok in (("GPT-2", gpt2), ("GPT-4", gpt4)):
        n_english, n_hindi = len(tok.encode(english_news)), len(tok.encode(hindi_news))
        each = n_hindi / len(hindi_news.split())
        print(
            f"    {name}: the same news in Hindi takes {n_hindi / n_english:.2f} times the tokens, "
            f"{each:.2f} a word"
        )

# %% [markdown]
# **Python.** GPT-2 spends a token on almost every blank of an indent; GPT-4 has runs of them. As
# much code in fewer tokens is twice the context. On plays there is less to gain. (1.86 is the
# notes', of a file they do not name; this is the library of the Python that runs here.)

# %%
eight_deep = "\n" + 8 * " " + "return x"
print("    GPT-2:", cut(gpt2, eight_deep), " GPT-4:", cut(gpt4, eight_deep))
on_python, on_plays = (
    len(gpt2.encode_ordinary(t)) / len(gpt4.encode_ordinary(t)) for t in (python, plays)
)
lesson.check("GPT-2's tokens over GPT-4's, on Python", on_python, 1.86, within=0.2, of=(GPT2, GPT4))
lesson.check("and on Shakespeare", on_plays, 1.12, within=0.005, of=(GPT2, GPT4, PLAYS))

# %% [markdown]
# **A blank at the end.** The blank before a word is the word's. A prompt that ends with one ends
# with a token that hardly ever stood before a word: " blue" can no longer be said.

# %%
prompt, whole = gpt2.encode("The sky is "), gpt2.encode("The sky is blue")
print("    GPT-2:", cut(gpt2, "The sky is "), " ", cut(gpt2, "The sky is blue"))
lesson.claim(
    "with a blank at its end the prompt is no beginning of the text", whole[: len(prompt)] != prompt
)
trimmed = gpt2.encode("The sky is")
lesson.claim("without, it is", whole[: len(trimmed)] == trimmed)

# %% [markdown]
# **Tokens that were never trained.** A vocabulary may be made from other text than the model
# learns from. " SolidGoldMagikarp", a forum user, is one token of GPT-2: where he never speaks, the
# row of the embedding gets no gradient, and stays the noise it began as.

# %%
lesson.check("' SolidGoldMagikarp' in GPT-2", len(gpt2.encode(" SolidGoldMagikarp")), 1, of=GPT2)
ids = gpt2.encode_to_numpy(plays).astype(np.int64)
gradient = lookup_backward(ids, np.ones((len(ids), 1)), gpt2.n_vocab)
untouched = int((gradient == 0).sum())
print(f"    rows without gradient after all of the text: {untouched:,} of {gpt2.n_vocab:,}")
lesson.check("tokens of the text in GPT-2", len(ids), 338_025, of=(GPT2, PLAYS))
lesson.check(
    "which is its length; the tokens it uses are", len(set(ids.tolist())), 11_706, of=(GPT2, PLAYS)
)
forum = gpt2.encode(" SolidGoldMagikarp")[0]
lesson.check("gradient of the forum user's row", float(gradient[forum, 0]), 0, of=(GPT2, PLAYS))

# %% [markdown]
# **JSON or YAML.** The same document: braces, quotes and closing lines cost. The notes count 116
# and 99 for a document that they do not give. This one is nested three deep, so that YAML saves
# more; and most of it is the layout's, for JSON in one line comes near.

# %%
DOCUMENT = {
    "order": {"id": 20931, "date": "2024-02-20", "paid": True},
    "customer": {"name": "Asha Rao", "city": "Pune", "email": "asha@example.com"},
    "items": {"tea": {"count": 2, "price": 140}, "cup": {"count": 6, "price": 85}},
    "note": "Leave it at the door",
}


def yaml(value, depth=0):
    """Nested tables of plain values as YAML."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{'  ' * depth}{name}:", yaml(inner, depth + 1)]
        else:
            told = str(inner).lower() if isinstance(inner, bool) else inner
            lines.append(f"{'  ' * depth}{name}: {told}")
    return "\n".join(lines)


as_text = {"JSON": json.dumps(DOCUMENT, indent=2), "YAML": yaml(DOCUMENT)}
as_text["JSON in one line"] = json.dumps(DOCUMENT)
n_tokens = {form: len(gpt4.encode(text)) for form, text in as_text.items()}
print("    GPT-4:", n_tokens)
print(f"    YAML over JSON: {n_tokens['YAML'] / n_tokens['JSON']:.2f}; the notes' {99 / 116:.2f}")
lesson.claim("YAML takes fewer tokens than JSON laid out", n_tokens["YAML"] < n_tokens["JSON"])
lesson.claim("and than JSON in one line", n_tokens["YAML"] < n_tokens["JSON in one line"], of=GPT4)

# %%
lesson.finish()
