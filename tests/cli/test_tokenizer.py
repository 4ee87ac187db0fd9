"""`groundup tokenizer`: each command's result for people and for machines, and its errors."""

import io
import json

import pytest

from groundup import cli
from groundup.tokenizer import Tokenizer


def _told(capsys, *args: object, code: int = 0) -> str:
    assert cli.main(["tokenizer", *map(str, args)]) == code
    told = capsys.readouterr()
    return told.out if code == 0 else told.err


def test_train_writes_what_the_library_would(book, tmp_path, capsys):
    out = tmp_path / "deep" / "tok.json"
    args = [book / "book.txt", "--vocab-size", 320, "--out", out, "--pattern", "gpt2", "--json"]
    told = json.loads(_told(capsys, "train", *args, "--special", "<|a|>", "<|b|>"))
    assert (told["n_vocab"], told["n_files"], told["file"]) == (320, 1, str(out))
    assert told["n_bytes"] == (book / "book.txt").stat().st_size
    expected = Tokenizer.train_files(
        [book / "book.txt"], 320, pattern="gpt2", special_tokens=["<|a|>", "<|b|>"]
    )
    assert Tokenizer.load(out) == expected


def test_train_on_code_points(book, tmp_path, capsys):
    out = tmp_path / "tok.json"
    options = ("--base", "codepoints", "--character-coverage", "0.99", "--vocab-size", "320")
    _told(capsys, "train", book / "book.txt", "--out", out, *options)
    expected = Tokenizer.train_files(
        [book / "book.txt"],
        320,
        base="codepoints",
        character_coverage=0.99,
        special_tokens=["<|endoftext|>"],
    )
    assert Tokenizer.load(out) == expected


def test_counting_in_parts_and_training_from_the_tables_is_training(book, tmp_path, capsys):
    text = (book / "book.txt").read_bytes()
    (tmp_path / "more.txt").write_bytes(text[:3000])
    a, b, both = tmp_path / "a", tmp_path / "b", tmp_path / "both"
    options = ("--pattern", "gpt2", "--threads", "2", "--memory", "1")
    told = json.loads(_told(capsys, "count", book / "book.txt", "--out", a, *options, "--json"))
    assert (told["file"], told["pattern"], told["n_bytes"]) == (str(a), "gpt2", len(text))
    _told(capsys, "count", tmp_path / "more.txt", "--out", b, *options)
    _told(capsys, "count", "--counts", a, b, "--out", both)
    size = ("--vocab-size", "300", "--max-token-length", "4")
    _told(capsys, "train", "--counts", both, "--out", tmp_path / "counted", *size)
    files = [book / "book.txt", tmp_path / "more.txt"]
    _told(capsys, "train", *files, "--pattern", "gpt2", "--out", tmp_path / "read", *size)
    assert (tmp_path / "counted").read_bytes() == (tmp_path / "read").read_bytes()
    more = ("--extend", tmp_path / "read", "--vocab-size", "320", "--out", tmp_path / "more")
    _told(capsys, "train", *files, *more)
    assert Tokenizer.load(tmp_path / "more").n_vocab == 320
    told = _told(capsys, "train", "--counts", both, "--pattern", "gpt4", code=1)
    assert "expected counts of chunks cut by the pattern 'gpt4', got 'gpt2'" in told
    told = _told(capsys, "count", book / "book.txt", "--memory", "0", "--out", a, code=1)
    assert "memory: expected a number of MB from 1, got 0" in told


def test_train_reads_folders_without_what_is_hidden(book, tmp_path, capsys):
    (tmp_path / "texts" / ".git").mkdir(parents=True)
    (tmp_path / "texts" / ".git" / "index").write_bytes(b"\xff")
    (tmp_path / "texts" / "a.txt").write_text("abab")
    out = tmp_path / "tok.json"
    cli.main(["tokenizer", "train", str(tmp_path / "texts"), "--out", str(out)])
    told = capsys.readouterr().err
    assert "259 ids from 0.00 MB in 1 file," in told
    assert "fewer than 32,768: no pair that occurs 1 times is left" in told


