"""gu.optim.AdamW is torch's optimizer: the same walk, the same state, any options."""

import copy

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from optim.walks import parameters, same, set_gradients, steps

import groundup as gu
from groundup.ops import dispatch, native

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))

IMPLEMENTATIONS = dispatch.IMPLEMENTATIONS["adamw"]


@pytest.fixture
def forced():
    with gu.use("adamw=cpp"), dispatch.ran() as log:
        yield log


def test_the_kernel_is_what_runs_by_default():
    params = parameters()
    with dispatch.ran() as log:
        steps(gu.optim.AdamW(params), params, 1)
    assert log == [("adamw", "cpp")]


@settings(deadline=None, max_examples=40)
@given(
    lr=st.floats(0, 0.1),
    betas=st.tuples(st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([0.0, 0.5, 0.999])),
    weight_decay=st.sampled_from([0.0, 0.01, 1.0]),
    amsgrad=st.booleans(),
    maximize=st.booleans(),
    max_norm=st.sampled_from([None, 0.5, 1e6]),
)
def test_any_options_walk_where_torch_walks(lr, betas, weight_decay, amsgrad, maximize, max_norm):
    options = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
    options |= {"amsgrad": amsgrad, "maximize": maximize}
    ours, theirs = parameters(), parameters()
    mine = gu.optim.AdamW(ours, **options, max_grad_norm=max_norm)
    torchs = torch.optim.AdamW(theirs, **options)
    with gu.use("adamw=cpp"):
        for seed in range(3):
            set_gradients(seed, ours, theirs)
            if max_norm is not None:
                norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
            mine.step()
            torchs.step()
            if max_norm is not None:
                torch.testing.assert_close(mine.grad_norm, norm)
            same([p.grad for p in ours], [p.grad for p in theirs])
    same(ours, theirs)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_thousand_steps_end_as_near_to_float64_as_torchs(amsgrad, forced):
    shapes = ((7, 129),)
    ours, theirs, exact = (
        parameters(dtype, shapes) for dtype in (torch.float32, torch.float32, torch.float64)
    )
    with torch.no_grad():
        exact[0].copy_(ours[0])
    options = {"lr": 1e-2, "amsgrad": amsgrad}
    optimizers = (
        gu.optim.AdamW(ours, **options),
        torch.optim.AdamW(theirs, **options),
        torch.optim.AdamW(exact, **options),
    )
    for seed in range(1000):
        set_gradients(seed, ours, theirs, exact)
        for optimizer in optimizers[:2]:
            optimizer.step()
        with gu.use("adamw=torch"):
            optimizers[2].step()
    assert_error_like_eager(ours[0], theirs[0], exact[0])
    for key in ("exp_avg", "exp_avg_sq"):
        columns = [
            optimizer.state[params[0]][key]
            for optimizer, params in zip(optimizers, (ours, theirs, exact), strict=True)
        ]
        assert_error_like_eager(*columns, name=key)
    assert forced.count(("adamw", "cpp")) == 1000


def test_bfloat16_errs_like_torchs_fused_step(forced):
    ours, theirs = parameters(torch.bfloat16), parameters(torch.bfloat16)
    exact = [torch.nn.Parameter(p.detach().double()) for p in ours]
    optimizers = (
        gu.optim.AdamW(ours, lr=1e-2),
        torch.optim.AdamW(theirs, lr=1e-2, fused=True),
        torch.optim.AdamW(exact, lr=1e-2),
    )
    for seed in range(20):
        set_gradients(seed, ours, theirs)
        for param, like in zip(exact, ours, strict=True):
            param.grad = like.grad.double()
        for optimizer in optimizers:
            optimizer.step()
    for triple in zip(ours, theirs, exact, strict=True):
        assert_error_like_eager(*triple)
    assert optimizers[0].state[ours[0]]["exp_avg"].dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16])
