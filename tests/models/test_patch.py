"""gu.patch: the same model on groundup's ops, and back."""

import copy
import io
import pickle
from collections import Counter

import pytest
import torch
from compare import assert_error_like_eager
from models.nanogpt import NanoGPT, NewGELU, SelfAttention
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

import groundup as gu
from groundup.ops import dispatch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _batch():
    ids = torch.randint(0, 65, (3, 17))
    targets = ids.roll(-1, 1)
    targets[0, 11:] = -1
    return ids, targets


def _gradients(model, ids, targets):
    model.zero_grad(set_to_none=True)
    _, loss = model(ids, targets)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def _assert_same_work(model, run):
    """run(model) -> (loss, gradients) of the patched model, judged beside the unpatched one's."""
    exact_model = copy.deepcopy(model).double()
    eager = run(model)
    exact = run(exact_model)
    with gu.patch(model), dispatch.ran() as ran:
        patched = run(model)
    assert_error_like_eager(patched[0], eager[0], exact[0], name="loss")
    for name, gradient in patched[1].items():
        assert_error_like_eager(
            gradient, eager[1][name], exact[1][name], kind="gradient", name=name
        )
    again = run(model)
    assert torch.equal(again[0], eager[0])
    return Counter(ran)


@pytest.mark.parametrize("activation", [nn.GELU, NewGELU, lambda: nn.GELU("tanh")])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("flash", [False, True])
def test_loss_and_gradients_of_a_nanogpt_stay(flash, bias, activation):
    model = NanoGPT(flash=flash, bias=bias, activation=activation)
    ids, targets = _batch()
    ran = _assert_same_work(model, lambda m: _gradients(m, ids, targets))
    if gu.ops.native.core is not None:
        assert ran == {
            ("layer_norm", "cpp"): 5,
            ("gelu", "cpp"): 2,
            ("causal_attention", "cpp"): 2,
            ("cross_entropy", "cpp"): 1,
        }


def test_what_changed_is_printed_and_undone(capsys):
    model = NanoGPT()
    classes = [type(module) for module in model.modules()]
    text = str(model)
    done = gu.patch(model)
    told = capsys.readouterr().out
    assert told == f"{done}\n"
    for line in (
        "groundup.patch: NanoGPT",
        "3 x Norm           now runs on layer_norm",
        "2 x LayerNorm      now runs on layer_norm",
        "2 x SelfAttention  now runs on causal_attention",
        "2 x GELU           now runs on gelu",
        "1 x NanoGPT        now runs on cross_entropy",
    ):
        assert line in told
    assert isinstance(model.h[0].ln_2, nn.LayerNorm)
    assert str(model) == text
    done.undo()
    done.undo()
    assert [type(module) for module in model.modules()] == classes


def test_a_second_patch_changes_nothing_and_says_so(capsys):
    model = NanoGPT()
    first = gu.patch(model)
    second = gu.patch(model)
    assert second.changed == []
    assert "is patched already" in capsys.readouterr().out
    second.undo()
    assert type(model) is not NanoGPT
    first.undo()
    assert type(model) is NanoGPT


def test_state_dict_deepcopy_and_pickle_of_a_patched_model():
    model = NanoGPT()
    ids, targets = _batch()
    plain = model.state_dict()
    expected = model(ids, targets)[1]
    gu.patch(model)
    assert model.state_dict().keys() == plain.keys()
    stored = io.BytesIO()
    pickle.dump(model, stored)
    stored.seek(0)
    for twin in (copy.deepcopy(model), pickle.load(stored)):  # noqa: S301  (our own bytes)
        with dispatch.ran() as ran:
            torch.testing.assert_close(twin(ids, targets)[1], expected)
        assert ("layer_norm", "cpp" if gu.ops.native.core else "torch") in ran
        with torch.no_grad():
            twin.wte.weight.zero_()  # it runs on its own weights
        assert twin(ids, targets)[1] != expected
    torch.testing.assert_close(model(ids, targets)[1], expected)


def test_hooks_and_recomputation_go_on():
    model = NanoGPT()
    ids, targets = _batch()
    loss, gradients = _gradients(model, ids, targets)
    gu.patch(model)
    seen = []
    model.h[0].ln_2.register_forward_hook(lambda *_: seen.append("ln_2"))
    for block in model.h:
        run = block.forward
        block.forward = lambda x, run=run: checkpoint(run, x, use_reentrant=False)
    again, recomputed = _gradients(model, ids, targets)
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(recomputed, gradients)
    assert seen == ["ln_2", "ln_2"]


