"""adamw=reference walks where torch walks, in every float dtype, and the kernel by it."""

import copy
import math

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from optim.walks import gapped, parameters, same, set_gradients, steps, tied_memory

import groundup as gu
from groundup.ops import dispatch, native

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.fixture
def forced():
    with gu.use("adamw=reference"), dispatch.ran() as log:
        yield log


def exact_of(params):
    return [torch.nn.Parameter(param.detach().double()) for param in params]


def set_alike(seed, *models):
    """Gradients of the first model's dtype, given to all in their own."""
    set_gradients(seed, models[0])
    for params in models[1:]:
        for param, like in zip(params, models[0], strict=True):
            param.grad = like.grad.to(param.dtype)


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_it_errs_like_torchs_fused_step(dtype, amsgrad, forced):
    ours, theirs = parameters(dtype), parameters(dtype)
    exact = exact_of(ours)
    options = {"lr": 1e-2, "amsgrad": amsgrad, "eps": 1e-4}
    optimizers = (
        gu.optim.AdamW(ours, **options),
        torch.optim.AdamW(theirs, **options, fused=True),
        torch.optim.AdamW(exact, **options),
    )
    for seed in range(10):
        set_alike(seed, ours, theirs, exact)
        for optimizer in optimizers:
            optimizer.step()
    for triple in zip(ours, theirs, exact, strict=True):
        assert_error_like_eager(*triple)
    assert {s["exp_avg"].dtype for s in optimizers[0].state.values()} == {dtype}
    assert forced == [("adamw", "reference")] * 10


def test_three_hundred_steps_end_as_near_to_float64_as_torchs(forced):
    ours, theirs = (parameters(shapes=((7, 129),)) for _ in range(2))
    exact = exact_of(ours)
    optimizers = gu.optim.AdamW(ours), torch.optim.AdamW(theirs), torch.optim.AdamW(exact)
    for seed in range(300):
        set_alike(seed, ours, theirs, exact)
        for optimizer in optimizers:
            optimizer.step()
    assert_error_like_eager(ours[0], theirs[0], exact[0])
    for key in ("exp_avg", "exp_avg_sq"):
        models = zip(optimizers, (ours, theirs, exact), strict=True)
        assert_error_like_eager(*(o.state[params[0]][key] for o, params in models), name=key)


@pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_kernel_is_judged_by_the_reference(dtype, amsgrad):
    """tests/compare.py's rule with torch in eager's place and the reference as the truth."""
    fast, eager = parameters(dtype), parameters(dtype)
    truth = exact_of(fast)
    options = {"lr": 1e-2, "amsgrad": amsgrad, "weight_decay": 0.1, "maximize": True}
    optimizers = {
        "cpp": gu.optim.AdamW(fast, **options, max_grad_norm=1.0),
        "torch": gu.optim.AdamW(eager, **options, max_grad_norm=1.0, fused=True),
        "reference": gu.optim.AdamW(truth, **options, max_grad_norm=1.0),
    }
    for seed in range(10):
        set_alike(seed, fast, eager, truth)
        for name, optimizer in optimizers.items():
            with gu.use(f"adamw={name}"):
                optimizer.step()
    for triple in zip(fast, eager, truth, strict=True):
        assert_error_like_eager(*triple)
    norms = [optimizers[name].grad_norm.double() for name in ("cpp", "reference")]
    torch.testing.assert_close(*norms, rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=25)
