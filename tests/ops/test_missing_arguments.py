"""None, and text, where a tensor or a number belongs: a sentence that names the argument."""

import pytest
import torch

import groundup as gu

X, W = torch.randn(4, 4), torch.randn(4, 4)
Q = torch.randn(1, 1, 4, 4)
PACKED = torch.randn(4, 1, 4)
STARTS = torch.tensor([0, 4])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gu.linear(None, W), "input: expected a torch.Tensor, got NoneType"),
        (lambda: gu.linear(X, None), "weight: expected a torch.Tensor, got NoneType"),
        (lambda: gu.mlp(X, None, None, W, None), "weight: expected a torch.Tensor, got NoneType"),
        (lambda: gu.mlp(X, W, None, None, None), "weight: expected a torch.Tensor, got NoneType"),
        (lambda: gu.layer_norm(None, 4), "input: expected a torch.Tensor, got NoneType"),
        (lambda: gu.layer_norm(X, None), "normalized_shape: expected the sizes .* got NoneType"),
        (lambda: gu.add_layer_norm(X, None, 4), "residual: expected a torch.Tensor, got NoneType"),
        (
            lambda: gu.causal_attention_varlen(PACKED, PACKED, PACKED, None),
            "cu_seqlens_q: expected a torch.Tensor, got NoneType",
        ),
        (lambda: gu.causal_attention(Q, Q, Q, dropout_p="0"), "dropout_p: expected a number"),
        (lambda: gu.causal_attention(Q, Q, Q, scale="1"), "scale: expected a number, got str"),
        (lambda: gu.optim.AdamW([X], max_grad_norm="1"), "max_grad_norm: expected a number"),
    ],
)
def test_a_sentence_names_the_argument(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_window_wider_than_any_sequence_is_none():
    wide = gu.causal_attention(Q, Q, Q, window_size=(2**70, 0))
    assert torch.equal(wide, gu.causal_attention(Q, Q, Q))
    rows = gu.causal_attention_varlen(PACKED, PACKED, PACKED, STARTS, window_size=(2**70, 0))
    torch.testing.assert_close(rows, gu.causal_attention_varlen(PACKED, PACKED, PACKED, STARTS))
