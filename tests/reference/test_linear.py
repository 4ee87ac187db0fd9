"""The plain linear layer is torch's in float64, gradients too."""

import doctest

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from groundup.reference import linear as reference


def test_the_examples_in_the_text_hold():
    found = doctest.testmod(reference)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 3, 7), (0, 3, 2), (2, 0, 3)])
def test_linear_and_its_gradients_are_torchs(sizes, with_bias):
    n_rows, n_in, n_out = sizes
    generator = np.random.default_rng(0)
    x, weight, bias, dy = (
        generator.standard_normal(shape)
        for shape in ((n_rows, n_in), (n_out, n_in), (n_out,), (n_rows, n_out))
    )
    leaves = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias)]
    out = F.linear(*leaves) if with_bias else F.linear(*leaves[:2])
    ours = reference.linear(x, weight, bias if with_bias else None)
    np.testing.assert_allclose(ours, out.detach().numpy(), atol=1e-12)
    out.backward(torch.tensor(dy))
    grads = reference.linear_backward(dy, x, weight)
    for grad, leaf in zip(grads, leaves if with_bias else leaves[:2], strict=False):
        np.testing.assert_allclose(grad, leaf.grad.numpy(), atol=1e-12)
