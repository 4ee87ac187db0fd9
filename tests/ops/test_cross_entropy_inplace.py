"""inplace=True: the gradient lies where the logits were, and no wrong number can come of it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import groundup as gu
from groundup.ops import native

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))


def head(n_rows=6, width=5, n_classes=11):
    """(input, weight, target) of a linear layer whose backward does not need its output."""
    hidden = torch.randn(n_rows, width, requires_grad=True)
    weight = torch.randn(n_classes, width, requires_grad=True)
    return hidden, weight, torch.randint(0, n_classes, (n_rows,))


def gradients(loss_of, hidden, weight):
    return torch.autograd.grad(loss_of(F.linear(hidden, weight)), (hidden, weight))


def test_logits_of_a_matmul_are_overwritten_by_their_gradient():
    hidden, weight, target = head()
    expected = gradients(lambda x: F.cross_entropy(x, target), hidden, weight)
    logits = F.linear(hidden, weight)
    loss = gu.cross_entropy(logits, target, inplace=True)
    loss.backward()
    torch.testing.assert_close((hidden.grad, weight.grad), expected)
    torch.testing.assert_close(logits.sum(1), torch.zeros(6))


def test_a_view_of_the_logits_is_overwritten_too():
    hidden, weight, target = head()
    expected = gradients(lambda x: F.cross_entropy(x, target), hidden, weight)
    logits = F.linear(hidden.view(2, 3, 5), weight)
    loss = gu.cross_entropy(logits.view(-1, 11), target, inplace=True)
    loss.backward()
    torch.testing.assert_close((hidden.grad, weight.grad), expected)
    torch.testing.assert_close(logits.sum(2), torch.zeros(2, 3))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_what_flows_in_scales_the_gradient(reduction):
    hidden, weight, target = head()
    upstream = torch.randn(6 if reduction == "none" else ())

    def ours(logits):
        loss = gu.cross_entropy(logits, target, reduction=reduction, inplace=True)
        return (loss * upstream).sum()

    def theirs(logits):
        return (F.cross_entropy(logits, target, reduction=reduction) * upstream).sum()

    torch.testing.assert_close(gradients(ours, hidden, weight), gradients(theirs, hidden, weight))


def test_a_leaf_that_requires_grad_raises_torchs_error():
    logits = torch.randn(4, 7, requires_grad=True)
    target = torch.zeros(4, dtype=torch.int64)
    for leaf in (logits, logits.view(4, 7)):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad is being used"):
            gu.cross_entropy(leaf, target, inplace=True)


def test_a_second_backward_raises():
    hidden, weight, target = head()
    loss = gu.cross_entropy(F.linear(hidden, weight), target, inplace=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="cannot run backward a second time; pass inplace=False"):
        loss.backward()


def test_create_graph_raises():
    hidden, weight, target = head()
    loss = gu.cross_entropy(F.linear(hidden, weight), target, inplace=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated with create_graph=True"):
        torch.autograd.grad(loss, hidden, create_graph=True)


LATER = {
    "before": lambda logits, loss, early: loss + early,
    "after": lambda logits, loss, early: loss + logits.sum(),
    "after_first": lambda logits, loss, early: logits.sum() + loss,
    "after_only": lambda logits, loss, early: logits.sum(),
    "saved_after": lambda logits, loss, early: loss + logits.square().sum(),
    "a_view_after": lambda logits, loss, early: loss + logits.view(-1)[3:].sum(),
    "two_losses": lambda logits, loss, early: (
        loss + gu.cross_entropy(logits.view(6, 11), torch.zeros(6, dtype=torch.int64), inplace=True)
    ),
}


@pytest.mark.parametrize("as_view", [False, True], ids=["logits", "view"])
@pytest.mark.parametrize("later", LATER.values(), ids=LATER.keys())
def test_another_use_of_the_logits_in_autograd_raises(as_view, later):
    hidden, weight, target = head()
    logits = F.linear(hidden.view(2, 3, 5) if as_view else hidden, weight)
    early = logits.square().sum()
    loss = gu.cross_entropy(logits.view(6, 11), target, inplace=True)
    with pytest.raises(RuntimeError, match="inplace"):
        later(logits, loss, early).backward()


def test_a_use_that_does_not_touch_autograd_is_free_before():
    hidden, weight, target = head()
    logits = F.linear(hidden, weight)
    top = logits.detach().argmax(1)
    gu.cross_entropy(logits, target, inplace=True).backward()
    assert top.shape == (6,)


def test_an_activation_that_saved_its_output_raises_torchs_error():
    hidden, weight, target = head()
    loss = gu.cross_entropy(torch.tanh(F.linear(hidden, weight)), target, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_part_of_a_larger_tensor_is_left_alone_and_right():
    hidden, weight, target = head()
    expected = gradients(lambda x: F.cross_entropy(x[1:], target[1:]) + x.sum(), hidden, weight)
    logits = F.linear(hidden, weight)
    before = logits.detach().clone()
    loss = gu.cross_entropy(logits[1:], target[1:], inplace=True) + logits.sum()
    torch.testing.assert_close(logits, before)
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden, weight)), expected)


def test_a_bad_target_leaves_the_logits_and_their_graph_as_they_were():
    hidden, weight, _ = head()
    logits = F.linear(hidden, weight)
    before = logits.detach().clone()
    with pytest.raises(IndexError, match="got 11 at row 2"):
        gu.cross_entropy(logits, torch.tensor([0, 1, 11, 0, 0, 0]), inplace=True)
    torch.testing.assert_close(logits, before)
    logits.sum().backward()
    assert hidden.grad is not None


def test_without_gradient_nothing_is_overwritten():
    logits, target = torch.randn(4, 7), torch.zeros(4, dtype=torch.int64)
    before = logits.clone()
    gu.cross_entropy(logits, target, inplace=True)
    assert torch.equal(logits, before)


def test_gradients_accumulate_over_steps_of_a_model():
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 11))
    twin = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 11))
    twin.load_state_dict(model.state_dict())
    for _ in range(3):
        hidden, target = torch.randn(2, 4, 5), torch.randint(0, 11, (8,))
        (gu.cross_entropy(model(hidden).view(-1, 11), target, inplace=True) / 3).backward()
        (F.cross_entropy(twin(hidden).view(-1, 11), target) / 3).backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