def test_no_text_is_written_over(book, tmp_path, capsys):
    corpus = tmp_path / "a.txt"
    corpus.write_text("some text to keep")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").symlink_to(corpus)
    for command in ("train", "count"):
        for text in (corpus, tmp_path / "folder"):
            told = _told(capsys, command, text, "--out", corpus, code=1)
            assert "out: expected a file that is not learned from itself, got" in told
    table = tmp_path / "t.table"
    _told(capsys, "count", corpus, "--out", table)
    counted = table.read_bytes()
    told = _told(capsys, "train", "--counts", table, "--out", table, code=1)
    assert "out: expected a file that is not learned from itself, got" in told
    assert table.read_bytes() == counted
    assert corpus.read_text() == "some text to keep"


def test_gpt2s_two_files_are_opened_by_either(book, tmp_path, capsys):
    tok = Tokenizer.train(["low lower lowest"], 260, pattern="gpt2")
    tok.to_gpt2(tmp_path / "vocab.bpe", tmp_path / "encoder.json")
    ids = " ".join(map(str, tok.encode("lower"))) + "\n"
    for name in ("vocab.bpe", "encoder.json"):
        assert _told(capsys, "encode", tmp_path / name, "lower") == ids


def test_encode_and_decode_from_arguments_files_and_stdin(book, tmp_path, capsys, monkeypatch):
    tok = Tokenizer.load(book / "words.json")
    text = "The 3 cats<|endoftext|> saw आठ dogs"
    ids = tok.encode(text, allowed_special="all")
    (tmp_path / "text.txt").write_bytes(text.encode())
    spelled = " ".join(map(str, ids)) + "\n"
    words = book / "words.json"
    assert _told(capsys, "encode", words, text, "--special") == spelled
    assert _told(capsys, "encode", words, "--file", tmp_path / "text.txt", "--special") == spelled
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert json.loads(_told(capsys, "encode", words, "--json"))["ids"] == tok.encode_ordinary(text)
    assert _told(capsys, "decode", words, *ids) == text + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(str(ids)))
    assert json.loads(_told(capsys, "decode", words, "--json")) == {"text": text}


def test_explain_shows_merges_and_trees(book, capsys):
    words = book / "words.json"
    assert "'Chap' + 'ter' = 'Chapter'" in _told(capsys, "explain", words, "Chapter")
    tree = _told(capsys, "explain", words, "--token", " cats")
    assert tree.startswith("' cats'  id ")
    assert "a byte" in tree
    i = Tokenizer.load(words).encode(" cats")[0]
    told = json.loads(_told(capsys, "explain", words, "--id", i, "--json"))
    assert (told["id"], told["token"]) == (i, "' cats'")
    assert told["merge"]["count"] > 0
    assert len(told["parts"]) == 2


