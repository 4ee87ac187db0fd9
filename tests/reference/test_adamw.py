"""The plain AdamW walks where torch's walks."""

import numpy as np
import pytest
import torch

from groundup.reference.adamw import AdamW, AdamWState, adamw_step, clip_grad_norm
from groundup.reference.tensor import Tensor

OPTIONS = {
    "plain": {},
    "no_decay": {"weight_decay": 0.0},
    "amsgrad": {"amsgrad": True},
    "maximize": {"maximize": True},
    "everything": {
        "lr": 0.03,
        "betas": (0.0, 0.5),
        "eps": 1e-3,
        "weight_decay": 0.3,
        "amsgrad": True,
        "maximize": True,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_twenty_steps_are_torchs(options):
    generator = np.random.default_rng(0)
    param = generator.standard_normal((5, 3))
    theirs = torch.nn.Parameter(torch.tensor(param))
    optimizer = torch.optim.AdamW([theirs], **options)
    state = AdamWState(param)
    for _ in range(20):
        grad = generator.standard_normal((5, 3)) * generator.choice([0.0, 1e-3, 1.0, 1e3])
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        adamw_step(param, grad, state, **options)
    np.testing.assert_allclose(param, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    saved = optimizer.state[theirs]
    assert saved["step"] == state.step
    np.testing.assert_allclose(state.exp_avg, saved["exp_avg"].numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(state.exp_avg_sq, saved["exp_avg_sq"].numpy(), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6, np.inf, np.nan])
def test_clipping_is_torchs(scale):
    generator = np.random.default_rng(1)
    grads = [generator.standard_normal(size) for size in (4, 1, 7)]
    grads[1] *= scale
    params = [torch.nn.Parameter(torch.zeros(len(grad), dtype=torch.float64)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.tensor(grad)
    expected = torch.nn.utils.clip_grad_norm_(params, 2.0)
    with np.errstate(invalid="ignore"):
        norm = clip_grad_norm(grads, 2.0)
    np.testing.assert_allclose(norm, expected.item(), rtol=1e-12)
    for param, grad in zip(params, grads, strict=True):
        np.testing.assert_allclose(grad, param.grad.numpy(), rtol=1e-12)


def test_the_first_step_has_length_lr_whatever_the_gradients_size():
    param, grad = np.zeros(2), np.array([1e-4, -1e4])
    adamw_step(param, grad, AdamWState(param), lr=0.1, weight_decay=0.0)
    np.testing.assert_allclose(param, [-0.1, 0.1], rtol=1e-3)


def test_a_model_takes_torchs_steps_and_waits_for_gradients():
    ours = [Tensor(np.arange(3.0)), Tensor(np.ones((2, 2)))]
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    optimizer = torch.optim.AdamW(theirs, lr=0.01, betas=(0.8, 0.9))
    mine = AdamW(ours, betas=(0.8, 0.9))
    for step in range(3):
        ours[0].grad = np.array([1.0, -2.0, 0.5]) * (step + 1)
        theirs[0].grad = torch.tensor(ours[0].grad)
        mine.step(0.01)
        optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(ours[1].data, np.ones((2, 2)))
