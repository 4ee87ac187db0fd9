"""What training learns: the same as the reference, rustbpe and Hugging Face, and in any order."""

import copy
import json
import os
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import bpe
from groundup.tokenizer import PATTERNS, Tokenizer
from groundup.tokenizer.counts import ChunkCounts
from groundup.tokenizer.training import CorpusExhausted


def test_ids_are_bytes_then_merges_then_specials():
    tok = Tokenizer.train(["aaaa bbbb"], 261, special_tokens=["<|a|>", "<|b|>"])
    assert tok.n_vocab == 261
    assert tok.token_byte_values()[:256] == [bytes([byte]) for byte in range(256)]
    assert tok.merges[:, 2].tolist() == [256, 257, 258]
    assert tok.special_tokens == {"<|a|>": 259, "<|b|>": 260}


def test_the_vocabulary_is_smaller_when_the_text_has_no_more_pairs_and_that_is_told():
    with pytest.warns(CorpusExhausted, match="asked for 1000 ids, made 258: no pair") as told:
        tok = Tokenizer.train(["ab"], 1000, special_tokens=["<|endoftext|>"])
    assert [warning.filename for warning in told] == [__file__]
    assert tok.n_vocab == 258
    assert tok.eot_token == 257
    with pytest.warns(CorpusExhausted, match="made 256"):
        assert Tokenizer.train([], 1000).n_vocab == 256
    with pytest.warns(CorpusExhausted, match="that occurs 3 times is left"):
        assert Tokenizer.train(["ab ab ab c"], 300, min_frequency=3).merge_counts.tolist() == [3]
    with pytest.warns(CorpusExhausted, match="occurs 1 times and makes 2 bytes is left"):
        Tokenizer.train(["abcd"], 300, max_token_length=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Tokenizer.train(["ab"], 257).n_vocab == 257


def test_numpys_whole_numbers_are_whole_numbers():
    counts = {b"ab": np.int64(3), b"abc": np.uint8(2)}
    tok = Tokenizer.train_from_counts(
        counts, np.int64(258), min_frequency=np.int32(2), max_token_length=np.int64(3)
    )
    assert tok.merge_counts.tolist() == [5, 2]


def test_many_short_texts_are_counted_a_batch_at_a_time():
    """What waits to be counted is bounded in memory, not in characters."""
    n_waiting = []

    class Counted(str):
        __slots__ = ()
        n = 0

        def __del__(self):
            Counted.n -= 1

    def texts():
        for _ in range(1_000_000):
            Counted.n += 1
            n_waiting.append(Counted.n)
            yield Counted()

    ChunkCounts().add_texts(texts())
    assert max(n_waiting) < 600_000  # a batch is counted while the next one comes


@pytest.mark.parametrize("ties", bpe.TIES)
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_merges_are_the_reference_s_on_real_text(library_text, ties, pattern):
    text = library_text[:200_000]
    tok = Tokenizer.train([text], 256 + 300, pattern=pattern, ties=ties)
    merges, counts = bpe.train(bpe.count_chunks([text], PATTERNS[pattern]), 300, ties=ties)
    assert tok.merges.tolist() == [list(row) for row in merges]
    assert tok.merge_counts.tolist() == counts


def test_merges_and_ids_are_rustbpe_s(library_text):
    rustbpe = pytest.importorskip("rustbpe")
    theirs = rustbpe.Tokenizer()
    theirs.train_from_iterator([library_text], 256 + 2000, pattern=PATTERNS["gpt4"])
    tok = Tokenizer.train([library_text], 256 + 2000)
    published = {bytes(token): rank for token, rank in theirs.get_mergeable_ranks()}
    assert {token: i for i, token in enumerate(tok.token_byte_values())} == published
    text = library_text[:200_000]
    assert theirs.encode(text) == tok.encode_ordinary(text)


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4o"])
def test_merges_are_hugging_face_s_with_their_ties(library_text, pattern):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERNS[pattern]), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + 2000,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = library_text[:2_000_000]
    theirs.train_from_iterator([text], trainer)
    ours = Tokenizer.train([text], 256 + 2000, pattern=pattern, ties="huggingface")
    model = json.loads(theirs.to_str())["model"]
    assert json.loads(ours.to_hf().to_str())["model"]["merges"] == model["merges"]


def test_4000_merges_on_the_interpreter_s_sources_encode_alike_in_tiktoken_and_hugging_face(
    library_files, library_text
):
    tok = Tokenizer.train_files(
        [path for path in library_files if _is_utf8(path)], 256 + 4000 + 1, special_tokens=["<|x|>"]
    )
    assert len(tok.merges) == 4000
    ids = tok.encode_ordinary(library_text)
    assert tok.decode(ids) == library_text
    pytest.importorskip("tiktoken")
    assert tok.to_tiktoken().encode_ordinary(library_text) == ids
    pytest.importorskip("tokenizers")
    text = library_text[:1_000_000]
    assert tok.to_hf().encode(text).ids == tok.encode_ordinary(text)


