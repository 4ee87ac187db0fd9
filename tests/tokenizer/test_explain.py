"""Explanations: the tree of a token, the merges of a text in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import Tokenizer, interop_tiktoken
from groundup.tokenizer.explain import MAX_TREE
from groundup.tokenizer.patterns import find_pattern


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train(["abc abc abd", "xabc"], 259, special_tokens=["<|e|>"], pattern="gpt2")


def test_a_token_is_its_rank_its_count_its_parts_and_where_it_was_seen(tok):
    explained = tok.explain(257)
    assert explained.token == b"abc"
    assert (explained.merge.rank, explained.merge.count) == (1, 3)
    assert [part.token for part in explained.parts] == [b"ab", b"c"]
    assert explained.parts[0].merge.count == 4
    assert explained.parts[1].merge is None
    assert explained.seen_in in ("abc", " abc", "xabc")
    assert tok.explain(b"abc") == explained
    assert str(explained).splitlines()[1:] == [
        f"  'ab'  id 256, merge 0, 4 times, seen in {explained.parts[0].seen_in!r}",
        "    'a'  id 97, a byte",
        "    'b'  id 98, a byte",
        "  'c'  id 99, a byte",
    ]


def test_a_text_is_its_merges_in_the_order_in_which_they_fire(tok):
    explained = tok.explain("abcab<|e|>")
    first, special = explained.chunks
    assert [merge.token for merge in first.merges] == [b"ab", b"ab", b"abc"]
    assert first.tokens == (b"abc", b"ab")
    assert special.ids == (258,)
    assert explained.ids == tok.encode("abcab<|e|>", allowed_special="all")
    assert "'ab' + 'c' = 'abc'  (id 257, merge 1, 3 times)" in str(explained)


def test_explained_ids_are_the_encoded_ones(trained, mixed_text):
    assert trained.explain(mixed_text[:5000]).ids == trained.encode(mixed_text[:5000])
    as_ranks = Tokenizer.from_tiktoken(trained.to_tiktoken())
    explained = as_ranks.explain(mixed_text[:5000])
    assert explained.ids == as_ranks.encode(mixed_text[:5000])
    assert any(chunk.whole for chunk in explained.chunks)


def test_every_token_has_a_tree_down_to_its_bytes(trained):
    def leaves(node):
        return [leaf for part in node.parts for leaf in leaves(part)] or [node.token]

    for i in range(698):
        tree = trained.explain(i)
        assert b"".join(leaves(tree)) == tree.token
        assert all(len(leaf) == 1 for leaf in leaves(tree))
    assert trained.explain(698).special


def test_tokens_are_seen_in_the_text_that_was_trained_on(trained, mixed_text):
    seen = {i: trained.explain(i).seen_in for i in range(256, 698)}
    tokens = trained.token_byte_values()
    for i, text in seen.items():
        assert text is None or (tokens[i] in text.encode() and text in mixed_text)
    assert sum(text is not None for text in seen.values()) > 400


def test_imported_tokens_have_parts_and_no_counts(trained):
    as_ranks = Tokenizer.from_tiktoken(trained.to_tiktoken())
    for i in range(256, 698):
        mine, theirs = trained.explain(i), as_ranks.explain(i)
        assert [part.token for part in mine.parts] == [part.token for part in theirs.parts]
        assert theirs.merge.rank == mine.merge.rank
        assert theirs.merge.count is None


def test_a_chain_of_any_length_is_explained():
    tok = Tokenizer.train_from_counts({b"a" * n: 1000 - n for n in range(2, 400)}, 600)
    longest = max(range(tok.n_vocab), key=lambda i: len(tok.token_byte_values()[i]))
    assert str(tok.explain(longest))


def test_bytes_that_are_no_text_are_shown_as_numbers(tok):
    assert str(tok.explain(0xE2)) == "⟨e2⟩  id 226, a byte"


@pytest.mark.parametrize("what", [5000, -1, b"zz", b""])
def test_what_is_no_token_is_told_in_a_sentence(tok, what):
    with pytest.raises(ValueError, match=r"^explain: .*no token"):
        tok.explain(what)


def test_a_tree_of_giants_is_its_top():
    n = 1 << 20
    tok = Tokenizer.train_from_counts({b"a" * n: 1}, 280, pattern="none")
    longest = tok.n_vocab - 1
    explained = tok.explain(longest)
    assert len(explained.token) == n
    lines = str(explained).splitlines()
    assert len(lines) <= MAX_TREE
    assert max(map(len, lines)) < 2000
    assert f"({n} bytes)  id {longest}, merge {longest - 256}" in lines[0]
    assert "parts left out" in str(explained)


def test_a_tree_of_ranks_of_giants_is_bounded():
    tokens = [bytes([byte]) for byte in range(256)] + [b"a" * 2**n for n in range(1, 21)]
    none = find_pattern("none")
    vocabulary = interop_tiktoken.vocabulary_of_tokens(tokens, none, {}, "ranks")
    explained = Tokenizer(vocabulary).explain(275)
    assert len(str(explained)) < MAX_TREE * 400
    assert [len(part.token) for part in explained.parts] == [1 << 19, 1 << 19]


def test_a_long_text_without_cuts_is_explained(library_text):
    tok = Tokenizer.train([library_text[:20_000]], 400, pattern="none")
    text = library_text[:60_000]
    explained = tok.explain(text)
    assert explained.ids == tok.encode(text)
    (chunk,) = explained.chunks
    assert len(chunk.merges) == len(text.encode()) - len(chunk.ids)
    assert f"({len(text.encode())} bytes) -> " in str(explained)


@given(st.lists(st.text("abc", min_size=1, max_size=12), min_size=1), st.text("abc", max_size=40))
def test_any_text_is_explained_as_it_is_encoded(words, text):
    ranks = Tokenizer.train(words, 290, pattern="none")
    for each in (ranks, Tokenizer.from_tiktoken(ranks.to_tiktoken())):
        assert each.explain(text).ids == each.encode(text)