def test_the_state_has_the_dtype_asked_for(dtype, state_dtype, forced):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = gu.optim.AdamW(ours, state_dtype=state_dtype)
    other = gu.optim.AdamW(theirs, state_dtype=state_dtype)
    for seed in range(4):
        set_gradients(seed, ours, theirs)
        optimizer.step()
        with gu.use("adamw=torch"):
            other.step()
    assert {s["exp_avg"].dtype for s in optimizer.state.values()} == {state_dtype}
    same(ours, theirs, rtol=2**-7 if dtype is torch.bfloat16 else 1e-5, atol=1e-4)


def test_values_that_are_not_finite_end_in_torchs_class(forced):
    values = torch.tensor([0.0, 1e-30, 1e20, 3e38, -3e38, np.inf, -np.inf, np.nan, 1e-45])
    ours, theirs = (torch.nn.Parameter(torch.ones(9)) for _ in range(2))
    optimizers = gu.optim.AdamW([ours]), torch.optim.AdamW([theirs])
    for _ in range(2):
        for param, optimizer in zip((ours, theirs), optimizers, strict=True):
            param.grad = values.clone()
            optimizer.step()
    assert_same_class(ours, theirs)
    same([ours[:3]], [theirs[:3]])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_norm_that_is_not_finite_clips_as_torch_does(value, forced):
    ours, theirs = parameters(), parameters()
    set_gradients(0, ours, theirs)
    ours[1].grad[0, 0] = theirs[1].grad[0, 0] = value
    optimizer = gu.optim.AdamW(ours, max_grad_norm=1.0)
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.optim.AdamW(theirs).step()
    for a, b in zip(ours, theirs, strict=True):
        assert_same_class(a, b)
        assert_same_class(a.grad, b.grad)


def test_groups_keep_their_own_options_and_a_tensor_lr(forced):
    def groups(params):
        return [
            {"params": params[:2], "lr": torch.tensor(0.03), "weight_decay": 0.5},
            {"params": params[2:3], "maximize": True, "betas": (0.5, 0.6)},
            {"params": params[3:], "amsgrad": True, "eps": 1e-2},
        ]

    ours, theirs = parameters(), parameters()
    steps(gu.optim.AdamW(groups(ours)), ours)
    steps(torch.optim.AdamW(groups(theirs)), theirs)
    same(ours, theirs)


def test_a_parameter_without_gradient_is_left_alone_and_counts_its_own_steps(forced):
    ours, theirs = parameters(), parameters()
    optimizers = gu.optim.AdamW(ours, max_grad_norm=0.1), torch.optim.AdamW(theirs)
    for seed in range(4):
        set_gradients(seed, ours, theirs)
        for params in (ours, theirs):
            params[seed % 3].grad = None
        torch.nn.utils.clip_grad_norm_(theirs, 0.1)
        for optimizer in optimizers:
            optimizer.step()
    same(ours, theirs)
    assert [optimizers[0].state[p]["step"] for p in ours] == [2, 3, 3, 4, 4]


def test_without_any_gradient_nothing_happens(forced):
    params = parameters()
    optimizer = gu.optim.AdamW(params, max_grad_norm=1.0)
    optimizer.step()
    assert optimizer.grad_norm == 0.0
    assert not optimizer.state


def test_a_closure_is_run_with_gradients_and_its_value_returned(forced):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = gu.optim.AdamW([param], zero_grad_after_step=True)

    def closure():
        loss = param.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure) == 3.0
    assert param.grad is None
    assert (param < 1).all()


@pytest.mark.parametrize("option", ["capturable", "differentiable"])
def test_options_of_graphs_run_on_torch(option):
    params = parameters()
    optimizer = gu.optim.AdamW(params, **{option: True})
    set_gradients(0, params)
    with (
        gu.use("adamw=cpp"),
        pytest.raises(RuntimeError, match="neither capturable=True nor differentiable=True"),
    ):
        optimizer.step()


@pytest.mark.parametrize("hint", [{"foreach": True}, {"foreach": False}, {"fused": True}])
def test_foreach_and_fused_are_accepted(hint, forced):
    ours, theirs = parameters(), parameters()
    steps(gu.optim.AdamW(ours, **hint), ours)
    steps(torch.optim.AdamW(theirs, **hint), theirs)
    same(ours, theirs)