def _is_utf8(path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_the_number_of_threads_changes_nothing(library_text):
    texts = [library_text[i : i + 70_001] for i in range(0, 3_000_000, 70_001)]
    by_threads = [Tokenizer.train(texts, 600, ties="first_seen", threads=n) for n in (1, 2, 8)]
    assert by_threads[0] == by_threads[1] == by_threads[2]


def test_files_texts_and_counts_train_the_same(tmp_path, mixed_text):
    texts = [mixed_text[:5000], mixed_text[5000:30000], ""]
    paths = [tmp_path / f"{i}.txt" for i in range(3)]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    for pattern in ("gpt4", "indic-math", r"\w+|\s"):
        tok = Tokenizer.train(iter(texts), 400, pattern=pattern)
        assert Tokenizer.train_files(paths, 400, pattern=pattern) == tok
        counts = bpe.count_chunks(texts, tok._vocabulary.pattern.regex)
        assert Tokenizer.train_from_counts(counts, 400, pattern=pattern) == tok


@settings(max_examples=60)
@given(
    st.dictionaries(st.text("ab\n ", min_size=1, max_size=7).map(str.encode), st.integers(0, 9)),
    st.sampled_from(["smallest_pair", "first_seen"]),
    st.integers(1, 3),
)
def test_any_counts_train_as_the_reference(counts, ties, min_frequency):
    tok = Tokenizer.train_from_counts(counts, 280, ties=ties, min_frequency=min_frequency)
    live = {chunk: count for chunk, count in counts.items() if count}
    merges, _ = bpe.train(live, 24, ties=ties, min_frequency=min_frequency)
    assert tok.merges.tolist() == [list(row) for row in merges]


def test_counts_beyond_32_bits_are_exact():
    tok = Tokenizer.train_from_counts({b"ab": 2**33, b"cd": 2**33 + 1}, 257)
    assert tok.merge_counts.tolist() == [2**33 + 1]
    assert tok.token_byte_values()[256] == b"cd"


def test_counts_near_the_largest_sum_are_exact():
    most = (2**62 - 1) // 4
    tok = Tokenizer.train_from_counts({b"abab": most - 1, b"cd": 2}, 260)
    assert tok.merge_counts.tolist() == [2 * (most - 1), most - 1, 2]


@pytest.mark.parametrize("ties", ["smallest_pair", "huggingface"])
def test_the_order_of_the_texts_changes_nothing_where_ties_do_not_depend_on_it(library_text, ties):
    texts = [library_text[i : i + 10_007] for i in range(0, 500_000, 10_007)]
    forward = Tokenizer.train(texts, 700, ties=ties)
    assert Tokenizer.train(texts[::-1], 700, ties=ties) == forward
    assert Tokenizer.train(texts[20:] + texts[:20], 700, ties=ties, memory_bytes=1) == forward


@settings(max_examples=60)
@given(
    st.dictionaries(st.text("ab\n ", min_size=1, max_size=7).map(str.encode), st.integers(1, 9)),
    st.sampled_from(bpe.TIES),
    st.integers(1, 9),
    st.integers(0, 8),
)
def test_longest_tokens_and_known_merges_are_the_reference_s(counts, ties, longest, n_known):
    known, _ = bpe.train({b"ba ab": 3, b"aaa": 2}, n_known)
    base = Tokenizer.train_from_counts({b"ba ab": 3, b"aaa": 2}, 256 + n_known)
    tok = Tokenizer.train_from_counts(counts, 280, ties=ties, max_token_length=longest, extend=base)
    merges, pair_counts = bpe.train_plainly(
        counts,
        24,
        ties=ties,
        max_token_length=longest,
        known=[(left, right) for left, right, _ in known],
    )
    assert tok.merges.tolist() == [list(row) for row in merges]
    assert tok.merge_counts.tolist() == pair_counts


@pytest.mark.parametrize("ties", bpe.TIES)
def test_training_on_from_a_part_is_training_at_once(mixed_text, ties):
    whole = Tokenizer.train([mixed_text], 600, ties=ties)
    part = Tokenizer.train([mixed_text], 400, ties=ties)
    extended = Tokenizer.train([mixed_text], 600, ties=ties, extend=part)
    assert extended == whole
    assert extended.merge_counts.tolist() == whole.merge_counts.tolist()
    assert extended.truncate(400) == part


def test_an_extended_tokenizer_keeps_every_id(tmp_path, mixed_text):
    base = Tokenizer.train(["low lower lowest " * 9], 270, pattern="gpt2", special_tokens=["<e>"])
    tok = Tokenizer.train([mixed_text], 400, special_tokens=["<e>", "<f>"], extend=base)
    assert tok.pattern == "gpt2"
    assert tok.token_byte_values()[: base.n_vocab] == base.token_byte_values()
    assert tok.merges[: len(base.merges)].tolist() == base.merges.tolist()
    assert tok.special_tokens == {"<e>": base.special_tokens["<e>"], "<f>": 399}
    assert tok.decode(tok.encode(mixed_text + "<e>", allowed_special="all")) == mixed_text + "<e>"
    tok.save(tmp_path / "tok.json")
    assert Tokenizer.load(tmp_path / "tok.json") == tok
    assert copy.deepcopy(tok) == tok  # as pickling does it
    with pytest.raises(
        ValueError, match="pattern: expected that of the tokenizer to extend, 'gpt2'"
    ):
        Tokenizer.train(["text"], 400, pattern="gpt4", extend=base)
    with pytest.raises(ValueError, match=f"whole number from {base.n_vocab} .* ids to extend"):
        Tokenizer.train(["text"], base.n_vocab - 1, extend=base)


def test_gpt2_s_vocabulary_can_be_extended_and_tiktoken_s_ranks_cannot(data_file, mixed_text):
    ranks = Tokenizer.from_tiktoken(data_file("bpe/r50k_base.tiktoken"), "gpt2")
    with pytest.raises(ValueError, match="extend: expected a tokenizer made of merges"):
        Tokenizer.train(["text"], 60_000, extend=ranks)
    base = Tokenizer.from_gpt2(data_file("bpe/vocab.bpe"), data_file("bpe/encoder.json"))
    hindi = "क्षमा ज्ञान का मान " * 50
    tok = Tokenizer.train([hindi], base.n_vocab + 30, extend=base)
    assert tok.n_vocab > base.n_vocab
    assert len(tok.encode(hindi)) < len(base.encode(hindi))
    assert tok.decode(tok.encode(hindi + mixed_text)) == hindi + mixed_text
    assert tok.encode("English stays") == base.encode("English stays")


def test_progress_counts_then_merges_and_may_end_the_training(tmp_path, library_text):
    path = tmp_path / "text.txt"
    path.write_text(library_text * 4, encoding="utf-8")
    told = []
    Tokenizer.train_files([path], 20_000, progress=lambda *given: told.append(given))
    stages = [stage for stage, _, _ in told]
    assert stages == sorted(stages)  # "counting" before "merging"
    assert {total for stage, _, total in told if stage == "counting"} <= {path.stat().st_size}
    assert {total for stage, _, total in told if stage == "merging"} <= {20_000 - 256}

    def enough(stage, done, total):
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        Tokenizer.train_files([path] * 4, 20_000, progress=enough)


def test_a_child_of_a_fork_trains_as_its_parent_does(mixed_text):
    expected = Tokenizer.train([mixed_text], 500, threads=2)
    child = os.fork()
    if child == 0:
        try:
            os._exit(Tokenizer.train([mixed_text], 500, threads=2) != expected)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_truncating_is_training_for_less(mixed_text):
    big = Tokenizer.train([mixed_text], 600, special_tokens=["<|e|>", "<|f|>"])
    small = Tokenizer.train([mixed_text], 450, special_tokens=["<|e|>", "<|f|>"])
    cut = big.truncate(450)
    assert cut == small
    assert cut.merge_counts.tolist() == small.merge_counts.tolist()
    assert cut.encode(mixed_text) == small.encode(mixed_text)
    assert big.truncate(600) == big
    for size in (257, 601):
        with pytest.raises(ValueError, match=f"expected a size from 258 .* to 600, got {size}"):
            big.truncate(size)


@pytest.mark.parametrize("size", [None, 300.5, "300"])
def test_a_size_to_truncate_to_is_a_whole_number(trained, size):
    with pytest.raises(ValueError, match=r"^truncate: expected a whole number of ids, got"):
        trained.truncate(size)
    assert trained.truncate(np.int64(300)).n_vocab == 300


def test_eight_threads_may_use_one_tokenizer(trained, mixed_text):
    expected = trained.encode(mixed_text)
    found = []

    def work():
        for _ in range(5):
            ids = trained.encode(mixed_text)
            found.append(ids == expected and trained.decode(ids) == mixed_text)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 255}, r"vocab_size: expected a whole number from 256 .*, got 255"),
        ({"vocab_size": 256, "special_tokens": ["<x>"]}, "from 257 .256 bytes and 1 special"),
        ({"vocab_size": 300.0}, r"vocab_size: .* got 300\.0"),
        ({"pattern": "gtp4"}, "expected one of gpt2, gpt4, gpt4o, indic-math, none or a regular"),
        ({"pattern": "(a"}, "is no regular expression: missing"),
        ({"pattern": 5}, "pattern: expected a name or a regular expression, got 5"),
        ({"ties": "random"}, "ties: expected one of smallest_pair, huggingface, first_seen"),
        ({"special_tokens": "<x>"}, r"special_tokens: .* one text; pass \['<x>'\]"),
        ({"special_tokens": ["<x>", "<x>"]}, "special_tokens: '<x>' is listed twice"),
        ({"special_tokens": [""]}, "special_tokens: expected names, got ''"),
        ({"special_tokens": ["\ud800"]}, "is not Unicode text"),
        ({"min_frequency": 0}, "min_frequency: expected a whole number from 1, got 0"),
        (
            {"max_token_length": 0},
            "max_token_length: expected a whole number of bytes from 1, .* 0",
        ),
        ({"extend": "gpt2"}, "extend: expected a Tokenizer or None, got 'gpt2'"),
        (
            {"memory_bytes": 0},
            "memory_bytes: expected a whole number of bytes from 1, or None, got",
        ),
        ({"progress": 3}, "progress: expected a function, got 3"),
        ({"threads": 0}, "threads: expected a whole number from 1, or None, got 0"),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(["text"], **{"vocab_size": 300} | arguments)


