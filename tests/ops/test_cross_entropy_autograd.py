"""What autograd may ask of cross_entropy: answered right, or refused in a sentence."""

import pytest
import torch
from ops.cross_entropy_cases import implementations, run
from torch.autograd import forward_ad
from torch.nn import functional as F

import groundup as gu
from groundup.ops import native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
kernels = pytest.mark.parametrize(
    "implementation", [p for p in implementations() if p.values != ("torch",)]
)


def problem(n_rows=6, n_classes=11):
    return torch.randn(n_rows, n_classes), torch.randint(0, n_classes, (n_rows,))


@kernels
def test_a_second_derivative_raises_and_never_returns_a_number(implementation):
    logits, target = problem()
    logits.requires_grad_()
    with gu.use(f"cross_entropy={implementation}"):
        loss = gu.cross_entropy(logits.sin(), target)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    assert gradient.requires_grad
    with pytest.raises(RuntimeError, match=r"cross_entropy cannot be differentiated twice.*torch"):
        gradient.square().sum().backward()


@needs_native
def test_the_registered_operator_refuses_a_second_derivative_too():
    logits, target = problem()
    logits.requires_grad_()
    options = (-100, 1, 0.0, 0.0, 0.0)
    loss = torch.ops.groundup.cross_entropy(logits.sin(), target, None, *options)[0]
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="cross_entropy cannot be differentiated twice"):
        gradient.square().sum().backward()


def test_torch_has_the_second_derivative():
    logits, target = problem()
    hessian = torch.autograd.functional.hessian
    with gu.use("cross_entropy=torch"):
        ours = hessian(lambda x: gu.cross_entropy(x, target), logits)
    torch.testing.assert_close(ours, hessian(lambda x: F.cross_entropy(x, target), logits))


@kernels
def test_functorch_transforms_raise(implementation):
    logits, target = problem()
    with gu.use(f"cross_entropy={implementation}"):
        for transform in (
            lambda: torch.func.grad(lambda x: gu.cross_entropy(x, target))(logits),
            lambda: torch.vmap(lambda x: gu.cross_entropy(x, target))(logits.expand(2, 6, 11)),
            lambda: torch.func.jvp(lambda x: gu.cross_entropy(x, target), (logits,), (logits,)),
        ):
            with pytest.raises(RuntimeError, match="does not run inside torch"):
                transform()


def test_torch_runs_under_functorch():
    logits, target = problem()
    with gu.use("cross_entropy=torch"):
        gradient = torch.func.grad(lambda x: gu.cross_entropy(x, target))(logits)
        losses = torch.vmap(lambda x: gu.cross_entropy(x, target))(logits.expand(2, 6, 11))
    expected = torch.func.grad(lambda x: F.cross_entropy(x, target))(logits)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(losses, F.cross_entropy(logits, target).expand(2))


@kernels
def test_a_forward_mode_tangent_raises(implementation):
    logits, target = problem()
    with gu.use(f"cross_entropy={implementation}"), forward_ad.dual_level():
        gu.cross_entropy(logits, target)  # without a tangent nothing is lost
        dual = forward_ad.make_dual(logits, torch.ones_like(logits))
        with pytest.raises(RuntimeError, match="no forward-mode derivative and input carries"):
            gu.cross_entropy(dual, target)


@needs_native
def test_a_change_between_forward_and_backward_raises():
    logits, target = problem()
    logits = logits.requires_grad_() * 1
    loss = gu.cross_entropy(logits, target)
    logits.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@needs_native
def test_a_retained_graph_runs_backward_twice():
    logits, target = problem()
    logits.requires_grad_()
    loss = gu.cross_entropy(logits, target)
    loss.backward(retain_graph=True)
    once = logits.grad.clone()
    loss.backward()
    torch.testing.assert_close(logits.grad, 2 * once)


@needs_native
def test_saved_tensor_hooks_and_checkpointing_see_what_is_saved():
    logits, target = problem()
    expected = run("cpp", logits, target)
    leaf = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t.clone()):
        gu.cross_entropy(leaf, target).backward()
    torch.testing.assert_close(leaf.grad, expected[1])
    leaf = logits.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(
        gu.cross_entropy, leaf, target, use_reentrant=False
    ).backward()
    torch.testing.assert_close(leaf.grad, expected[1])


def test_without_gradient_nothing_is_recorded():
    logits, target = problem()
    logits.requires_grad_()
    with torch.no_grad():
        assert not gu.cross_entropy(logits, target).requires_grad
    with torch.inference_mode():
        assert not gu.cross_entropy(logits * 1, target, inplace=True).requires_grad
