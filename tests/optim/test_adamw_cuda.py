"""adamw=cuda walks where torch walks: emulated everywhere, on a device if one is here.

tests/native/emulated_cuda/cuda_runtime.h says what the emulation cannot show.
"""

import copy
import itertools
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager
from native import emulation

import groundup as gu
from groundup.ops import device, dispatch
from groundup.optim import adamw_cpp, adamw_cuda

SHAPES = ((3,), (17, 5), (), (0, 4), (130, 257), (4099,))
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return emulation.build(tmp_path_factory)


@contextmanager
def emulated_adamw(core):
    with (
        emulation.emulated(core) as place,
        pytest.MonkeyPatch.context() as patch,
        gu.use("adamw=cuda"),
    ):
        patch.setattr(adamw_cuda, "CUDA", adamw_cuda.CUDA._replace(here=adamw_cpp.CPU.here))
        yield place


@pytest.fixture(params=["emulated", pytest.param("device", marks=pytest.mark.gpu)])
def where(request):
    if request.param == "device":
        place = emulation.real_device()
        with gu.use("adamw=cuda"):
            yield place
        return
    with emulated_adamw(request.getfixturevalue("core")) as place:
        yield place


def parameters(where, dtype=torch.float32, to=None, shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.Parameter(
            torch.randn(shape, generator=generator).to(dtype).to(to or dtype).to(where)
        )
        for shape in shapes
    ]


