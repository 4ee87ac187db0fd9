"""Held-out loss: the same windows every time, every target weighed alike, the model untouched."""

from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.data.shards import Tokens, write_shard
from groundup.evaluate.loss import validation_loss
from groundup.models import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=50, n_positions=8, n_embd=16, n_layer=1, n_head=2, embd_pdrop=0.5)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    ids = np.random.default_rng(0).integers(0, 50, 8 * 13 + 5)
    write_shard(tmp_path / "validation-00000.tokens", ids, vocab_size=50)
    return Tokens([tmp_path / "validation-00000.tokens"])


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(CONFIG)


def test_all_windows_side_by_side_give_the_mean_over_every_target(
    tokens: Tokens, model: GPT
) -> None:
    ids = torch.from_numpy(tokens.read(0, 8 * 13 + 1))
    with torch.no_grad():
        logits = model.eval()(ids[:-1].view(13, 8)).double()
    rows = torch.log_softmax(logits.view(-1, 50), dim=-1)
    expected = -rows.gather(1, ids[1:, None]).mean().item()
    assert validation_loss(model, tokens, 8) == pytest.approx(expected, rel=1e-6)


def test_the_batch_size_changes_the_speed_only(tokens: Tokens, model: GPT) -> None:
    losses = [validation_loss(model, tokens, 8, batch_size=size) for size in (1, 4, 13, 100)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)


def test_dropout_is_off_meanwhile_and_the_mode_is_put_back(tokens: Tokens, model: GPT) -> None:
    model.train()
    assert validation_loss(model, tokens, 8) == validation_loss(model, tokens, 8)
    assert model.training
    model.eval()
    validation_loss(model, tokens, 8, n_windows=3)
    assert not model.training


def test_too_few_tokens_for_a_window_are_refused(tmp_path: Path, model: GPT) -> None:
    write_shard(tmp_path / "a.tokens", np.zeros(8, np.int64), vocab_size=50)
    with pytest.raises(ValueError, match=r"expected at least block_size \+ 1 = 9 for evaluation"):
        validation_loss(model, Tokens([tmp_path / "a.tokens"]), 8)
