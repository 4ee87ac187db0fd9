"""Choosing the next token."""

import pytest
import torch

from groundup.generate import next_ids

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(4000, 4)


def _draw(**settings) -> torch.Tensor:
    return next_ids(LOGITS, generator=torch.Generator().manual_seed(0), **settings)


def test_draws_follow_the_softmax():
    shares = torch.bincount(_draw()[:, 0], minlength=4) / 4000
    torch.testing.assert_close(shares, torch.softmax(LOGITS[0], 0), atol=0.03, rtol=0)


def test_temperature_sharpens():
    shares = torch.bincount(_draw(temperature=0.5)[:, 0], minlength=4) / 4000
    torch.testing.assert_close(shares, torch.softmax(LOGITS[0] * 2, 0), atol=0.03, rtol=0)


def test_temperature_zero_is_the_likeliest():
    assert (next_ids(LOGITS, 0.0) == 0).all()


def test_top_k_keeps_k_tokens():
    assert set(_draw(top_k=2).flatten().tolist()) == {0, 1}
    assert set(_draw(top_k=1).flatten().tolist()) == {0}
    assert set(_draw(top_k=99).flatten().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.64, 1), (0.65, 2), (0.89, 3), (1.0, 4)])
def test_top_p_keeps_the_fewest_tokens_that_reach_p(top_p, kept):
    # probabilities .644 .237 .087 .032
    assert set(_draw(top_p=top_p).flatten().tolist()) == set(range(kept))


def test_top_p_sees_unsorted_logits():
    shuffled = torch.tensor([[0.0, 5.0, -1.0, 4.0]]).expand(500, 4)
    assert set(next_ids(shuffled, top_p=0.9).flatten().tolist()) == {1, 3}


def test_one_generator_state_gives_one_text():
    assert torch.equal(_draw(top_k=3), _draw(top_k=3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, r"temperature: expected a number from 0 \(greedy\) up, got -1.0"),
        ({"temperature": float("nan")}, "temperature: .* got nan"),
        ({"top_k": 0}, "top_k: expected at least 1 token, got 0"),
        ({"top_p": 0.0}, r"top_p: expected a probability in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, "top_p: .* got 1.5"),
    ],
)
def test_impossible_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        next_ids(LOGITS, **settings)


def test_nan_logits_are_told():
    with pytest.raises(ValueError, match="expected finite numbers, got nan or inf"):
        next_ids(torch.full((1, 4), float("nan")))


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1.0])
def test_no_temperature_hides_nan(temperature):
    logits = torch.tensor([[0.0, float("nan"), 1.0]])
    with pytest.raises(ValueError, match="expected finite numbers, got nan or inf"):
        next_ids(logits, temperature)


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e-38, 1e-20])
def test_a_tiny_temperature_is_greedy_and_no_overflow(temperature):
    assert (next_ids(LOGITS * 100, temperature) == 0).all()
