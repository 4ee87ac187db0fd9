"""Inside plugs.torch_sdpa, torch's own attention is ours, and outside it is torch's again."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import groundup as gu
from groundup import plugs
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
torchs = F.scaled_dot_product_attention


def example():
    return tuple(torch.randn(2, 4, 9, 8) for _ in range(3))


@needs_native
def test_calls_through_the_module_reach_the_kernel_and_give_the_same():
    tensors = example()
    expected = F.scaled_dot_product_attention(*tensors, is_causal=True)
    with plugs.torch_sdpa(), dispatch.ran() as log:
        out = torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True)
    assert log == [("causal_attention", "cpp")]
    torch.testing.assert_close(out, expected)
    with dispatch.ran() as log:
        F.scaled_dot_product_attention(*tensors, is_causal=True)
    assert log == []


@needs_native
def test_a_transformer_layer_of_torchs_reaches_it():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    x, mask = torch.randn(2, 9, 16), nn.Transformer.generate_square_subsequent_mask(9)
    expected = layer(x, src_mask=mask, is_causal=True)
    with plugs.torch_sdpa(), dispatch.ran() as log:
        out = layer(x, src_mask=mask, is_causal=True)
    assert log == [("causal_attention", "cpp")]
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("form", ["torch", "reference"])
def test_forms_that_stand_on_torchs_function_do_not_call_themselves(form):
    tensors = example()
    expected = F.scaled_dot_product_attention(*tensors, is_causal=True)
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    with plugs.torch_sdpa(), gu.use(f"causal_attention={form}"):
        for options in ({"is_causal": True}, {"attn_mask": mask}):
            out = F.scaled_dot_product_attention(*tensors, **options)
            torch.testing.assert_close(out, expected)
        with gu.use("decode_attention=torch"):
            gu.decode_attention(*tensors, 5)


def test_blocks_may_overlap_and_the_last_gives_it_back():
    first = plugs.torch_sdpa()
    second = plugs.torch_sdpa()
    first.undo()
    first.undo()
    assert F.scaled_dot_product_attention is gu.scaled_dot_product_attention
    second.undo()
    assert F.scaled_dot_product_attention is torchs
    with pytest.raises(KeyError), plugs.torch_sdpa():
        raise KeyError
    assert F.scaled_dot_product_attention is torchs


def test_another_replacement_is_left_alone(monkeypatch):
    plug = plugs.torch_sdpa()
    monkeypatch.setattr(F, "scaled_dot_product_attention", example)
    plug.undo()
    assert F.scaled_dot_product_attention is example
    monkeypatch.setattr(F, "scaled_dot_product_attention", torchs)


@needs_native
def test_compiled_code_follows():
    torch._dynamo.reset()
    tensors = example()
    compiled = torch.compile(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        fullgraph=True,
        backend="aot_eager",
    )
    expected = compiled(*tensors)
    with plugs.torch_sdpa(), dispatch.ran() as log:
        torch.testing.assert_close(compiled(*tensors), expected)
    assert log == [("causal_attention", "cpp")]
    with dispatch.ran() as log:
        compiled(*tensors)
    assert log == []
