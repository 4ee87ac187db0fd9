"""The AdamW kernel on bare pointers: right on every instruction set, bits the same on any threads,
nothing written beside its tensors."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager

from groundup.reference.adamw import AdamWState, adamw_step, clip_grad_norm

PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
core = pytest.importorskip("groundup._C", reason="the native core is not built")

GUARD = 64
SIZES = (1, 63, 0, 129, 16, 20000, 7, 45001)
OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}


def guarded(values, dtype):
    """A tensor of `values` that lies misaligned between stretches of NaN, and the whole."""
    whole = torch.full((values.size + 2 * GUARD + 1,), float("nan"), dtype=dtype)
    inner = whole[GUARD + 1 : GUARD + 1 + values.size]
    inner.copy_(torch.tensor(values))
    return inner, whole


def guards_hold(whole, size):
    return bool(whole[: GUARD + 1].isnan().all() and whole[GUARD + 1 + size :].isnan().all())


def gradients(step, scale=1.0):
    generator = np.random.default_rng([7, step])
    return [scale * generator.standard_normal(size) for size in SIZES]


def run(param_dtype, state_dtype, *, amsgrad=False, maximize=False, clip=0.0, steps=3):
    """(parameters, gradients after the last step, norms), through adamw_step_cpu."""
    generator = np.random.default_rng(3)
    columns, wholes = [], []
    for kind in range(5):
        dtype = param_dtype if kind < 2 else state_dtype
        values = [generator.standard_normal(n) if kind == 0 else np.zeros(n) for n in SIZES]
        pairs = [guarded(value, dtype) for value in values]
        columns.append([inner for inner, _ in pairs])
        wholes += [(whole, n) for (_, whole), n in zip(pairs, SIZES, strict=True)]
    counters = [torch.zeros(()) for _ in SIZES]
    pointers = np.array(
        [[tensor.data_ptr() for tensor in column] for column in [*columns, counters]],
        dtype=np.uint64,
    )
    sizes = np.array(SIZES)
    kind = (param_dtype is torch.bfloat16) + 2 * (state_dtype is torch.bfloat16) + 4 * amsgrad
    kinds = np.full(len(SIZES), kind)
    groups_of = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    group = [OPTIONS["lr"], *OPTIONS["betas"], OPTIONS["eps"], OPTIONS["weight_decay"], maximize]
    groups = np.array([group, group], dtype=np.float64)
    norms = []
    for step in range(steps):
        for inner, values in zip(columns[1], gradients(step), strict=True):
            inner.copy_(torch.tensor(values))
        norms.append(
            core.adamw_step_cpu(
                len(SIZES),
                pointers.ctypes.data,
                sizes.ctypes.data,
                kinds.ctypes.data,
                groups_of.ctypes.data,
                2,
                groups.ctypes.data,
                clip,
                True,
            )
        )
    assert all(guards_hold(whole, n) for whole, n in wholes), "written outside of the tensors"
    assert [int(counter) for counter in counters] == [steps] * len(SIZES)
    return columns[0], columns[1], norms


def reference(params, dtype, *, amsgrad=False, maximize=False, clip=0.0, steps=3):
    """The same in float64 from the same rounded numbers."""
    states = [AdamWState(param) for param in params]
    norms = []
    for step in range(steps):
        grads = [torch.tensor(g).to(dtype).double().numpy() for g in gradients(step)]
        norms.append(clip_grad_norm(grads, clip) if clip else 0.0)
        for param, grad, state in zip(params, grads, states, strict=True):
            adamw_step(param, grad, state, amsgrad=amsgrad, maximize=maximize, **OPTIONS)
    return params, grads, norms


def started(dtype):
    generator = np.random.default_rng(3)
    return [torch.tensor(generator.standard_normal(n)).to(dtype) for n in SIZES]


@pytest.mark.parametrize("clip", [0.0, 1.5, 1e9])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_float32_steps_err_like_torchs(amsgrad, maximize, clip):
    flags = {"amsgrad": amsgrad, "maximize": maximize}
    params, grads, norms = run(torch.float32, torch.float32, clip=clip, **flags)
    exact_params = [p.double().numpy() for p in started(torch.float32)]
    exact, exact_grads, exact_norms = reference(exact_params, torch.float32, clip=clip, **flags)
    eager = [torch.nn.Parameter(p) for p in started(torch.float32)]
    optimizer = torch.optim.AdamW(eager, **OPTIONS, **flags)
    for step in range(3):
        for param, values in zip(eager, gradients(step), strict=True):
            param.grad = torch.tensor(values).float()
        if clip:
            torch.nn.utils.clip_grad_norm_(eager, clip)
        optimizer.step()
    for i in range(len(SIZES)):
        assert_error_like_eager(params[i], eager[i], exact[i], name=f"parameter {i}")
        assert_error_like_eager(grads[i], eager[i].grad, exact_grads[i], name=f"gradient {i}")
    np.testing.assert_allclose(norms, exact_norms, rtol=1e-6)


@pytest.mark.parametrize(
    ("param_dtype", "state_dtype"),
    [
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),
    ],
)
def test_bfloat16_steps_end_within_their_own_rounding(param_dtype, state_dtype):
    params, _, norms = run(param_dtype, state_dtype, clip=1.5)
    starts = [p.double().numpy() for p in started(param_dtype)]
    exact, _, exact_norms = reference(starts, param_dtype, clip=1.5)
    np.testing.assert_allclose(norms, exact_norms, rtol=1e-6)
    # Each of three steps of about lr rounds the parameter, and a rounded moment shifts the step.
    slack = 3 * 2.0**-8
    for ours, theirs in zip(params, exact, strict=True):
        largest = np.abs(theirs) * (slack if param_dtype is torch.bfloat16 else 0) + 3e-2 * slack
        assert (np.abs(ours.double().numpy() - theirs) <= largest + 1e-6).all()


def fingerprint():
    digest = hashlib.sha256()
    for dtypes in ((torch.float32, torch.float32), (torch.bfloat16, torch.float32)):
        params, grads, norms = run(*dtypes, amsgrad=True, clip=1.5)
        for tensor in [*params, *grads]:
            digest.update(tensor.view(torch.uint8).numpy().tobytes())
        digest.update(repr(norms).encode())
    return digest.hexdigest()


def test_bits_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        found = set()
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.add(fingerprint())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("isa", core.isas())
def test_every_instruction_set_passes_these_tests(isa):
    done = subprocess.run(
        [*PYTEST, __file__, "-k", "(err_like_torchs and 1.5) or own_rounding or number_of_threads"],
        env={**os.environ, "GROUNDUP_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_table_that_steers_outside_is_refused():
    sizes, kinds, groups_of = np.array([1]), np.array([0]), np.array([1])
    with pytest.raises(ValueError, match=r"tensor 0: expected a size of at least 0"):
        core.adamw_step_cpu(
            1, 0, sizes.ctypes.data, kinds.ctypes.data, groups_of.ctypes.data, 1, 0, 0.0, False
        )
    with pytest.raises(ValueError, match="n_tensors: expected at least 0, got -1"):
        core.adamw_step_cpu(-1, 0, 0, 0, 0, 0, 0, 0.0, False)
    assert core.adamw_step_cpu(0, 0, 0, 0, 0, 0, 0, 1.0, True) == 0.0
