"""minbpe's .model files: ids as minbpe's own rule gives them; damaged files refused."""

from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import Tokenizer

# The pattern that minbpe's RegexTokenizer has when none is given.
GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


def written(path, merges, pattern="", specials=()):
    lines = ["minbpe v1", pattern, str(len(specials))]
    lines += [f"{name} {i}" for name, i in specials]
    lines += [f"{left} {right}" for left, right, *_ in merges]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def as_minbpe(text, merges, pattern):
    """minbpe's encode: in each chunk, again and again the pair that was learnt first."""
    learnt = {(left, right): 256 + i for i, (left, right, *_) in enumerate(merges)}
    ids = []
    for chunk in regex.findall(pattern, text) if pattern else [text]:
        parts = list(chunk.encode())
        while pairs := [pair for pair in pairwise(parts) if pair in learnt]:
            first = min(pairs, key=learnt.__getitem__)
            merged, at = [], 0
            while at < len(parts):
                joins = tuple(parts[at : at + 2]) == first
                merged.append(learnt[first] if joins else parts[at])
                at += 2 if joins else 1
            parts = merged
        ids += parts
    return ids


@pytest.fixture(scope="module")
def learnt(mixed_text):
    tok = Tokenizer.train([mixed_text], 400, pattern=GPT4, ties="first_seen")
    return tok.merges.tolist()


@pytest.mark.parametrize("pattern", ["", GPT4, r"\w+|[^\w]"])
def test_ids_are_minbpes(tmp_path, learnt, mixed_text, pattern):
    tok = Tokenizer.from_minbpe(written(tmp_path / "a.model", learnt, pattern))
    text = mixed_text[:3000]
    assert tok.encode(text) == as_minbpe(text, learnt, pattern)
    assert tok.pattern == (pattern or "none")
    assert tok.decode(tok.encode(mixed_text)) == mixed_text


@given(st.text(max_size=60))
def test_ids_of_any_text_are_minbpes(learnt, tmp_path_factory, text):
    path = written(tmp_path_factory.mktemp("minbpe") / "a.model", learnt, GPT4)
    assert Tokenizer.from_minbpe(path).encode(text) == as_minbpe(text, learnt, GPT4)


def test_special_tokens_keep_their_ids(tmp_path, learnt):
    specials = [("<|endoftext|>", 100257), ("<|fim|>", 100258)]
    tok = Tokenizer.from_minbpe(written(tmp_path / "a.model", learnt, GPT4, specials))
    assert tok.special_tokens == dict(specials)
    assert tok.encode("<|fim|>a", allowed_special="all") == [100258, 97]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("", "expected the first line to be 'minbpe v1', got ''"),
        ("minbpe v2\n\n0\n", "expected the first line to be 'minbpe v1', got 'minbpe v2'"),
        ("minbpe v1", "expected line 3 to hold a whole number, got ''; is the file whole"),
        ("minbpe v1\n\nx\n", "expected line 3 to hold a whole number, got 'x'"),
        ("minbpe v1\n\n1\n", "expected line 4 to hold a whole number, got ''"),
        ("minbpe v1\n\n99999999\n", "expected line 4"),
        ("minbpe v1\n\n1\n<x>\n", "expected line 4 to hold a whole number"),
        ("minbpe v1\n\n1\n<x> 97\n", "id 97 is both the special token '<x>' and"),
        ("minbpe v1\n\n2\n<x> 500\n<x> 501\n", "line 5 names the special token '<x>' again"),
        ("minbpe v1\n\n0\n97\n", "expected line 4 to hold 2 ids, got '97'"),
        ("minbpe v1\n\n0\n97 98 99\n", "expected line 4 to hold 2 ids"),
        ("minbpe v1\n\n0\n97 -1\n", "expected line 4 to hold 2 ids"),
        ("minbpe v1\n\n0\n97 256\n", "line 4 merges 97 and 256, but it makes id 256"),
        ("minbpe v1\n\n0\n97 98\n97 98\n", "line 5 merges 97 and 98 again"),
        ("minbpe v1\ngpt2\n0\n", "expected a regular expression on line 2, got 'gpt2'"),
        ("minbpe v1\n([\n0\n", "is no regular expression"),
        (
            "minbpe v1\n\n0\n97 97\n" + "".join(f"{i} {i}\n" for i in range(256, 5000)),
            "would take more than 256 MiB",
        ),
    ],
)
def test_damaged_files_are_told_in_a_sentence(tmp_path, contents, message):
    path = tmp_path / "bad.model"
    path.write_text(contents)
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.from_minbpe(path)
    assert str(error.value).startswith(str(path))