def test_a_mistyped_keyword_is_told():
    for train in (Tokenizer.train, Tokenizer.train_files, Tokenizer.train_from_counts):
        with pytest.raises(TypeError, match=r"expected keywords among pattern, .*'tie'"):
            train([], tie="first_seen")


def test_bad_texts_are_told_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"got a single text; pass \[text\]"):
        Tokenizer.train("text", 300)
    with pytest.raises(ValueError, match="texts: expected an iterable of str, got NoneType"):
        Tokenizer.train(None, 300)
    with pytest.raises(ValueError, match="paths: expected several paths, got NoneType"):
        Tokenizer.train_files(None, 300)
    with pytest.raises(ValueError, match="expected str, got bytes as text 1; decode bytes first"):
        Tokenizer.train(["text", b"text"], 300)
    with pytest.raises(ValueError, match=r"expected several paths, got one; pass \[path\]"):
        Tokenizer.train_files("book.txt", 300)
    with pytest.raises(ValueError, match="expected a file of text, got a folder"):
        Tokenizer.train_files([tmp_path], 300)
    with pytest.raises(FileNotFoundError):
        Tokenizer.train_files([tmp_path / "absent"], 300)
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 au lait")
    for pattern in ("gpt4", "indic-math"):
        with pytest.raises(ValueError, match=r"latin\.txt: expected UTF-8, but byte 3 is not"):
            Tokenizer.train_files([latin], 300, pattern=pattern)
    for counts in ({"text": 1}, {b"text": -1}, {b"text": 1.5}, {b"text": 2**62}):
        with pytest.raises(ValueError, match="counts: expected bytes and how often they occur"):
            Tokenizer.train_from_counts(counts, 300)


