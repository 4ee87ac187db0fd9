"""A Hugging Face model on plugs.transformers_attention computes what it computes on "sdpa"."""

import pytest
import torch

import groundup as gu
from groundup import plugs
from groundup.ops import dispatch, native
from groundup.plugs.transformers_attention import attention

transformers = pytest.importorskip("transformers")
needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))

SIZES = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": 60}


def gpt2():
    config = transformers.GPT2Config(
        n_positions=64, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, embd_pdrop=0.0,
        resid_pdrop=0.0, **SIZES,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    **SIZES,
}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))


def mistral():
    config = transformers.MistralConfig(**LLAMA, sliding_window=4)
    return transformers.MistralForCausalLM(config)


def gemma2():
    config = transformers.Gemma2Config(
        **{**LLAMA, "head_dim": 8}, sliding_window=32, attn_logit_softcapping=2.0,
        layer_types=["full_attention"] * 2,
    )  # fmt: skip
    return transformers.Gemma2ForCausalLM(config)


def on(model, implementation):
    plugs.transformers_attention()
    model.set_attn_implementation(implementation)
    return model


def padding(side, lengths, n):
    """(B, n) of zeros and ones; "holes" has gaps inside."""
    place = torch.arange(n)
    keys = torch.stack([place < k if side == "right" else place >= n - k for k in lengths])
    if side == "holes":
        keys[0, n // 2] = False
    return keys.long()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def losses_and_gradients(model, ids, keys):
    labels = ids.masked_fill(keys == 0, -100)
    out = model(input_ids=ids, attention_mask=keys, labels=labels)
    model.zero_grad()
    out.loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return out.logits.detach(), out.loss.detach(), gradients


@needs_native
@pytest.mark.parametrize("make", [gpt2, llama], ids=lambda make: make.__name__)
@pytest.mark.parametrize("side", ["left", "right", "holes"])
def test_a_padded_batch_gives_sdpas_logits_loss_and_gradients(make, side):
    model, ids = make(), torch.randint(1, 60, (3, 20))
    keys = padding(side, (20, 7, 13), 20)
    logits, loss, gradients = losses_and_gradients(on(model, "sdpa"), ids, keys)
    with dispatch.ran() as log:
        ours = losses_and_gradients(on(model, "groundup"), ids, keys)
    assert log == ([] if side == "holes" else [("causal_attention_varlen", "cpp")] * 2)
    torch.testing.assert_close(ours[0], logits, rtol=1e-4, atol=1e-5)  # at padding too
    torch.testing.assert_close(ours[1], loss)
    torch.testing.assert_close(ours[2], gradients, rtol=1e-3, atol=1e-6)


@needs_native
@pytest.mark.parametrize("make", [gpt2, llama], ids=lambda make: make.__name__)
def test_a_batch_without_padding_runs_on_causal_attention(make):
    model, ids = make(), torch.randint(1, 60, (2, 20))
    expected = on(model, "sdpa")(ids).logits
    for keys in (None, torch.ones(2, 20, dtype=torch.long)):
        with dispatch.ran() as log:
            logits = on(model, "groundup")(ids, attention_mask=keys).logits
        assert log == [("causal_attention", "cpp")] * 2
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@needs_native
@pytest.mark.parametrize("make", [gpt2, llama], ids=lambda make: make.__name__)
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_padded_prompts_go_on_as_with_sdpa(make, cache):
    model, ids = make().eval(), torch.randint(1, 60, (3, 10))
    keys = padding("left", (10, 4, 7), 10)
    settings = {
        "attention_mask": keys, "max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False,
        "pad_token_id": 0, "disable_compile": True,
    }  # fmt: skip
    settings |= {"cache_implementation": "static"} if cache == "static" else {}
    expected = on(model, "sdpa").generate(ids, **settings)
    with dispatch.ran() as log:
        ours = on(model, "groundup").generate(ids, **settings)
    assert torch.equal(ours, expected)
    if cache == "dynamic":
        assert log == [("causal_attention_varlen", "cpp")] * 2 + [("decode_attention", "cpp")] * 14


@needs_native
def test_a_prompt_may_be_read_in_pieces():
    model, ids = llama().eval(), torch.randint(1, 60, (2, 12))
    keys = padding("left", (12, 9), 12)
    with torch.no_grad():
        expected = on(model, "sdpa")(ids, attention_mask=keys).logits
        on(model, "groundup")
        cache, pieces = transformers.DynamicCache(config=model.config), []
        for begin, end in ((0, 5), (5, 6), (6, 12)):
            out = model(
                ids[:, begin:end], attention_mask=keys[:, :end], past_key_values=cache,
                position_ids=torch.arange(begin, end)[None].expand(2, -1),
            )  # fmt: skip
            pieces.append(out.logits)
        whole = on(model, "sdpa")(
            ids, attention_mask=keys, position_ids=torch.arange(12)[None].expand(2, -1)
        ).logits
    real = keys.bool()
    torch.testing.assert_close(torch.cat(pieces, 1)[real], whole[real], rtol=1e-4, atol=1e-5)
    assert expected.shape == whole.shape


@pytest.mark.parametrize("side", ["left", "none"])
def test_a_sliding_window_is_sdpas(side):
    model, ids = mistral(), torch.randint(1, 60, (3, 20))
    keys = padding(side, (20, 7, 13), 20) if side == "left" else torch.ones(3, 20).long()
    expected = on(model, "sdpa")(ids, attention_mask=keys).logits
    logits = on(model, "groundup")(ids, attention_mask=keys).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@needs_native
def test_softcap_is_eagers_in_causal_layers():
    model, ids = gemma2(), torch.randint(1, 60, (3, 20))
    keys = padding("left", (20, 7, 13), 20)
    expected = on(model, "eager")(ids, attention_mask=keys).logits
    logits = on(model, "groundup")(ids, attention_mask=keys).logits
    torch.testing.assert_close(logits[keys.bool()], expected[keys.bool()], rtol=1e-4, atol=1e-5)


def test_packed_sequences_and_own_masks_are_sdpas():
    model, ids = llama(), torch.randint(1, 60, (1, 12))
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]])
    own = torch.ones(12, 12, dtype=torch.bool).tril()[None, None].clone()
    own[..., 3:, 1] = False
    for given in ({"position_ids": positions}, {"attention_mask": own}):
        expected = on(model, "sdpa")(ids, **given).logits
        torch.testing.assert_close(
            on(model, "groundup")(ids, **given).logits, expected, rtol=1e-4, atol=1e-5
        )


