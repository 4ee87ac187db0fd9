"""`groundup prepare`: text in, shards out, and nothing lost by accident."""

import json
import shlex

import pytest

from groundup import cli
from groundup.data.corpora import read_documents
from groundup.data.dataset import open_tokens
from groundup.data.prepare import prepare, tokenizer_hash
from groundup.tokenizer import Tokenizer


def test_the_shards_hold_every_document_once_and_its_end(book):
    words = Tokenizer.load(book / "words.json")
    sides = [open_tokens(book / "data", split) for split in ("train", "validation")]
    texts = []
    for tokens in sides:
        assert tokens.vocab_size == words.n_vocab
        assert tokens.tokenizer_hash == tokenizer_hash(book / "words.json")
        text = words.decode(tokens.read(0, len(tokens)))
        texts += text.removesuffix("<|endoftext|>").split("<|endoftext|>")
    documents = [document.text for document in read_documents([book / "book.txt"])]
    assert sorted(texts) == sorted(documents)
    share = len(sides[1]) / (len(sides[0]) + len(sides[1]))
    assert 0.02 < share < 0.3


def test_threads_and_runs_give_the_same_bytes(book, tmp_path):
    words, documents = Tokenizer.load(book / "words.json"), read_documents([book / "book.txt"])
    for threads in (1, 3):
        prepare(documents, words, tmp_path / str(threads), threads=threads)
        for path in (book / "data").iterdir():
            assert (tmp_path / str(threads) / path.name).read_bytes() == path.read_bytes()


def test_a_special_token_spelled_out_in_text_is_text(book, tmp_path):
    words = Tokenizer.load(book / "words.json")
    documents = read_documents([book / "book.txt"])
    documents[0] = documents[0]._replace(text="<|endoftext|>" * 40)
    result = prepare(documents, words, tmp_path)
    ends = 0
    for split in ("train", "validation"):
        tokens = open_tokens(tmp_path, split)
        ends += int((tokens.read(0, len(tokens)) == words.eot_token).sum())
    assert ends == sum(result.n_documents.values()) == len(documents)


def test_json_tells_what_was_written(book, tmp_path, capsys):
    args = [str(book / "book.txt"), "--tokenizer", str(book / "words.json"), "--out"]
    assert cli.main(["prepare", *args, str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_bytes"] == (book / "book.txt").stat().st_size
    assert told["n_tokens"]["train"] == len(open_tokens(tmp_path, "train"))


def _refused(capsys, *args) -> str:
    assert cli.main(["prepare", *map(str, args)]) == 1
    return capsys.readouterr().err


def test_what_cannot_be_prepared_is_told(book, tmp_path, capsys):
    text, words = book / "book.txt", book / "words.json"
    told = _refused(capsys, text, "--tokenizer", words, "--out", book / "data")
    assert "holds shards already; pass --overwrite or another --out" in told
    told = _refused(capsys, text, "--tokenizer", tmp_path / "none.json", "--out", tmp_path)
    assert "none.json" in told
    told = _refused(capsys, text, "--tokenizer", text, "--out", tmp_path)
    assert "book.txt" in told
    told = _refused(capsys, tmp_path / "none.txt", "--tokenizer", words, "--out", tmp_path)
    assert "none.txt" in told
    common = (text, "--tokenizer", words, "--out", tmp_path)
    told = _refused(capsys, *common, "--validation-fraction", 1.5)
    assert "expected a number between 0 and 1, got 1.5" in told
    told = _refused(capsys, *common, "--validation-fraction", 1e-9)
    assert "all fall on one side; give more text" in told
    assert "--threads: expected at least 1, got 0" in _refused(capsys, *common, "--threads", 0)
    assert not list(tmp_path.iterdir())


def test_overwrite_replaces(book, tmp_path):
    args = [str(book / "book.txt"), "--tokenizer", str(book / "words.json"), "--out", str(tmp_path)]
    assert cli.main(["prepare", *args]) == 0
    assert cli.main(["prepare", *args, "--overwrite"]) == 0


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_documents_are_told(book, tmp_path, n):
    words = Tokenizer.load(book / "words.json")
    with pytest.raises(ValueError, match=f"got {n} that all fall on one side"):
        prepare(read_documents([book / "book.txt"])[:n], words, tmp_path)


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(book, tmp_path, capsys):
    out = tmp_path / "Bücher 1"
    prepare = ["prepare", book / "book.txt", "--tokenizer", book / "words.json", "--out", out]
    assert cli.main(list(map(str, prepare))) == 0
    command = capsys.readouterr().err.splitlines()[-1].removeprefix("Train with: ")
    assert shlex.split(command) == ["groundup", "train", "--data", str(out)]