def test_counts_that_the_sums_cannot_hold_are_a_value_error():
    many = {b"ab%d" % i: 2**62 - 1 for i in range(5)}
    with pytest.raises(ValueError, match=r"sum to less than 2\^62; divide all counts"):
        Tokenizer.train_from_counts(many, 300)
    with pytest.raises(ValueError, match=r"counts: expected a mapping of bytes .*, got list"):
        Tokenizer.train_from_counts([(b"ab", 3)], 300)


def test_special_tokens_have_an_order_and_are_judged_before_any_work():
    def unread():
        raise AssertionError("the texts were read")
        yield

    for names in ({"<a>", "<b>"}, iter(["<a>"]), None):
        with pytest.raises(ValueError, match="special_tokens: expected a list of names, whose"):
            Tokenizer.train(unread(), 300, special_tokens=names)
    with pytest.raises(ValueError, match="is not Unicode text"):
        Tokenizer.train(unread(), 300, special_tokens=["\ud800"])


def test_any_number_of_threads_is_served():
    tok = Tokenizer.train(["the cat sat on the mat"], 260, threads=2**70)
    assert tok.encode_batch(["the", "cat"], num_threads=2**70) == tok.encode_batch(["the", "cat"])


def test_texts_with_lone_surrogates_are_trained_on_as_they_are_encoded():
    broken = Tokenizer.train(["\ud83d ab", "ab \ud83d\ude42"], 270)
    assert broken == Tokenizer.train(["\ufffd ab", "ab 🙂"], 270)


def test_merges_are_a_copy(trained):
    merges = trained.merges
    merges[:] = 0
    assert merges.dtype == np.uint32
    assert trained.merges.any()
