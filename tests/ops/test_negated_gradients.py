"""Gradients that arrive as lazily negated views, whose memory holds the negated numbers."""

import pytest
import torch

import groundup as gu

X, W, B = torch.randn(300, 300), torch.randn(300, 300), torch.randn(300)
Q, K, V = torch.randn(3, 2, 4, 40, 32).unbind()
TARGET = torch.randint(300, (300,))
STARTS = torch.tensor([0, 10, 40])

CALLS = {
    "linear": (gu.linear, (X, W, B)),
    "linear, gelu": (lambda *t: gu.linear(*t, activation="gelu_tanh"), (X, W, B)),
    "mlp": (gu.mlp, (X, W, B, W, B)),
    "layer_norm": (lambda x, w, b: gu.layer_norm(x, 300, w, b), (X, W[0], B)),
    "add_layer_norm": (lambda x, y: gu.add_layer_norm(x, y, 300)[0], (X, W)),
    "add_layer_norm, the sum": (lambda x, y: sum(gu.add_layer_norm(x, y, 300)), (X, W)),
    "gelu": (gu.gelu, (X,)),
    "causal_attention": (gu.causal_attention, (Q, K, V)),
    "qkvpacked": (gu.causal_attention_qkvpacked, (torch.randn(2, 40, 3, 4, 32),)),
    "varlen": (
        lambda *t: gu.causal_attention_varlen(*t, STARTS),
        tuple(torch.randn(40, 4, 32) for _ in range(3)),
    ),
    "cross_entropy": (lambda x: gu.cross_entropy(x, TARGET, reduction="none"), (X,)),
    "cross_entropy, its mean": (lambda x: gu.cross_entropy(x, TARGET), (X,)),
    "cross_entropy in place": (
        lambda x: gu.cross_entropy(x * 1, TARGET, reduction="none", inplace=True),
        (X,),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_negated_view_is_the_gradient_it_stands_for(name):
    call, tensors = CALLS[name]
    grads = []
    for negated in (False, True):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        out = call(*leaves)
        doutput = torch.linspace(-1, 1, out.numel()).view(out.shape)
        out.backward(torch._neg_view(doutput) if negated else -doutput)
        grads.append([leaf.grad for leaf in leaves])
    assert all(map(torch.equal, *grads))


def test_the_imaginary_part_of_a_conjugate_is_such_a_view():
    x = X.clone().requires_grad_()
    doutput = torch.complex(X, W).conj().imag
    gu.linear(x, W).backward(doutput)
    torch.testing.assert_close(x.grad, doutput.resolve_neg() @ W, rtol=1e-4, atol=1e-3)