def set_gradients(seed, params, dtype, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        gradient = (torch.randn(param.shape, generator=generator) * scale).to(dtype)
        param.grad = gradient.to(param.dtype).to(param.device)


def walk(optimizer, params, dtype, max_grad_norm=None, count=5, skip=None):
    for seed in range(count):
        set_gradients(seed, params, dtype, scale=0.1 * 10**seed)
        if skip is not None and seed == 2:
            params[skip].grad = None
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(params, max_grad_norm)
        optimizer.step()


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


OPTIONS = {
    "plain": {},
    "amsgrad": {"amsgrad": True},
    "maximize": {"maximize": True, "weight_decay": 0.3},
    "beta1 of 0": {"betas": (0.0, 0.5), "lr": 0.1},
    "tensor lr": {"lr": torch.tensor(3e-3)},
}


@DTYPES
@pytest.mark.parametrize("max_grad_norm", [None, 0.7], ids=["", "clipped"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_it_walks_as_near_to_float64_as_torch_does(where, dtype, options, max_grad_norm):
    if dtype is torch.float16:  # in which torch's eager step makes 0 of an eps of 1e-8
        options = {**options, "eps": 1e-4}
    ours, theirs = parameters(where, dtype), parameters(where, dtype)
    exact = parameters(where, dtype, torch.float64)
    optimizer = gu.optim.AdamW(ours, **options, max_grad_norm=max_grad_norm)
    with dispatch.ran() as log:
        walk(optimizer, ours, dtype, skip=1)
    assert log == [("adamw", "cuda")] * 5
    for params in (theirs, exact):
        walk(torch.optim.AdamW(params, **options), params, dtype, max_grad_norm, skip=1)
    assert_error_like_eager(flat(ours), flat(theirs), flat(exact), name="parameters")
    if max_grad_norm is None:
        return
    set_gradients(9, ours, dtype)
    set_gradients(9, exact, dtype)
    norm = torch.nn.utils.clip_grad_norm_(exact, max_grad_norm)
    optimizer.step()
    torch.testing.assert_close(optimizer.grad_norm.double(), norm, rtol=1e-5, atol=0)
    # Left clipped, as torch leaves them.
    rtol = 1e-5 if dtype is torch.float32 else 2**-7
    gradients = (flat([param.grad for param in params]).double() for params in (ours, exact))
    torch.testing.assert_close(*gradients, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("state_dtype", [torch.bfloat16, torch.float16], ids=str)
def test_moments_are_kept_in_their_own_dtype(where, state_dtype):
    ours, theirs = parameters(where), parameters(where)
    mine = gu.optim.AdamW(ours, state_dtype=state_dtype)
    torchs = gu.optim.AdamW(theirs, state_dtype=state_dtype)
    for seed in range(3):
        set_gradients(seed, ours, torch.float32)
        set_gradients(seed, theirs, torch.float32)
        mine.step()
        with gu.use("adamw=torch"):
            torchs.step()
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-3, atol=1e-5)
    assert mine.state[ours[0]]["exp_avg"].dtype is state_dtype


def test_zeroing_drops_the_gradients_and_a_state_dict_goes_to_torch_and_back(where):
    ours, theirs = parameters(where), parameters(where)
    mine = gu.optim.AdamW(ours, zero_grad_after_step=True, max_grad_norm=1.0)
    torchs = torch.optim.AdamW(theirs)
    set_gradients(0, ours, torch.float32)
    mine.step()
    assert all(param.grad is None for param in ours)
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            b.copy_(a)
    torchs.load_state_dict(copy.deepcopy(mine.state_dict()))
    for optimizer, params in ((mine, ours), (torchs, theirs)):
        set_gradients(1, params, torch.float32, scale=1e-4)
        optimizer.step()
    torch.testing.assert_close(flat(ours), flat(theirs))
    mine.load_state_dict(copy.deepcopy(torchs.state_dict()))
    set_gradients(2, ours, torch.float32)
    mine.step()


def test_views_off_their_boundaries_and_gradients_laid_out_otherwise(where):
    storage = torch.randn(1001, device=where)
    odd = torch.nn.Parameter(storage[1:])
    turned = torch.nn.Parameter(torch.randn(12, 7, device=where).t())
    twins = [torch.nn.Parameter(p.detach().clone().contiguous()) for p in (odd, turned)]
    for params, kind in (([odd, turned], gu.optim.AdamW), (twins, torch.optim.AdamW)):
        optimizer = kind(params)
        for seed in range(3):
            set_gradients(seed, params, torch.float32)
            optimizer.step()
    for a, b in zip((odd, turned), twins, strict=True):
        torch.testing.assert_close(a.detach(), b.detach().view(a.shape))


def test_nan_and_infinite_gradients_go_where_torchs_go(where):
    for value in (float("nan"), float("inf")):
        results = []
        for kind, name in ((gu.optim.AdamW, "cuda"), (gu.optim.AdamW, "torch")):
            params = parameters(where, shapes=((5,),))
            optimizer = kind(params, amsgrad=True, max_grad_norm=1.0)
            with gu.use(f"adamw={name}"):
                for gradient in ([1.0, value, 0.0, -1.0, 2.0], [1.0] * 5):
                    params[0].grad = torch.tensor(gradient, device=where)
                    optimizer.step()
            results.append(flat(params))
        torch.testing.assert_close(*results, equal_nan=True)


def test_no_parameter_has_a_gradient(where):
    params = parameters(where)
    before = flat(params).clone()
    optimizer = gu.optim.AdamW(params, max_grad_norm=1.0)
    optimizer.step()
    assert torch.equal(flat(params), before)
    assert optimizer.grad_norm == 0


def test_a_table_outlives_its_step_until_a_tensor_changes(where):
    params, theirs = parameters(where), parameters(where)
    optimizer, torchs = gu.optim.AdamW(params), torch.optim.AdamW(theirs)
    tables = []
    for seed in range(4):
        if seed == 2:
            params[1].data = params[1].data.clone()
        for own, of in ((optimizer, params), (torchs, theirs)):
            set_gradients(seed, of, torch.float32)
            own.step()
        tables.append(optimizer._table)
    assert [a is b for a, b in itertools.pairwise(tables)] == [True, False, True]
    torch.testing.assert_close(flat(params), flat(theirs))


def test_a_table_is_not_taken_over_by_another_kernel(core):
    params, theirs = parameters("cpu"), parameters("cpu")
    optimizer, torchs = gu.optim.AdamW(params, state_dtype=torch.float32), torch.optim.AdamW(theirs)
    for seed, name in enumerate(["cpp", "cuda", "cuda", "reference", "cpp", "cuda"]):
        for own, of in ((optimizer, params), (torchs, theirs)):
            set_gradients(seed, of, torch.float32)
            with emulated_adamw(core) if name == "cuda" else nullcontext(), gu.use(f"adamw={name}"):
                own.step()
    torch.testing.assert_close(flat(params), flat(theirs))


@pytest.mark.parametrize("sizes", [[], [0], [1], [16384], [16385, 0, 5, 40000]])
def test_chunks_cover_every_element_once(core, sizes):
    array = np.array(sizes, dtype=np.int64)
    n = core.adamw_chunks(len(sizes), array.ctypes.data)
    table = np.full((n, 2), -1, dtype=np.int32)
    core.adamw_chunk_table(len(sizes), array.ctypes.data, table.ctypes.data)
    expected = [(t, i) for t, size in enumerate(sizes) for i in range(-(-size // 16384))]
    assert table.tolist() == [list(pair) for pair in expected]


def test_a_table_of_wrong_kinds_is_refused(core):
    one = np.ones(16, dtype=np.int64)
    for kind, size, group in ((3, 1, 0), (12, 1, 0), (32, 1, 0), (0, -1, 0), (0, 1, 1)):
        kinds, sizes, groups_of = (np.array([n], dtype=np.int64) for n in (kind, size, group))
        with pytest.raises(ValueError, match="tensor 0: expected a size of at least 0, a kind of"):
            core.adamw_tensor_table(
                1,
                *(a.ctypes.data for a in (one, sizes, kinds, groups_of)),
                *(1, one.ctypes.data, one.ctypes.data),
            )


def test_on_the_cpu_it_is_refused_in_a_sentence():
    params = parameters("cpu", shapes=((3,),))
    set_gradients(0, params, torch.float32)
    reason = (
        "it runs on CUDA devices, and a parameter is on cpu"
        if device.missing is None
        else r"groundup\._cuda cannot be imported|GROUNDUP_CUDA=0 is set"
    )
    with gu.use("adamw=cuda"), pytest.raises(RuntimeError, match=f"adamw=cuda.*({reason})"):
        gu.optim.AdamW(params).step()