@pytest.mark.parametrize("flash", [False, True])
def test_a_patched_model_compiles_whole(flash):
    model = NanoGPT(flash=flash)
    ids, targets = _batch()
    loss, gradients = _gradients(model, ids, targets)
    gu.patch(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    again, compiled_gradients = _gradients(compiled, ids, targets)
    torch.testing.assert_close(again, loss)
    for name, gradient in compiled_gradients.items():
        torch.testing.assert_close(gradient, gradients[name.removeprefix("_orig_mod.")])


def test_dropout_stays_dropout():
    model = NanoGPT(flash=False, dropout=0.5).train()
    ids, targets = _batch()
    gu.patch(model)
    assert model(ids, targets)[1] != model(ids, targets)[1]
    model.eval()
    assert model(ids, targets)[1] == model(ids, targets)[1]


def test_half_precision_and_autocast_give_torchs_dtype():
    model = NanoGPT()
    ids, targets = _batch()
    with gu.patch(model):
        with torch.autocast("cpu", torch.bfloat16):
            assert model(ids, targets)[1].dtype is torch.float32
        assert model.bfloat16()(ids, targets)[1].dtype is torch.bfloat16


class _Odd(nn.Module):
    """Named and built as nanoGPT's attention, and does something else."""

    def __init__(self):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.attn_dropout, self.resid_dropout = nn.Dropout(0.0), nn.Dropout(0.0)
        self.n_head = 2

    def forward(self, x):
        return self.c_proj(self.c_attn(x)[..., :8].softmax(-1))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class _Adapted(SelfAttention):
    """A low-rank adapter as it begins: at zero."""

    def __init__(self):
        super().__init__(8, 2, 32, 0.0, False)
        self.down, self.up = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.zeros(2, 8))

    def forward(self, x):
        return super().forward(x) + x @ self.down @ self.up


class _Windowed(SelfAttention):
    """Its mask is wider than the first few tokens."""

    def __init__(self):
        super().__init__(8, 2, 32, 0.0, False)
        self.bias = self.bias.triu(-12)