@given(
    lr=st.floats(0, 0.1),
    betas=st.tuples(st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([0.0, 0.5, 0.999])),
    weight_decay=st.sampled_from([0.0, 0.01, 1.0]),
    amsgrad=st.booleans(),
    maximize=st.booleans(),
    max_norm=st.sampled_from([None, 0.5, 1e6]),
    zero=st.booleans(),
)
def test_any_options_walk_where_torch_walks(
    lr, betas, weight_decay, amsgrad, maximize, max_norm, zero
):
    options = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
    options |= {"amsgrad": amsgrad, "maximize": maximize}
    ours, theirs = parameters(), parameters()
    mine = gu.optim.AdamW(ours, **options, max_grad_norm=max_norm, zero_grad_after_step=zero)
    torchs = torch.optim.AdamW(theirs, **options)
    with gu.use("adamw=reference"):
        for seed in range(3):
            set_gradients(seed, ours, theirs)
            if max_norm is not None:
                norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
            mine.step()
            torchs.step()
            if max_norm is not None:
                torch.testing.assert_close(mine.grad_norm, norm)
            if zero:
                assert all(param.grad is None for param in ours)
            else:
                same([p.grad for p in ours], [p.grad for p in theirs])
    same(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("state_dtype", DTYPES[:3], ids=str)
def test_the_state_has_the_dtype_asked_for(dtype, state_dtype, forced):
    ours, theirs = parameters(dtype), parameters(dtype)
    options = {"state_dtype": state_dtype, "eps": 1e-4}
    optimizer, other = gu.optim.AdamW(ours, **options), gu.optim.AdamW(theirs, **options)
    for seed in range(4):
        set_gradients(seed, ours, theirs)
        optimizer.step()
        with gu.use("adamw=torch"):
            other.step()
    assert {s["exp_avg"].dtype for s in optimizer.state.values()} == {state_dtype}
    narrow = dtype.itemsize == 2
    same(ours, theirs, rtol=2**-7 if narrow else 1e-5, atol=1e-4)


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


def test_a_state_goes_from_form_to_form(forced):
    ours, theirs = parameters(), parameters()
    optimizer, torchs = gu.optim.AdamW(ours, amsgrad=True), torch.optim.AdamW(theirs, amsgrad=True)
    for turn, name in enumerate(["cpp", "reference", "torch", "reference", "cpp"]):
        if name == "cpp" and native.missing is not None:
            name = "torch"
        with gu.use(f"adamw={name}"):
            steps(optimizer, ours, 1, first=turn)
        steps(torchs, theirs, 1, first=turn)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    same(ours, theirs)
    assert [state["step"] for state in optimizer.state.values()] == [5] * len(ours)


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_end_in_torchs_class(forced):
    values = torch.tensor([0.0, 1e-30, 1e20, 3e38, -3e38, math.inf, -math.inf, math.nan, 1e-45])
    for max_norm in (None, 1.0):
        ours, theirs = (torch.nn.Parameter(torch.ones(9)) for _ in range(2))
        optimizers = gu.optim.AdamW([ours], max_grad_norm=max_norm), torch.optim.AdamW([theirs])
        for _ in range(2):
            ours.grad, theirs.grad = values.clone(), values.clone()
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_([theirs], max_norm)
            for optimizer in optimizers:
                optimizer.step()
        assert_same_class(ours, theirs)
        assert_same_class(ours.grad, theirs.grad)


def test_without_any_gradient_nothing_happens(forced):
    optimizer = gu.optim.AdamW(parameters(), max_grad_norm=1.0)
    optimizer.step()
    assert optimizer.grad_norm == 0.0
    assert not optimizer.state


def test_layouts_other_than_rows_are_stepped_in_place(forced):
    ours, theirs = (
        [torch.nn.Parameter(torch.arange(24.0).view(2, 3, 4).transpose(0, 2))] for _ in range(2)
    )
    optimizers = gu.optim.AdamW(ours, max_grad_norm=1.0), torch.optim.AdamW(theirs)
    pointer = ours[0].data_ptr()
    for seed in range(3):
        set_gradients(seed, ours, theirs)  # contiguous, unlike the parameter
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        same([ours[0].grad], [theirs[0].grad])
    same(ours, theirs)
    assert ours[0].data_ptr() == pointer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_graph_that_saved_a_parameter_notices_the_step(dtype, forced):
    param = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    loss = param.square().sum()
    param.grad = torch.ones(3, dtype=dtype)
    gu.optim.AdamW([param]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def shared_gradient():
    params = parameters(shapes=((3,), (3,)))
    params[0].grad = params[1].grad = torch.ones(3)
    return params


@pytest.mark.parametrize(
    ("params", "options", "reason"),
    [
        (parameters(), {"capturable": True}, "neither capturable=True nor differentiable=True"),
        (parameters(), {"differentiable": True}, "neither capturable=True nor differentiable=Tr"),
        ([gapped()], {}, "a parameter has gaps or overlaps in memory"),
        (tied_memory(), {}, "two parameters share memory"),
        (shared_gradient(), {"max_grad_norm": 1.0}, "two parameters share a gradient"),
        (
            [torch.nn.Parameter(torch.ones(3, device="meta"))],
            {},
            "it runs on devices that hold values, and a parameter is on meta",
        ),
    ],
)
def test_what_it_cannot_take_raises_and_changes_nothing(params, options, reason, forced):
    for param in params:
        param.grad = torch.ones_like(param) if param.grad is None else param.grad
    optimizer = gu.optim.AdamW(params, lr=0.1, **options)
    before = [param.detach().clone() for param in params]
    message = rf"^adamw=reference is forced .* cannot run: .*{reason}"
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    if not params[0].is_meta:
        assert all(map(torch.equal, params, before))
    assert forced == []


def test_a_shared_gradient_is_clipped_once_where_nobody_keeps_it(forced):
    ours = shared_gradient()
    gu.optim.AdamW(ours, eps=1.0, max_grad_norm=1.0, zero_grad_after_step=True).step()
    theirs = parameters(shapes=((3,), (3,)))
    for param in theirs:
        param.grad = torch.full((3,), 1 / math.sqrt(6))
    torch.optim.AdamW(theirs, eps=1.0).step()
    same(ours, theirs)


@pytest.mark.parametrize("what", ["param", "grad", "exp_avg"])
def test_a_tensor_without_memory_is_not_read(what, forced):
    params = parameters()
    optimizer = gu.optim.AdamW(params)
    steps(optimizer, params, 1)
    set_gradients(1, params)
    tensor = {"param": params[0], "grad": params[0].grad}.get(what)
    tensor = optimizer.state[params[0]]["exp_avg"] if tensor is None else tensor
    tensor.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="no memory behind it"):
        optimizer.step()
