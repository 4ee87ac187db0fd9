"""AdamW on torch: its trajectory and state bit by bit, and the three options of our own."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import groundup as gu
from groundup.ops import dispatch

OPTIONS = {
    "default": {},
    "foreach": {"foreach": True},
    "for_loop": {"foreach": False},
    "fused": {"fused": True},
    "amsgrad": {"amsgrad": True},
    "maximize": {"maximize": True},
    "tensor_lr": {"lr": torch.tensor(1e-2)},
    "no_decay": {"weight_decay": 0.0, "betas": (0.5, 0.9), "eps": 1e-4},
}


@pytest.fixture(autouse=True)
def _on_torch():
    with gu.use("adamw=torch"):
        yield


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 3), (7,), (), (0,))
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def set_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)


def train(optimizer, params, steps, start=0, before=lambda params: None):
    for step in range(start, start + steps):
        set_gradients(params, step)
        before(params)
        optimizer.step()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_trajectory_is_torchs(options):
    ours, theirs = parameters(), parameters()
    train(gu.optim.AdamW(ours, **options), ours, 10)
    train(torch.optim.AdamW(theirs, **options), theirs, 10)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_state_dicts_go_both_ways(options):
    classes = (gu.optim.AdamW, torch.optim.AdamW)
    for first, second in (classes, classes[::-1]):
        straight, broken = parameters(), parameters()
        train(first(straight, **options), straight, 10)
        optimizer = first(broken, **options)
        train(optimizer, broken, 5)
        resumed = second(broken, **options)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        train(resumed, broken, 5, start=5)
        torch.testing.assert_close(broken, straight, rtol=0, atol=0)


def test_the_state_dict_has_torchs_keys():
    ours, theirs = parameters(), parameters()
    options = {"max_grad_norm": 1.0, "zero_grad_after_step": True}
    state = gu.optim.AdamW(ours, **options).state_dict()
    expected = torch.optim.AdamW(theirs).state_dict()
    assert state["param_groups"] == expected["param_groups"]


def test_loading_torchs_keeps_our_own_options():
    optimizer = gu.optim.AdamW(
        parameters(), max_grad_norm=1.0, zero_grad_after_step=True, state_dtype=torch.bfloat16
    )
    theirs = parameters()
    source = torch.optim.AdamW(theirs, lr=0.5)
    train(source, theirs, 2)
    optimizer.load_state_dict(source.state_dict())
    assert optimizer.max_grad_norm == 1.0
    assert optimizer.zero_grad_after_step
    assert optimizer.param_groups[0]["lr"] == 0.5
    for state in optimizer.state.values():
        assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is torch.bfloat16


def test_groups_keep_their_own_settings():
    def groups(params):
        return [
            {"params": params[:2], "weight_decay": 0.1},
            {"params": params[2:], "lr": 1e-2, "weight_decay": 0.0},
        ]

    ours, theirs = parameters(), parameters()
    train(gu.optim.AdamW(groups(ours)), ours, 5)
    train(torch.optim.AdamW(groups(theirs)), theirs, 5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_clipping_is_clip_grad_norm_over_all_groups():
    ours, theirs = parameters(), parameters()
    norms = []

    def clip(params):
        norms.append(nn.utils.clip_grad_norm_(params, 0.5))

    optimizer = gu.optim.AdamW([{"params": ours[:1]}, {"params": ours[1:]}], max_grad_norm=0.5)
    assert optimizer.grad_norm is None
    train(optimizer, ours, 5)
    train(torch.optim.AdamW(theirs), theirs, 5, before=clip)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.grad_norm, norms[-1])


@pytest.mark.parametrize("zero", [False, True])
def test_gradients_are_gone_after_the_step_if_asked(zero):
    params = parameters()
    train(gu.optim.AdamW(params, zero_grad_after_step=zero), params, 1)
    assert all((param.grad is None) == zero for param in params)


def test_parameters_without_gradient_stay():
    params = parameters()
    before = params[0].detach().clone()
    optimizer = gu.optim.AdamW(params, max_grad_norm=1.0)
    optimizer.step()
    assert torch.equal(params[0], before)


def test_the_closure_is_evaluated_with_gradients_before_the_clip():
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = gu.optim.AdamW([weight], max_grad_norm=1.0, zero_grad_after_step=True)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert optimizer.grad_norm.item() == pytest.approx(6.0)


def test_step_hooks_run_once():
    torch.optim.AdamW(parameters())  # wraps torch's own step
    params, seen = parameters(), []
    optimizer = gu.optim.AdamW(params)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    train(optimizer, params, 1)
    assert seen == ["before", "after"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_wider_or_narrower_state_stays_near_the_exact_trajectory(dtype, amsgrad):
    exact = parameters(torch.float64)
    train(torch.optim.AdamW(exact, lr=1e-2, amsgrad=amsgrad), exact, 20)
    errors = {}
    for state_dtype in (torch.float32, torch.bfloat16, torch.float16):
        params = parameters(dtype)
        optimizer = gu.optim.AdamW(params, lr=1e-2, amsgrad=amsgrad, state_dtype=state_dtype)
        train(optimizer, params, 20)
        assert {optimizer.state[p]["exp_avg"].dtype for p in params} == {state_dtype}
        assert {optimizer.state[p]["step"].dtype for p in params} == {torch.float32}
        assert params[0].dtype is dtype
        errors[state_dtype] = max(
            (p - e).abs().max().item() for p, e in zip(params[:2], exact[:2], strict=True)
        )
    if dtype is torch.float32:
        assert errors[torch.float32] < 1e-5
    assert max(errors.values()) < 0.05


def test_a_float32_state_of_bfloat16_parameters_survives_saving():
    params = parameters(torch.bfloat16)
    optimizer = gu.optim.AdamW(params, state_dtype=torch.float32)
    train(optimizer, params, 3)
    twin = gu.optim.AdamW(params, state_dtype=torch.float32)
    twin.load_state_dict(optimizer.state_dict())
    for param in params:
        for key in ("exp_avg", "exp_avg_sq"):
            ours, theirs = twin.state[param][key], optimizer.state[param][key]
            assert torch.equal(ours, theirs)
            assert ours.data_ptr() != theirs.data_ptr() or not ours.numel()


def test_a_scheduler_drives_it():
    params = parameters()
    optimizer = gu.optim.AdamW(params, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    train(optimizer, params, 1)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_which_implementation_ran():
    params = parameters()
    with dispatch.ran() as log:
        train(gu.optim.AdamW(params), params, 2)
    assert log == [("adamw", "torch")] * 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("exp_avg_sq"), "one has no exp_avg_sq; load a state_dict that"),
        (
            lambda state: state.update(exp_avg=torch.zeros(4, 4)),
            r"state: expected exp_avg in its parameter's shape \(5, 3\), got \(4, 4\); load",
        ),
    ],
)
def test_a_state_that_is_not_the_parameters_is_refused(damage, message):
    param = torch.nn.Parameter(torch.ones(5, 3))
    param.grad = torch.ones(5, 3)
    optimizer = gu.optim.AdamW([param])
    optimizer.step()
    saved, before = optimizer.state_dict(), param.detach().clone()
    damage(saved["state"][0])
    optimizer.load_state_dict(saved)
    with gu.use("adamw=reference"), pytest.raises(ValueError, match=message):
        optimizer.step()
    assert torch.equal(param, before)


def test_sparse_gradients_raise():
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = gu.optim.AdamW(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"expected dense gradients.*\(5, 3\).*sparse=False"):
        optimizer.step()


@pytest.mark.parametrize(
    ("param", "kind"),
    [
        (nn.Parameter(torch.zeros(2, dtype=torch.complex64)), "complex"),
        (torch.zeros(2, 2).to_sparse().requires_grad_(), "sparse"),
    ],
    ids=["complex", "sparse"],
)
def test_complex_and_sparse_parameters_raise(param, kind):
    with pytest.raises(TypeError, match=f"got a {kind} one at position 1 of its group"):
        gu.optim.AdamW([nn.Parameter(torch.zeros(1)), param])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_grad_norm": 0.0}, "max_grad_norm: expected a positive finite number or None, got"),
        ({"max_grad_norm": math.inf}, "max_grad_norm: expected a positive finite number or None"),
        ({"state_dtype": torch.int8}, "state_dtype: expected torch.float32, torch.bfloat16, tor"),
        (
            {"state_dtype": torch.float32, "differentiable": True},
            "state_dtype: the step through it cannot be differentiable=True",
        ),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
    ],
)
def test_bad_options_raise_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        gu.optim.AdamW(parameters(), **options)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))],  # noqa: S301
    ids=["deepcopy", "pickle"],
)
def test_a_copy_goes_on_with_the_same_options(copied):
    ours = parameters()
    optimizer = gu.optim.AdamW(
        ours, max_grad_norm=0.5, zero_grad_after_step=True, state_dtype=torch.bfloat16
    )
    train(optimizer, ours, 3)
    twin = copied(optimizer)
    theirs = twin.param_groups[0]["params"]
    train(optimizer, ours, 3, start=3)
    train(twin, theirs, 3, start=3)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    assert twin.grad_norm == optimizer.grad_norm


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_grad_scalers_factor_does_not_count_in_the_norm(fused):
    ours, theirs = parameters(), parameters()
    optimizer = gu.optim.AdamW(ours, eps=0.1, fused=fused, max_grad_norm=0.5)
    plain = torch.optim.AdamW(theirs, eps=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        set_gradients(theirs, step)
        norm = nn.utils.clip_grad_norm_(theirs, 0.5)
        plain.step()
        set_gradients(ours, step)
        scaler.scale(torch.zeros(()))  # the factor comes into being with its first use
        for param in ours:
            param.grad.mul_(1024.0)
        scaler.step(optimizer)
        scaler.update()
        torch.testing.assert_close(optimizer.grad_norm, norm)
    torch.testing.assert_close(ours, theirs)
