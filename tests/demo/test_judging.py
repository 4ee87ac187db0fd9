"""The model and the bigram are scored on the same targets, and learning beats counting."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.data.corpora import Document
from groundup.data.dataset import open_tokens
from groundup.data.prepare import prepare
from groundup.data.shards import Tokens, write_shard
from groundup.demo.judging import Verdict, held_out_prompt, judge, sample
from groundup.demo.training import demo_config
from groundup.evaluate.bigram import fit_bigram
from groundup.models import GPT, GPTConfig
from groundup.tokenizer import Tokenizer
from groundup.train import train


def tokens_of(path: Path, ids: np.ndarray, vocab_size: int) -> Tokens:
    write_shard(path, ids, vocab_size=vocab_size)
    return Tokens([path])


def test_the_bigram_is_scored_on_the_targets_of_the_models_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    training = tokens_of(tmp_path / "a.tokens", rng.integers(0, 20, 2_000), 20)
    validation = tokens_of(tmp_path / "b.tokens", rng.integers(0, 20, 8 * 30 + 4), 20)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    verdict = judge(model, training, validation)
    assert verdict.n_targets == 240
    bigram = fit_bigram(training.read(0, 2_000), 20)
    assert verdict.bigram == pytest.approx(bigram.loss(validation.read(0, 241)), rel=1e-9)
    assert verdict.weight == bigram.weight
    assert verdict.model == pytest.approx(np.log(20), abs=0.3)


def test_beaten_means_strictly_less_surprise() -> None:
    assert Verdict(2.0, 2.5, 0.9, 10).beaten
    assert not Verdict(2.5, 2.5, 0.9, 10).beaten
    assert not Verdict(float("nan"), 2.5, 0.9, 10).beaten


@pytest.mark.slow
def test_a_model_that_sees_further_than_one_token_beats_the_bigram(tmp_path: Path) -> None:
    # Three symbols in a cycle of nine: what follows depends on the two tokens before.
    cycle = np.array([0, 0, 1, 0, 2, 1, 1, 2, 2])
    for side, repeats in (("train", 900), ("validation", 200)):
        documents = tmp_path / "data"
        documents.mkdir(exist_ok=True)
        ids = np.tile(cycle, repeats)
        write_shard(documents / f"{side}-00000.tokens", ids, vocab_size=3)
    (tmp_path / "data" / "dataset.json").write_text(
        '{"format": 1, "vocab_size": 3, "tokenizer_hash": "", "splits": {'
        '"train": {"files": ["train-00000.tokens"], "tokens": 8100, "documents": 1},'
        '"validation": {"files": ["validation-00000.tokens"], "tokens": 1800, "documents": 1}}}'
    )
    config = dataclasses.replace(
        demo_config(tmp_path, 60, seed=1),
        budget_seconds=None,
        steps=120,
        n_embd=32,
        threads=1,
        tensorboard=False,
    )
    result = train(config)
    training, validation = open_tokens(config.data, "train"), open_tokens(config.data, "validation")
    verdict = judge(GPT.from_pretrained(result.checkpoint), training, validation)
    assert verdict.beaten
    assert verdict.model < verdict.bigram - 0.3


def test_the_prompt_begins_a_held_out_document_and_the_sample_repeats_with_its_seed(
    tmp_path: Path,
) -> None:
    documents = [Document(f"{n}", f"# Part {n} of a story\nand so on, {n}\n") for n in range(200)]
    tokenizer = Tokenizer.train(
        [document.text for document in documents], 300, special_tokens=("<|endoftext|>",)
    )
    prepare(documents, tokenizer, tmp_path)
    prompt = held_out_prompt(open_tokens(tmp_path, "validation"), tokenizer)
    assert prompt.startswith("Part ")
    assert prompt.endswith(" of a")
    torch.manual_seed(0)
    vocab_size = tokenizer.n_vocab
    model = GPT(GPTConfig(vocab_size=vocab_size, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    texts = [sample(model, tokenizer, prompt, seed, tokens=40) for seed in (3, 3, 4)]
    assert texts[0].startswith(prompt)
    assert texts[0] == texts[1] != texts[2]
    assert sample(model, tokenizer, "", 3, tokens=5)
