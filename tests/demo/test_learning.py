"""What the demo says about a tokenizer, and how much text it takes."""

from pathlib import Path

import pytest

from groundup.demo import learning
from groundup.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat, the other cat sat elsewhere\n" * 50, "not a word more\n" * 40]


def test_learning_tells_bytes_per_token_of_the_text_itself() -> None:
    learned = learning.learn(TEXTS, 280)
    n_tokens = sum(len(learned.tokenizer.encode(text)) for text in TEXTS)
    assert learned.bytes_per_token == pytest.approx(learned.n_bytes / n_tokens)
    assert "280 tokens learned in " in learned.sentence()
    assert learned.tokenizer.special_tokens_set == {"<|endoftext|>"}


def test_telling_merges_are_long_words_with_their_parts_and_counts() -> None:
    tokenizer = Tokenizer.train(TEXTS, 330)
    merges = learning.telling_merges(tokenizer, 3)
    assert merges[0][0] == "·elsewhere"
    for word, parts, count in merges:
        assert word == parts.translate(str.maketrans("", "", "()+ "))
        assert count > 0
    lengths = [len(word.strip("·")) for word, _, _ in merges]
    assert lengths == sorted(lengths, reverse=True)


def test_words_of_one_stem_are_told_once() -> None:
    texts = ["unbelievable unbelievably unbelievable unbelievably " * 60]
    merges = learning.telling_merges(Tokenizer.train(texts, 300), 5)
    assert sum("unbel" in word for word, _, _ in merges) == 1


def test_texts_are_taken_whole_from_the_front() -> None:
    assert list(learning.texts_up_to(["aaa", "bb", "cccc"], 5)) == ["aaa", "bb"]
    assert list(learning.texts_up_to(["aaaaaaaa", "b"], 5)) == ["aaaaaaaa"]
    assert list(learning.texts_up_to([], 5)) == []


def test_text_below_the_least_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100)
    with pytest.raises(ValueError, match=r"at least 300,000 bytes of text .* got 500; name more"):
        learning.find_text([tmp_path / "a.txt"])


def test_without_the_native_core_less_text_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learning.size(learning.find_text(())[0])
    monkeypatch.setattr(learning, "core", lambda: None)
    part = learning.size(learning.find_text(())[0])
    assert learning.LEAST_BYTES < part <= learning.MOST_BYTES_WITHOUT_NATIVE < whole
