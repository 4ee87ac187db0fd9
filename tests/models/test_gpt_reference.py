"""A whole training step on the references: GPT, loss, gradients and AdamW, all through NumPy."""

import pytest
import torch
from compare import assert_error_like_eager

import groundup as gu
from groundup.models import GPT, GPTConfig
from groundup.ops import dispatch

# As large as the demo's.
CONFIG = GPTConfig(vocab_size=512, n_positions=64, n_embd=256, n_layer=2, n_head=4)
SHAPE = (6, 64)


def trained_one_step(form, dtype):
    """(logits, loss, gradients, parameters after the step, what ran)"""
    torch.manual_seed(0)
    model = GPT(CONFIG).to(dtype)
    # The first update is g / (|g| + eps): with a smaller eps a gradient near 0, where all the
    # digits are rounding, would decide over a whole matrix's error.
    optimizer = gu.optim.AdamW(model.parameters(), eps=1e-5, max_grad_norm=1.0)
    ids, targets = torch.randint(CONFIG.vocab_size, (2, *SHAPE))
    targets[0, :5] = -100
    with gu.use(form), dispatch.ran() as log:
        logits = model(ids).detach().clone()
        loss = model.loss(ids, targets)
        loss.backward()
        optimizer.step()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return logits, loss.detach(), gradients, parameters, set(log)


@pytest.fixture(scope="module")
def steps():
    return (
        trained_one_step("reference", torch.float32),
        trained_one_step("torch", torch.float32),
        trained_one_step("torch", torch.float64),
    )


def test_every_op_of_the_step_ran_on_its_reference(steps):
    ops = ("causal_attention", "layer_norm", "linear", "cross_entropy", "adamw")
    assert steps[0][-1] == {(op, "reference") for op in ops}


def test_logits_and_loss_err_like_torchs(steps):
    logits, losses, *_ = zip(*steps, strict=True)
    assert_error_like_eager(*logits, name="logits")
    assert_error_like_eager(*losses, name="loss")


def test_gradients_and_updated_parameters_err_like_torchs(steps):
    for column, kind in ((2, "gradients"), (3, "parameters")):
        for name in steps[0][column]:
            triple = (step[column][name] for step in steps)
            assert_error_like_eager(*triple, kind="gradient", name=f"{kind} of {name}")
