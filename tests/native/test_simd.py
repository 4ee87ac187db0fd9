"""csrc/simd.h: the elementary functions and the narrowing, against NumPy in float64.

The header is compiled here as CMake compiles a kernel, once per instruction set, behind a few C
functions.
"""

import ctypes
import os
import platform
import shutil
import subprocess

import numpy as np
import pytest

core = pytest.importorskip("groundup._C", reason="the native core is not built")

FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
}
SOURCE = """
#include "simd.h"
using namespace groundup::GROUNDUP_ISA;
template <class Function>
static void each(const float* x, float* y, long n, Function function) {
  for (; n >= kLanes; n -= kLanes, x += kLanes, y += kLanes)
    store(y, function(load(x, Full{})), Full{});
  if (n > 0) store(y, function(load(x, First{(int)n})), First{(int)n});
}
#define EXPORT extern "C" __attribute__((visibility("default"))) void
EXPORT run_exp(const float* x, float* y, long n) { each(x, y, n, [](vfloat v) { return exp(v); }); }
EXPORT run_exp_softmax(const float* x, float* y, long n) {
  each(x, y, n, [](vfloat v) { return exp_softmax(v); });
}
EXPORT run_tanh(const float* x, float* y, long n) {
  each(x, y, n, [](vfloat v) { return tanh(v); });
}
EXPORT run_bfloat16(const float* x, bfloat16* y, long n) {
  for (; n >= kLanes; n -= kLanes, x += kLanes, y += kLanes) store(y, load(x, Full{}), Full{});
  if (n > 0) store(y, load(x, First{(int)n}), First{(int)n});
}
EXPORT run_widen(const bfloat16* x, float* y, long n) {
  for (; n >= kLanes; n -= kLanes, x += kLanes, y += kLanes) store(y, load(x, Full{}), Full{});
  if (n > 0) store(y, load(x, First{(int)n}), First{(int)n});
}
EXPORT run_sum(const float* x, double* y, long) { *y = sum(load(x, Full{})); }
EXPORT run_largest(const float* x, float* y, long) { *y = largest(load(x, Full{})); }
"""
LANES = {"baseline": 4, "avx2": 8, "avx512": 16}
inf, nan = np.inf, np.nan


@pytest.fixture(scope="module", params=[isa for isa in FLAGS if isa in core.isas()])
def simd(request, tmp_path_factory):
    """call(name, x, dtype) runs one of SOURCE's functions on an array."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    isa, folder = request.param, tmp_path_factory.mktemp(request.param)
    (folder / "simd.cpp").write_text(SOURCE)
    flags = FLAGS[isa] if platform.machine() in ("x86_64", "AMD64") else []
    command = [compiler, "-std=gnu++17", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", *flags]
    command += ["-fno-math-errno", "-Wno-psabi", f"-DGROUNDUP_ISA={isa}"]
    command += [f"-I{request.config.rootpath / 'csrc'}", "-o", str(folder / "simd.so")]
    done = subprocess.run(
        [*command, str(folder / "simd.cpp")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "simd.so"))

    def call(name, x, dtype=np.float32):
        x, y = np.ascontiguousarray(x), np.zeros(len(x), dtype)
        pointers = (ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        getattr(library, f"run_{name}")(*pointers, ctypes.c_long(len(x)))
        return y

    call.lanes = LANES[isa]
    return call


def ulps(found, exact):
    """Distance in float32 units in the last place of the exact value; 2^-149 at the least."""
    exponent = np.maximum(np.frexp(exact)[1] - 24, -149)
    return np.abs(found.astype(np.float64) - exact) / np.ldexp(1.0, exponent)


def test_exp_is_within_one_ulp_or_a_little_more_without_fused_multiply_add(simd):
    x = np.linspace(-104.5, 88.7, 1_000_003, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert ulps(simd("exp", x), exact).max() <= (1.0 if simd.lanes > 4 else 1.25)


def test_exp_at_its_ends(simd):
    x = np.array([0, -0.0, -inf, inf, nan, 88.8, 1e38, -104.1, -1e38, 1e-45], np.float32)
    expected = np.array([1, 1, 0, inf, nan, inf, inf, 0, 0, 1], np.float32)
    np.testing.assert_array_equal(simd("exp", x), expected)


def test_exp_of_a_softmax_errs_as_if_its_argument_had_been_rounded_once(simd):
    x = -np.linspace(0, 87.3, 1_000_003, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    error = np.abs(simd("exp_softmax", x) / exact - 1)
    assert (error <= 2.0**-23 + np.abs(x) * 2.0**-25).all()


def test_exp_of_a_softmax_at_its_ends(simd):
    x = np.array([0, -0.0, -inf, nan, -1e38, -200], np.float32)
    np.testing.assert_array_equal(simd("exp_softmax", x), np.array([1, 1, 0, nan, 0, 0]))
    tiny = simd("exp_softmax", -np.linspace(87.4, 103, 10_000, dtype=np.float32))
    assert (tiny >= 0).all()
    assert (tiny <= 2.0**-125).all()


def test_tanh_is_within_two_ulps_and_odd(simd):
    x = np.concatenate([np.linspace(-12, 12, 1_000_003), np.geomspace(1e-38, 1, 10_000)])
    x = x.astype(np.float32)
    found = simd("tanh", x)
    assert ulps(found, np.tanh(x.astype(np.float64))).max() <= 2.0
    np.testing.assert_array_equal(simd("tanh", -x), -found)
    ends = simd("tanh", np.array([inf, -inf, nan, -0.0, 1e38], np.float32))
    np.testing.assert_array_equal(ends, np.array([1, -1, nan, -0.0, 1]))
    assert np.signbit(ends[3])


def test_every_bfloat16_survives_widening_and_narrowing(simd):
    halves = np.arange(2**16, dtype=np.uint16)
    wide = simd("widen", halves)
    np.testing.assert_array_equal(wide.view(np.uint32) >> 16, halves)
    back = simd("bfloat16", wide, np.uint16)
    is_nan = np.isnan(wide)
    np.testing.assert_array_equal(back[~is_nan], halves[~is_nan])
    assert np.isnan(simd("widen", back)[is_nan]).all()


def test_narrowing_rounds_to_nearest_even_and_keeps_every_nan(simd):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 300_001, dtype=np.uint32)
    bits[:6] = [0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F7FFFFF, 0x3F808000, 0x3F818000]
    found = simd("bfloat16", bits.view(np.float32), np.uint16)
    expected = torch.from_numpy(bits.view(np.float32)).bfloat16().view(torch.int16).numpy()
    is_nan = np.isnan(bits.view(np.float32))
    np.testing.assert_array_equal(found[~is_nan], expected.view(np.uint16)[~is_nan])
    assert np.isnan(simd("widen", found)[is_nan]).all()


def test_sum_and_largest_take_every_lane(simd):
    for lane in range(simd.lanes):
        x = -np.ones(simd.lanes, np.float32)
        x[lane] = 2.0**lane
        assert simd("largest", x)[0] == 2.0**lane
        assert simd("sum", x, np.float64)[0] == 2.0**lane - simd.lanes + 1