@pytest.mark.parametrize("theirs_first", [True, False])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_state_dicts_go_both_ways_and_our_options_stay(theirs_first, amsgrad, forced):
    before, after = parameters(), parameters()
    classes = [torch.optim.AdamW, gu.optim.AdamW]
    own = {"max_grad_norm": 1e6, "state_dtype": torch.float32}
    made = [
        kind(params, lr=0.02, amsgrad=amsgrad, **(own if kind is gu.optim.AdamW else {}))
        for kind, params in zip(
            classes if theirs_first else classes[::-1], (before, after), strict=True
        )
    ]
    steps(made[0], before)
    with torch.no_grad():
        for a, b in zip(after, before, strict=True):
            a.copy_(b)
    saved = made[0].state_dict()
    assert all(type(s["step"]) is torch.Tensor for s in saved["state"].values())
    made[1].load_state_dict(copy.deepcopy(saved))
    steps(made[0], before, first=3)
    steps(made[1], after, first=3)
    same(after, before)
    mine = made[1] if theirs_first else made[0]
    assert (mine.max_grad_norm, mine.state_dtype) == (1e6, torch.float32)
    assert set(made[0].state_dict()["param_groups"][0]) == set(
        made[1].state_dict()["param_groups"][0]
    )


def test_a_copied_optimizer_keeps_its_options():
    params = parameters()
    optimizer = gu.optim.AdamW(params, max_grad_norm=0.5, zero_grad_after_step=True)
    steps(optimizer, params, 1)
    twin = copy.deepcopy(optimizer)
    assert twin.max_grad_norm == 0.5
    copies = twin.param_groups[0]["params"]
    steps(optimizer, params, 2, first=1)
    steps(twin, copies, 2, first=1)
    assert all(map(torch.equal, copies, params))
    assert copies[0].grad is None


def test_schedulers_and_hooks_see_a_torch_optimizer(forced):
    ours, theirs = parameters(), parameters()
    seen = []
    for params, kind in ((ours, gu.optim.AdamW), (theirs, torch.optim.AdamW)):
        optimizer = kind(params, lr=0.1)
        optimizer.register_step_post_hook(lambda *_: seen.append(1))
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6)
        for seed in range(5):
            set_gradients(seed, params)
            optimizer.step()
            scheduler.step()
    same(ours, theirs)
    assert len(seen) == 10


def test_a_graph_that_saved_a_parameter_notices_the_step(forced):
    param = torch.nn.Parameter(torch.ones(3))
    loss = param.square().sum()
    param.grad = torch.ones(3)
    gu.optim.AdamW([param]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
@pytest.mark.parametrize("fused", [None, True])
def test_a_grad_scaler_unscales_before_the_norm(max_grad_norm, fused):
    def train(kind, **options):
        (param,) = parameters(shapes=((5,),))
        optimizer = kind([param], lr=0.1, fused=fused, **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(torch.zeros(()))  # a scaler that scaled nothing refuses to step
        for seed in range(3):
            set_gradients(seed, [param], scale=1024.0)
            if kind is torch.optim.AdamW and max_grad_norm is not None:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_([param], max_grad_norm)
            scaler.step(optimizer)
            scaler.update(1024.0)
        return param

    same(
        [train(gu.optim.AdamW, max_grad_norm=max_grad_norm)],
        [train(torch.optim.AdamW)],
    )


def test_a_forced_kernel_steps_inside_what_is_compiled_or_says_why_not():
    param = torch.nn.Parameter(torch.ones(4))
    optimizer = gu.optim.AdamW([param], lr=0.1)

    def step():
        optimizer.step()

    param.grad = torch.ones(4)
    with gu.use("adamw=cpp"), dispatch.ran() as ran:
        torch.compile(step, backend="eager")()
        assert ran == [("adamw", "cpp")]
        torch._dynamo.reset()
        with pytest.raises(Exception, match=r"leave optimizer.step\(\) out of what is compiled"):
            torch.compile(step, backend="eager", fullgraph=True)()
