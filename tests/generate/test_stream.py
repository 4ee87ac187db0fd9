"""Generation with a cache is generation without one, and past the block the window slides."""

import pytest
import torch

from groundup.generate import KeyValueCache, stream
from groundup.models import GPT, GPTConfig

SMALL = GPTConfig(vocab_size=61, n_positions=12, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.5)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = GPT(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():  # far from the start, so that choices differ
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def _without_cache(model: GPT, ids: torch.Tensor, n: int) -> torch.Tensor:
    model.eval()
    for _ in range(n):
        logits = model(ids[:, -SMALL.n_positions :])[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    model.train()
    return ids


@pytest.mark.parametrize("n_prompt", [1, 5, 12, 20])
def test_greedy_text_equals_that_without_a_cache(model, n_prompt):
    prompt = torch.randint(61, (3, n_prompt), generator=torch.Generator().manual_seed(n_prompt))
    generated = model.generate(prompt, 18, temperature=0.0)
    assert torch.equal(generated, _without_cache(model, prompt, 18))
    assert len(generated[:, n_prompt:].unique()) > 2


def test_cached_logits_equal_whole_ones(model):
    model.eval()
    ids = torch.randint(61, (2, 12), generator=torch.Generator().manual_seed(1))
    cache = KeyValueCache(SMALL, 2, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 10), (10, 12))]
        whole = model(ids)
    model.train()
    assert cache.length == 12
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_the_same_generator_state_gives_the_same_text(model):
    prompt = torch.tensor([[1, 2, 3]])
    texts = [
        model.generate(prompt, 20, 1.0, 10, 0.9, generator=torch.Generator().manual_seed(seed))
        for seed in (7, 7, 8)
    ]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_stream_yields_what_generate_returns_and_leaves_the_mode(model):
    prompt = torch.tensor([[1, 2, 3]])
    steps = list(stream(model, prompt, 6, temperature=0.0))
    assert [tuple(step.shape) for step in steps] == [(1, 1)] * 6
    assert torch.equal(torch.cat([prompt, *steps], 1), model.generate(prompt, 6, temperature=0.0))
    assert model.training
    assert torch.equal(model.generate(prompt, 0), prompt)


def _modes(model: GPT) -> list[bool]:
    return [module.training for module in model.modules()]


def _fail(*_: object) -> None:
    raise RuntimeError


def test_every_modules_mode_is_as_before_after_an_error_and_when_dropped(model):
    prompt = torch.tensor([[1, 2, 3]])
    model.transformer.h[0].eval()
    try:
        before = _modes(model)
        steps = stream(model, prompt, 6)
        next(steps)
        assert _modes(model) == before
        del steps
        with pytest.raises(IndexError, match=r"expected token ids in \[0, 61\), got 99"):
            next(stream(model, torch.tensor([[99]]), 6))
        assert _modes(model) == before
        hook = model.lm_head.register_forward_hook(_fail)
        with pytest.raises(RuntimeError):
            model.generate(prompt, 6)
        assert _modes(model) == before
    finally:
        hook.remove()
        model.train()


def test_a_mode_changed_between_two_steps_stays(model):
    steps = stream(model, torch.tensor([[1, 2, 3]]), 6)
    next(steps)
    model.eval()
    next(steps)
    assert not model.training
    model.train()


def test_greedy_text_equals_transformers(model, tmp_path):
    transformers = pytest.importorskip("transformers")
    model.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    prompt = torch.tensor([[4, 8, 15]])
    expected = theirs.generate(
        prompt, max_new_tokens=9, min_new_tokens=9, do_sample=False, pad_token_id=0,
        attention_mask=torch.ones_like(prompt),
    )  # fmt: skip
    assert torch.equal(model.generate(prompt, 9, temperature=0.0), expected)


@pytest.mark.parametrize(
    ("ids", "settings", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "at least one token, got"),
        (torch.zeros(3, dtype=torch.long), {}, r"expected shape \(B, T\)"),
        (torch.zeros(1, 1, dtype=torch.long), {"max_new_tokens": -1}, "expected 0 or more, got -1"),
        (torch.zeros(1, 1, dtype=torch.long), {"top_k": 0}, "top_k"),
    ],
)
def test_wrong_calls_are_told_at_the_call(model, ids, settings, message):
    with pytest.raises(ValueError, match=message):
        stream(model, ids, **{"max_new_tokens": 1, **settings})


def test_a_full_cache_is_told():
    cache = KeyValueCache(SMALL, 1, torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="cache: expected at most 12 tokens, got 13"):
        cache.append(0, torch.zeros(1, 4, 13, 8), torch.zeros(1, 4, 13, 8))
