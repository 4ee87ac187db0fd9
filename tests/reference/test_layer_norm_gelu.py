"""The plain layer_norm and gelu are torch's in float64, gradients too."""

import doctest

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from groundup.reference import gelu as reference_gelu
from groundup.reference import layer_norm as reference_layer_norm
from groundup.reference.gelu import gelu, gelu_backward
from groundup.reference.layer_norm import layer_norm, layer_norm_backward


@pytest.mark.parametrize("module", [reference_gelu, reference_layer_norm])
def test_the_examples_in_the_text_hold(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 64)])
def test_layer_norm_and_its_gradients_are_torchs(shape, affine):
    generator = np.random.default_rng(0)
    x, dy = generator.standard_normal(shape) * 3 + 1, generator.standard_normal(shape)
    weight, bias = generator.standard_normal((2, shape[1])) if affine else (None, None)
    leaves = [None if a is None else torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    out = F.layer_norm(leaves[0], shape[1:], *leaves[1:])
    np.testing.assert_allclose(layer_norm(x, weight, bias), out.detach().numpy(), atol=1e-12)
    out.backward(torch.tensor(dy))
    ours = layer_norm_backward(dy, x, weight)
    for grad, leaf in zip(ours, leaves, strict=True):
        if leaf is not None:
            np.testing.assert_allclose(grad, leaf.grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_gradient_are_torchs(approximate):
    x = np.linspace(-8, 8, 1001)
    dy = np.cos(x)
    leaf = torch.tensor(x, requires_grad=True)
    out = F.gelu(leaf, approximate=approximate)
    np.testing.assert_allclose(gelu(x, approximate), out.detach().numpy(), atol=1e-14)
    out.backward(torch.tensor(dy))
    np.testing.assert_allclose(gelu_backward(dy, x, approximate), leaf.grad.numpy(), atol=1e-13)