def test_an_encoder_stays_bidirectional():
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model, ids = transformers.BertModel(config), torch.randint(1, 60, (3, 20))
    for keys in (None, padding("right", (20, 7, 13), 20)):
        expected = on(model, "sdpa")(ids, attention_mask=keys).last_hidden_state
        ours = on(model, "groundup")(ids, attention_mask=keys).last_hidden_state
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@needs_native
def test_compiled_without_padding():
    torch._dynamo.reset()
    model, ids = on(gpt2().eval(), "groundup"), torch.randint(1, 60, (2, 20))
    expected = model(ids).logits
    compiled = torch.compile(lambda ids: model(ids, use_cache=False).logits, backend="aot_eager")
    torch.testing.assert_close(compiled(ids), expected, rtol=1e-4, atol=1e-5)


def test_what_neither_has_raises_a_sentence():
    module, tensors = torch.nn.Module(), [torch.randn(1, 2, 4, 8) for _ in range(3)]
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"has no sinks \(s_aux\).*eager"):
        attention(module, *tensors, mask, s_aux=torch.zeros(2))
    with pytest.raises(ValueError, match="softcap for causal layers, padded on one side"):
        attention(module, *tensors, mask, softcap=2.0)


def test_gu_names_it():
    assert gu.plugs.transformers_attention() == "groundup"
