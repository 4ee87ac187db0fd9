"""GPT-2's two files, written and read by those who read them; damaged ones refused."""

import json

import pytest

from groundup.tokenizer import Tokenizer

TEXT = "It's 12,345 o'clock.\n\n  def f(x): क्षमा naïve 🙂 <|endoftext|>"


@pytest.fixture(scope="module")
def tok(mixed_text) -> Tokenizer:
    return Tokenizer.train([mixed_text], 500, pattern="gpt2", special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="module")
def files(tok, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    tok.to_gpt2(folder / "vocab.bpe", folder / "encoder.json")
    return folder / "vocab.bpe", folder / "encoder.json"


def test_what_is_written_is_read(tok, files, mixed_text):
    again = Tokenizer.from_gpt2(*files)
    assert again == tok
    assert again.encode(mixed_text) == tok.encode(mixed_text)
    assert files[0].read_text(encoding="utf-8").startswith("#version: 0.2\n")


def test_tokenizers_reads_what_is_written(tok, files, mixed_text):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(files[1]), str(files[0])))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert theirs.encode(mixed_text).ids == tok.encode(mixed_text)


def test_tiktoken_reads_what_is_written(tok, files):
    load = pytest.importorskip("tiktoken.load")
    ranks = load.data_gym_to_mergeable_bpe_ranks(
        str(files[0]), str(files[1]), clobber_one_byte_tokens=True
    )
    assert sorted(ranks) == sorted(tok.token_byte_values()[:-1])


def test_published_files_are_written_again(data_file, tmp_path):
    published = data_file("bpe/vocab.bpe"), data_file("bpe/encoder.json")
    tok = Tokenizer.from_gpt2(*published)
    tok.to_gpt2(tmp_path / "vocab.bpe", tmp_path / "encoder.json")
    assert (tmp_path / "vocab.bpe").read_bytes() == published[0].read_bytes()
    assert json.loads((tmp_path / "encoder.json").read_bytes()) == json.loads(
        published[1].read_bytes()
    )


def test_what_the_files_do_not_tell_is_not_written(trained, tok, mixed_text, tmp_path):
    vocab, encoder = tmp_path / "vocab.bpe", tmp_path / "encoder.json"
    with pytest.raises(ValueError, match=r"do not say how text is split, .* is 'gpt4'"):
        trained.to_gpt2(vocab, encoder)
    with pytest.raises(ValueError, match="this vocabulary has ranks instead"):
        Tokenizer.from_tiktoken(tok.to_tiktoken()).to_gpt2(vocab, encoder)
    named = Tokenizer.train([mixed_text], 300, pattern="gpt2", special_tokens=["☃"])
    with pytest.raises(ValueError, match="would take '☃' for an ordinary one; rename it"):
        named.to_gpt2(vocab, encoder)
    named = Tokenizer.train([mixed_text], 300, pattern="gpt2", special_tokens=["pad"])
    with pytest.raises(ValueError, match="would take 'pad' for an ordinary one; rename it"):
        named.to_gpt2(vocab, encoder)
    assert list(tmp_path.iterdir()) == []


def test_a_merge_of_what_nothing_makes_is_refused(files, tmp_path):
    """A token whose own merge is gone looks like a special one."""
    lines = files[0].read_text(encoding="utf-8").split("\n")
    made = lines[1].replace(" ", "")
    assert any(made in line.split() for line in lines[2:]), "a later merge builds on the first"
    del lines[1]
    (tmp_path / "vocab.bpe").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"encoder.json: expected a merge for "):
        Tokenizer.from_gpt2(tmp_path / "vocab.bpe", files[1])


@pytest.mark.parametrize("n_kept", [0, 1, 100, -1])
def test_a_file_of_merges_that_was_cut_is_refused(files, tmp_path, n_kept):
    lines = files[0].read_text(encoding="utf-8").splitlines()
    version, merges = lines[0], lines[1:]
    (tmp_path / "vocab.bpe").write_text("\n".join([version, *merges[:n_kept]]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected a merge for .* Is the file of merges whole"):
        Tokenizer.from_gpt2(tmp_path / "vocab.bpe", files[1])
