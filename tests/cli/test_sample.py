"""`groundup sample`: a prompt goes on, the same way for the same seed, and mismatches are told."""

import json
import shutil

import pytest
import torch

from groundup import cli
from groundup.generate.text import load, stream_text
from groundup.models import GPT, GPTConfig
from groundup.tokenizer import Tokenizer


def _sample(capsys, *words, code=0) -> str:
    assert cli.main(["sample", *map(str, words)]) == code
    shown = capsys.readouterr()
    return shown.out if code == 0 else shown.err


def test_a_prompt_is_continued_the_same_way_for_the_same_seed(run, capsys):
    args = (run, "--prompt", "Chapter 7. ", "--tokens", 30, "--seed")
    first, again, other = (_sample(capsys, *args, seed) for seed in (1, 1, 2))
    assert first.startswith("Chapter 7. ")
    assert len(first) > len("Chapter 7. \n")
    assert first == again
    assert first != other


def test_json_has_prompt_text_and_seed(run, capsys):
    shown = _sample(capsys, run, "--prompt", "Chap", "--tokens", 5, "--json")
    told = json.loads(shown)
    again = _sample(capsys, run, "--prompt", "Chap", "--tokens", 5, "--seed", told["seed"])
    assert again == "Chap" + told["text"] + "\n"


def test_a_checkpoint_and_the_run_that_holds_it_are_the_same_model(run, capsys):
    args = ("--prompt", "The ", "--tokens", 8, "--temperature", 0)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    assert _sample(capsys, run, *args) == _sample(capsys, newest, *args)


def test_an_empty_prompt_begins_a_document(run, capsys):
    assert _sample(capsys, run, "--tokens", 10, "--seed", 3)


@pytest.mark.parametrize("n_tokens", [0, 1, 40])
def test_the_stream_is_the_decoding_of_its_ids_and_never_half_a_character(run, n_tokens):
    model, words = load(run)
    prompt = "dogs — आ"
    pieces = list(
        stream_text(model, words, prompt, n_tokens, 1.5, generator=torch.Generator().manual_seed(4))
    )
    ids = torch.tensor([words.encode(prompt)])
    whole = model.generate(ids, n_tokens, 1.5, generator=torch.Generator().manual_seed(4))
    new = whole[0, ids.size(1) :].tolist()
    if words.eot_token in new:
        new = new[: new.index(words.eot_token)]
    assert "".join(pieces) == words.decode(new)
    assert all(pieces)


def test_a_model_without_a_tokenizer_beside_it_takes_one(run, book, tmp_path, capsys):
    config = GPTConfig(vocab_size=320, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    GPT(config).save_pretrained(tmp_path)
    told = _sample(capsys, tmp_path, code=1)
    assert "tokenizer.json: there is no tokenizer there; name it with --tokenizer" in told
    # 20 rows of the table are padding: they are never drawn, or decoding them would raise.
    assert _sample(capsys, tmp_path, "--tokenizer", book / "words.json", "--temperature", 9)


def test_a_tokenizer_of_another_model_is_told(run, tmp_path, capsys):
    other = tmp_path / "other.json"
    Tokenizer.train(["something else altogether"], 270).save(other)
    told = _sample(capsys, run, "--tokenizer", other, code=1)
    assert "the model was trained on tokens of another tokenizer" in told
    config = GPTConfig(vocab_size=260, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    GPT(config).save_pretrained(tmp_path)
    told = _sample(capsys, tmp_path, "--tokenizer", other, code=1)
    assert "the tokenizer has 270 tokens and the model of" in told


def test_what_cannot_be_sampled_is_told(run, tmp_path, capsys):
    told = _sample(capsys, tmp_path / "none", code=1)
    assert "expected a run of `groundup train`; it is not there" in told
    told = _sample(capsys, run, "--temperature", -1, code=1)
    assert "temperature: expected a number from 0 (greedy) up, got -1.0" in told
    assert "top_p: expected a probability" in _sample(capsys, run, "--top-p", 0, code=1)
    assert "max_new_tokens: expected 0 or more" in _sample(capsys, run, "--tokens", -1, code=1)
    told = _sample(capsys, run, "--seed", 1 << 64, code=1)
    assert "--seed: expected a whole number from 0 to 2**64 - 1, got 18446744073709551616" in told
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    weights = sorted((damaged / "checkpoints").iterdir())[-1] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    assert "the file is damaged or cut short" in _sample(capsys, damaged, code=1)