def test_compare_measures_tokenizers_of_every_kind(book, tmp_path, capsys):
    tok = Tokenizer.load(book / "words.json")
    tok.to_hf(tmp_path / "tokenizer.json")
    tok.to_tiktoken(tmp_path / "words.tiktoken")
    kinds = [book / "words.json", tmp_path, f"{tmp_path / 'words.tiktoken'}:gpt4"]
    rows = json.loads(_told(capsys, "compare", *kinds, "--files", book / "book.txt", "--json"))
    assert [row["tokenizer"] for row in rows] == list(map(str, kinds))
    assert len({row["n_tokens"] for row in rows}) == 1
    assert rows[0]["n_bytes"] == (book / "book.txt").stat().st_size
    assert rows[0]["bytes_per_token"] > 1
    shown = _told(capsys, "compare", *kinds, "--text", "The cats")
    assert shown.count(": 'T' 'he' ' cats'\n") == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train"], "text: expected at least one file or folder"),
        (["train", ""], 'text: expected a file or folder, got ""; "." is the current folder'),
        (["train", "absent.txt"], "absent.txt: No such file or directory"),
        (["encode", "absent.json", "x"], "absent.json: No such file or directory"),
        (["encode", "WORDS", "x", "--file", "y"], "expected a text or --file, got both"),
        (["decode", "WORDS", "9999"], "9999 is no token; this vocabulary has ids from 0 to 299"),
        (["explain", "WORDS"], "expected a text, --id or --token, and one of them only"),
        (["explain", "WORDS", "--token", "zzzz"], "b'zzzz' is no token"),
        (["compare", "WORDS"], "expected --text or --files, and one of them only"),
        (["compare", "a.tiktoken:gpt2", "--text", "x"], "a.tiktoken: No such file"),
        (["compare", "a.tiktoken", "--text", "x"], "pass pattern='gpt2'"),
    ],
)
def test_errors_are_one_sentence_on_stderr(book, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    args = [str(book / "words.json") if arg == "WORDS" else arg for arg in args]
    told = _told(capsys, *args, code=1)
    assert told.startswith("groundup tokenizer: ")
    assert message in told
    assert told.count("\n") == 1


def test_empty_files_are_refused_and_no_tokenizer_is_written(tmp_path, capsys):
    empty, out = tmp_path / "empty.txt", tmp_path / "tok.json"
    empty.touch()
    told = _told(capsys, "train", empty, "--out", out, code=1)
    assert f"expected text to learn from, but {empty} holds none; name files that are not" in told
    assert not out.exists()


def test_a_file_in_the_place_of_a_folder_is_told(book, tmp_path, capsys):
    (tmp_path / "taken").touch()
    told = _told(capsys, "train", book / "book.txt", "--out", tmp_path / "taken" / "t", code=1)
    assert f"{tmp_path / 'taken'}: expected a folder or nothing there, got a file" in told


def test_text_that_is_not_utf8_is_refused(book, capsys, monkeypatch):
    told = _told(capsys, "encode", book / "words.json", "caf\udce9", code=1)
    assert "text: expected UTF-8, but it holds bytes that are not; convert it first" in told
    monkeypatch.setattr("sys.stdin", io.StringIO("caf\udce9"))
    assert "expected UTF-8" in _told(capsys, "encode", book / "words.json", code=1)


def test_what_cannot_be_written_is_told_before_any_training(book, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Tokenizer, "train_from_counts", None)  # not reached
    told = _told(capsys, "train", book / "book.txt", "--out", tmp_path, code=1)
    assert f"out: expected a file to write, got the folder {tmp_path}" in told
    monkeypatch.setattr("os.access", lambda *_: False)
    out = tmp_path / "tok.json"
    told = _told(capsys, "train", book / "book.txt", "--out", out, code=1)
    assert f"{out}: Permission denied" in told


def test_help_has_an_example_of_every_command(capsys):
    for command in ("train", "count", "encode", "decode", "explain", "compare"):
        assert f"Example: groundup tokenizer {command}" in _told(capsys, command, "--help")
    assert cli.main(["tokenizer", "train", "--vocab-size", "many"]) == 2


def test_report_lists_merges_in_the_order_in_which_they_were_learned(book, tmp_path, capsys):
    out = tmp_path / "tok.json"
    _told(capsys, "train", book / "book.txt", "--vocab-size", 300, "--out", out)
    tok = Tokenizer.load(out)
    told = _told(capsys, "report", out, "--merges", 3).splitlines()
    assert told[0].startswith(f"300 ids, {len(tok.merges)} merges; pattern gpt4; special tokens:")
    assert "begin with a combining mark" in told[2]
    for rank, line in enumerate(told[3:]):
        assert f"merge {rank}, {tok.merge_counts[rank]} times" in line
    lines = _told(capsys, "report", out, "--merges", "-1", "--json").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == tok.merges[:, 2].tolist()
    assert [row["count"] for row in rows] == tok.merge_counts.tolist()
