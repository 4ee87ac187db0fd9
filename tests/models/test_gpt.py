"""The model is GPT-2: its sizes, its start, its gradients, and the same function as plain torch."""

import math
from contextlib import nullcontext

import pytest
import torch

import groundup as gu
from groundup.models import GPT, EagerGPT, GPTConfig
from groundup.ops import native

SMALL = GPTConfig(vocab_size=97, n_positions=24, n_embd=32, n_layer=2, n_head=4)


def _model(config: GPTConfig = SMALL, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def _ids(shape: tuple[int, int] = (3, 17), seed: int = 1) -> torch.Tensor:
    return torch.randint(97, shape, generator=torch.Generator().manual_seed(seed))


def test_gpt2_has_124439808_parameters():
    with torch.device("meta"):
        model = GPT(GPTConfig())
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


def test_the_head_is_the_token_embedding():
    model = _model()
    assert model.lm_head.weight is model.transformer.wte.weight


def test_untrained_loss_is_near_ln_v():
    loss = _model().loss(_ids(), _ids(seed=2))
    assert abs(loss.item() - math.log(97)) < 0.1


def test_weights_start_as_gpt2s():
    config = GPTConfig(vocab_size=500, n_positions=64, n_embd=128, n_layer=8, n_head=4)
    weights = _model(config).state_dict()
    assert weights["transformer.wte.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert weights["transformer.h.3.attn.c_attn.weight"].std() == pytest.approx(0.02, rel=0.05)
    for name in ("attn", "mlp"):
        std = weights[f"transformer.h.3.{name}.c_proj.weight"].std()
        assert std == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert not weights["transformer.h.3.mlp.c_fc.bias"].any()
    assert (weights["transformer.ln_f.weight"] == 1).all()


def test_logits_loss_and_gradients_are_those_of_plain_eager_torch():
    model, ids, targets = _model(), _ids(), _ids(seed=2)
    targets[0, :5] = -100
    eager = EagerGPT(SMALL)
    eager.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(ids), eager(ids), rtol=1e-5, atol=1e-6)
    ours, plain = model.loss(ids, targets), eager.loss(ids, targets)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)
    ours.backward()
    plain.backward()
    gradients = {name: p.grad for name, p in eager.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-7, msg=name)


def test_the_loss_without_gradients_is_the_same():
    model, ids, targets = _model(), _ids(), _ids(seed=2)
    with torch.no_grad():
        quiet = model.loss(ids, targets)
    torch.testing.assert_close(quiet, model.loss(ids, targets).detach())


def test_a_later_token_never_changes_an_earlier_logit():
    model = _model()
    ids = _ids()
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 97
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.equal(before[:, 9:], after[:, 9:])


def test_dropout_acts_in_training_only():
    config = GPTConfig(97, 24, 32, 2, 4, embd_pdrop=0.2, resid_pdrop=0.2, attn_pdrop=0.2)
    model, ids = _model(config), _ids()
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.zeros(5, dtype=torch.long), ValueError, r"ids: expected shape \(B, T\), got \(5,\)"),
        (
            torch.zeros(1, 25, dtype=torch.long),
            ValueError,
            "at most n_positions = 24 .* got 25",
        ),
        (torch.tensor([[97]]), IndexError, r"expected token ids in \[0, 97\), got 97"),
        (torch.tensor([[3, -1]]), IndexError, r"expected token ids in \[0, 97\), got -1"),
    ],
)
def test_wrong_ids_are_told(ids, error, message):
    with pytest.raises(error, match=message):
        _model()(ids)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_embd": 30}, "n_embd: expected a multiple of n_head = 12, got 30; try 36"),
        ({"vocab_size": 0}, "vocab_size: expected at least 1, got 0"),
        ({"n_layer": -1}, "n_layer: expected at least 1, got -1"),
        ({"attn_pdrop": 1.0}, r"attn_pdrop: expected a share in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_sizes_are_told(sizes, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**sizes)


def _hooked(module, seen):
    module.register_forward_hook(lambda *_: seen.append("forward"))


def _prehooked(module, seen):
    module.register_forward_pre_hook(lambda *_: seen.append("before"))


def _watched_backward(module, seen):
    module.register_full_backward_hook(lambda *_: seen.append("backward"))


def _forward_replaced(module, seen):
    original = module.forward

    def forward(*args):
        seen.append("instead")
        return original(*args)

    module.forward = forward


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # the embedding's, of ids
@pytest.mark.parametrize(
    "attach", [_hooked, _prehooked, _watched_backward, _forward_replaced], ids=lambda f: f.__name__
)
def test_what_is_attached_to_any_module_runs_and_changes_nothing(attach):
    config = GPTConfig(vocab_size=97, n_positions=24, n_embd=64, n_layer=1, n_head=4)
    with gu.use("linear=cpp") if native.missing is None else nullcontext():
        expected = _model(config).loss(_ids(), _ids(seed=2))
        expected.backward()
        for name, _ in _model(config).named_modules():
            if not name or name in ("transformer.h", "transformer.wpe"):
                continue  # called by nobody: GPT.loss is a method, the other two hold their parts
            model, seen = _model(config), []
            attach(model.get_submodule(name), seen)
            loss = model.loss(_ids(), _ids(seed=2))
            loss.backward()
            assert len(seen) == 1, name
            assert torch.equal(loss, expected), name


def test_an_adapter_in_a_layers_place_is_called():
    class Doubled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.weight, self.bias = inner.weight, inner.bias

        def forward(self, x, activation=None):
            return 2 * self.inner(x, activation)

    for name in ("c_fc", "c_proj"):
        model = _model()
        plain = model(_ids())
        mlp = model.transformer.h[0].mlp
        setattr(mlp, name, Doubled(getattr(mlp, name)))
        assert not torch.allclose(model(_ids()), plain)