class _Rotating(_Odd):
    """Another attention, whose projection begins at zero as many train it."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.c_proj.weight)
        nn.init.zeros_(self.c_proj.bias)


class _Tempered(SelfAttention):
    """Its temperature is 1 when it is tried, and may be another later."""

    temperature = 1.0

    def __init__(self):
        super().__init__(8, 2, 32, 0.0, False)

    def forward(self, x):
        return super().forward(x) * self.temperature


@pytest.mark.parametrize("kind", [_Odd, _Adapted, _Windowed, _Rotating, _Tempered, QuickGELU])
def test_what_only_looks_alike_is_left_alone(kind):
    model = nn.Sequential(kind(), nn.LayerNorm(8))
    gu.patch(model)
    assert type(model[0]) is kind


def test_a_module_parametrized_since_is_given_back_too():
    model = nn.Sequential(nn.LayerNorm(8))
    done = gu.patch(model)
    parametrize.register_parametrization(model[0], "weight", nn.Identity())
    done.undo()
    x = torch.randn(2, 8)
    torch.testing.assert_close(model(x), nn.functional.layer_norm(x, (8,)))
    parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is nn.LayerNorm


def test_attention_that_is_not_plain_is_named(capsys):
    model = nn.Sequential(_Windowed(), nn.LayerNorm(8))
    gu.patch(model)
    assert "0: left as it is: built as causal attention, and a trial" in capsys.readouterr().out


def test_the_scale_of_the_scores_is_a_number_that_may_be_read():
    class Scaled(SelfAttention):
        scale = 4**-0.5

        def forward(self, x):
            assert self.scale > 0
            return super().forward(x)

    model = nn.Sequential(Scaled(8, 2, 32, 0.0, False))
    gu.patch(model)
    assert type(model[0]) is not Scaled


def test_no_heads_are_left_to_fail_on_their_own():
    model = nn.Sequential(_Odd(), nn.LayerNorm(8))
    model[0].n_head = 0
    gu.patch(model)
    assert type(model[0]) is _Odd


def test_attention_weights_that_somebody_reads_are_still_there_to_read():
    attention = SelfAttention(8, 2, 32, 0.0, False)
    attention.attn_dropout.register_forward_hook(lambda module, given, out: None)
    with pytest.raises(ValueError, match="found nothing in SelfAttention"):
        gu.patch(attention)


def test_attention_with_wrapped_projections_and_no_dropout_is_patched():
    class Wrapped(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.up = base, nn.Parameter(torch.randn(base.out_features, 1))

        def forward(self, x):
            return self.base(x) + x[..., :1] * self.up[:, 0]

    attention = SelfAttention(8, 2, 32, 0.0, False).train()
    attention.c_attn, attention.attn_dropout = Wrapped(attention.c_attn), nn.Identity()
    x = torch.randn(2, 20, 8)
    expected = attention(x)
    with gu.patch(attention):
        torch.testing.assert_close(attention(x), expected)
    attention.attn_dropout = nn.Dropout(0.5).eval()
    with gu.patch(attention):
        torch.testing.assert_close(attention(x), expected)


def test_a_patched_model_on_the_meta_device_tells_its_shapes():
    with torch.device("meta"):
        model = NanoGPT(flash=True)
    with gu.patch(model):
        ids = torch.zeros(2, 5, dtype=torch.int64, device="meta")
        assert model(ids, ids)[1].shape == ()


def test_a_forward_that_somebody_replaced_is_left_and_named(capsys):
    model = nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8))
    model[0].forward = lambda x: x
    gu.patch(model)
    assert "0: left as it is: its forward was replaced by somebody else" in capsys.readouterr().out
    assert type(model[0]) is nn.LayerNorm


def test_wrong_models_have_their_sentences():
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got str"):
        gu.patch("gpt2")
    with pytest.raises(ValueError, match=r"found nothing in Linear that groundup has an op for"):
        gu.patch(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"call gu.patch before torch.compile"):
        gu.patch(torch.compile(nn.LayerNorm(8), backend="eager"))
    with pytest.raises(TypeError, match="got a scripted one"):
        gu.patch(torch.jit.trace(nn.LayerNorm(8), torch.zeros(1, 8)))


def _gpt2(**changes):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=48, n_head=3, vocab_size=65, n_positions=24,
        resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0, bos_token_id=None, eos_token_id=None,
        **changes,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def _padded_batch():
    """(ids, mask, labels): one row padded on the left, one on the right, one whole."""
    ids = torch.randint(0, 65, (3, 17))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    mask[2, 13:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    # The first token after padding is not predicted from it: "eager" and "sdpa" differ there.
    labels[0, 5] = -100
    return ids, mask, labels


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [False, True])
def test_loss_and_gradients_of_hugging_faces_gpt2_stay(attention, padded):
    model = _gpt2(attn_implementation=attention)
    ids, mask, labels = _padded_batch()
    given = {"attention_mask": mask, "labels": labels} if padded else {"labels": ids}

    def run(model):
        model.zero_grad(set_to_none=True)
        loss = model(ids, **given).loss
        loss.backward()
        return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}

    ran = _assert_same_work(model, run)
    assert model.config._attn_implementation == attention
    assert "_loss_function" not in vars(model)
    if gu.ops.native.core is not None:
        assert ran["layer_norm", "cpp"] == 5
        assert ran["gelu", "cpp"] == 2
        assert ran["cross_entropy", "cpp"] == 1
        if not padded:
            assert ran["causal_attention", "cpp"] == 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_padded_on_one_side_stays_on_the_kernels(side):
    model = _gpt2().eval()
    ids = _padded_batch()[0]
    mask = torch.ones_like(ids)
    mask[0, slice(0, 5) if side == "left" else slice(12, None)] = 0
    expected = model(ids, attention_mask=mask).logits
    with gu.patch(model), dispatch.ran() as ran:
        torch.testing.assert_close(model(ids, attention_mask=mask).logits, expected)
    if gu.ops.native.core is not None:
        assert ("causal_attention_varlen", "cpp") in ran


def test_a_patched_gpt2_generates_the_same_text():
    model = _gpt2().eval()
    ids, mask, _ = _padded_batch()
    ids, mask = ids[:2, :9], mask[:2, :9]
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(ids, **options)
    with gu.patch(model):
        assert torch.equal(model.generate(ids, **options), expected)


def test_what_a_gpt2_is_left_with_is_named(capsys):
    gu.patch(_gpt2(attn_implementation="eager", output_attentions=True))
    assert "its attention stays: it is to return its weights" in capsys.readouterr().out
