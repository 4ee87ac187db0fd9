"""A model folder goes to and from Hugging Face's transformers, and bad folders are told."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch

from groundup.models import GPT, GPTConfig

SMALL = GPTConfig(vocab_size=97, n_positions=24, n_embd=32, n_layer=2, n_head=4, eos_token_id=96)
IDS = torch.randint(97, (2, 24), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    GPT(SMALL).save_pretrained(tmp_path / "gpt")
    return tmp_path / "gpt"


def test_a_saved_model_loads_with_the_same_logits(saved):
    torch.manual_seed(0)
    model = GPT(SMALL).eval()
    loaded = GPT.from_pretrained(saved)
    assert loaded.config == SMALL
    assert torch.equal(loaded(IDS), model(IDS))
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert all(p.requires_grad for p in loaded.parameters())


def test_transformers_reads_ours_with_equal_logits(saved):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(saved).eval()
    torch.testing.assert_close(
        theirs(IDS).logits, GPT.from_pretrained(saved)(IDS), rtol=1e-5, atol=1e-6
    )


def test_we_read_transformers_with_equal_logits(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=97, n_positions=24, n_embd=32, n_layer=3, n_head=4, n_inner=80,
        layer_norm_epsilon=1e-4, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(3)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():  # biases and norms away from 0 and 1, where errors hide
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    assert ours.config.resid_pdrop == 0.1
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())


def test_the_hubs_older_names_are_read(saved):
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    older = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    older["h.0.attn.bias"] = torch.ones(1, 1, 24, 24)
    expected = GPT.from_pretrained(saved)(IDS)
    safetensors.torch.save_file(older, saved / "model.safetensors")
    assert torch.equal(GPT.from_pretrained(saved)(IDS), expected)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        GPT.from_pretrained(tmp_path)


def test_a_truncated_or_foreign_file_is_told(saved):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    for contents in (whole[:-1], whole[:100], whole[:4], b"", b"\xff" * 64, b"PK\x03\x04" * 9):
        path.write_bytes(contents)
        with pytest.raises(ValueError, match="expected a whole safetensors file"):
            GPT.from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "holds 2 layers, and config.json beside it says n_layer is 3"),
        ({"n_layer": 9999}, "holds 2 layers, and config.json beside it says n_layer is 9999"),
        ({"n_layer": 10**12}, r"config\.json: n_layer: expected at most 10,000, got 1000000000000"),
        (
            {"n_embd": 4 * 10**15},
            r"wte.weight has shape \(97, 32\), .* says \(97, 4000000",
        ),
        (
            {"n_positions": 10**40},
            r"wpe.weight has shape \(24, 32\), and config.json beside",
        ),
        ({"n_inner": 10**15}, r"c_fc.weight has shape \(32, 128\), and config.json beside it says"),
        ({"n_inner": -1}, "n_inner: expected at least 1, or nothing, got -1"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon: expected a positive number"),
        ({"initializer_range": -1.0}, "initializer_range: expected a number from 0, got -1.0"),
        ({"vocab_size": 98}, r"transformer.wte.weight has shape \(97, 32\), and config.json"),
        ({"n_head": "four"}, "n_head is 'four', and a number was expected"),
        ({"n_head": 4.0}, "n_head is 4.0, and a number was expected"),
        ({"model_type": "llama"}, "model_type is 'llama', and this model is GPT-2's"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
    ],
)
def test_a_config_of_another_model_is_told(saved, change, message):
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(saved)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"transformer.h.0": "transformer.x.0"}, "holds 1 layers, and config.json beside it says"),
        ({"transformer.wte.weight": "x"}, "transformer.wte.weight is missing; expected a GPT-2"),
        ({".ln_1.bias": ".ln_0.bias"}, r"ln_1.bias is missing \(2 such\); expected a GPT-2"),
    ],
)
def test_weights_of_another_model_are_told(saved, rename, message):
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    for old, new in rename.items():
        weights = {name.replace(old, new): tensor for name, tensor in weights.items()}
    safetensors.torch.save_file(weights, saved / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(saved)


@pytest.mark.parametrize("n_inner", [None, 80])
def test_a_configuration_knows_its_number_of_parameters(n_inner):
    config = dataclasses.replace(SMALL, n_inner=n_inner)
    assert config.n_parameters == sum(p.numel() for p in GPT(config).parameters())


@pytest.mark.parametrize("contents", ["", "{", "[1]", "\x80", "[" * 100_000])
def test_a_config_that_is_no_json_is_told(saved, contents):
    (saved / "config.json").write_bytes(contents.encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.json: expected a"):
        GPT.from_pretrained(saved)
