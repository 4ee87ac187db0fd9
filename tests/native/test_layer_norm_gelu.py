"""The layer_norm and gelu kernels on bare pointers: every element written, none beside them."""

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager
from torch.nn import functional as F

from groundup.reference.gelu import gelu, gelu_backward
from groundup.reference.layer_norm import layer_norm, layer_norm_backward

core = pytest.importorskip("groundup._C", reason="the native core is not built")

GUARD = 64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])


class Guarded:
    """`size` elements of NaN, misaligned, between guards of another number."""

    def __init__(self, size, dtype):
        self.whole = torch.full((size + 2 * GUARD + 1,), 7.5, dtype=dtype)
        self.inner = self.whole[GUARD + 1 : GUARD + 1 + size]
        self.inner.fill_(float("nan"))
        self.size = size

    def address(self):
        return self.inner.data_ptr()

    def written(self, shape):
        assert (self.whole[: GUARD + 1] == 7.5).all(), "written before the buffer"
        assert (self.whole[GUARD + 1 + self.size :] == 7.5).all(), "written behind the buffer"
        assert not self.inner.isnan().any(), "an element was not written"
        return self.inner.view(shape)


@DTYPES
@pytest.mark.parametrize("is_tanh", [False, True])
@pytest.mark.parametrize("size", [0, 1, 15, 17, 63, 129, 20011])
def test_gelu_writes_its_elements_and_no_other(size, is_tanh, dtype):
    approximate = "tanh" if is_tanh else "none"
    generator = torch.Generator().manual_seed(size)
    x, dy = (torch.randn(size, generator=generator).to(dtype) for _ in range(2))
    out, dx = Guarded(size, dtype), Guarded(size, dtype)
    code = dtype is torch.bfloat16
    core.gelu_forward_cpu(x.data_ptr(), code, is_tanh, size, out.address())
    core.gelu_backward_cpu(x.data_ptr(), code, is_tanh, size, dy.data_ptr(), dx.address())
    exact_x, exact_dy = x.double().numpy(), dy.double().numpy()
    leaf = x.clone().requires_grad_()
    eager = F.gelu(leaf, approximate=approximate)
    (eager_dx,) = torch.autograd.grad(eager, leaf, dy)
    if size:
        exact = gelu(exact_x, approximate)
        assert_error_like_eager(out.written(size), eager, exact)
        exact = gelu_backward(exact_dy, exact_x, approximate)
        assert_error_like_eager(dx.written(size), eager_dx, exact, kind="gradient")


@DTYPES
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(0, 5), (1, 1), (3, 17), (33, 63), (200, 129)])
def test_layer_norm_writes_its_elements_and_no_other(n_rows, n_columns, added, dtype):
    generator = torch.Generator().manual_seed(n_rows)
    stride, shape, size = n_columns + 3, (n_rows, n_columns), n_rows * n_columns
    x, dy, residual, dsum = (
        torch.randn(n_rows, stride, generator=generator).to(dtype) for _ in range(4)
    )
    weight, bias = (torch.randn(n_columns, generator=generator) for _ in range(2))
    out, dx, total = (Guarded(size, dtype) for _ in range(3))
    statistics = Guarded(2 * n_rows, torch.float32)
    dweight, dbias = Guarded(n_columns, torch.float32), Guarded(n_columns, torch.float32)
    given, code = x.data_ptr(), dtype is torch.bfloat16
    common = (code, n_rows, n_columns)
    core.layer_norm_forward_cpu(
        *(given, *common, stride, weight.data_ptr(), bias.data_ptr(), 1e-5),
        *(out.address(), statistics.address()),
        *((residual.data_ptr(), stride, total.address()) if added else (0, 0, 0)),
    )
    rows, drows = x[:, :n_columns], dy[:, :n_columns]
    if added:
        rows = rows + residual[:, :n_columns]
        if size:
            assert torch.equal(total.written(shape), rows)
    core.layer_norm_backward_cpu(
        *(total.address(), *common, n_columns) if added else (given, *common, stride),
        *(weight.data_ptr(), statistics.address(), dy.data_ptr(), stride),
        *(dx.address(), dweight.address(), dbias.address()),
        *((dsum.data_ptr(), stride) if added else (0, 0)),
    )
    statistics.written((n_rows, 2))
    exact = [tensor.double().numpy() for tensor in (rows, drows, weight, bias)]
    leaves = [rows.clone(), weight.to(dtype), bias.to(dtype)]
    for leaf in leaves:
        leaf.requires_grad_()
    eager = F.layer_norm(leaves[0], (n_columns,), *leaves[1:])
    eager.backward(drows)
    dexact = layer_norm_backward(exact[1], exact[0], exact[2])
    if size:
        output = out.written(shape)
        assert_error_like_eager(output, eager, layer_norm(exact[0], exact[2], exact[3]))
        beside = dsum[:, :n_columns] if added else torch.zeros(shape, dtype=dtype)
        assert_error_like_eager(
            dx.written(shape),
            leaves[0].grad + beside,
            dexact[0] + beside.double().numpy(),
            kind="gradient",
        )
    for ours, theirs, truth in zip((dweight, dbias), leaves[1:], dexact[1:], strict=True):
        got = ours.written(n_columns)
        assert_error_like_eager(got, theirs.grad.float(), truth, kind="gradient")


def test_wrong_codes_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"dtype: expected 0 \(float32\) or 1 \(bfloat16\), got 2"):
        core.gelu_forward_cpu(0, 2, True, 0, 0)
    with pytest.raises(ValueError, match="n: expected at least 0, got -1"):
        core.gelu_backward_cpu(0, 0, True, -1, 0, 0)
    with pytest.raises(ValueError, match="expected n_rows >= 0 and n_columns >= 1, got 1 and 0"):
        core.layer_norm_forward_cpu(0, 0, 1, 0, 0, 0, 0, 1e-5, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="dtype: expected 0"):
        core.layer_norm_backward_cpu(0, 3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="residual and sum: expected both or neither"):
        core.layer_norm_forward_cpu(0, 0, 0, 1, 0, 0, 0, 1e-5, 0, 0, 64, 0, 0)


def test_statistics_are_mean_and_inverse_deviation():
    x = np.array([[1.0, 3.0], [5.0, 5.0]], dtype=np.float32)
    out, statistics = np.empty_like(x), np.full((2, 2), np.nan, dtype=np.float32)
    core.layer_norm_forward_cpu(
        x.ctypes.data, 0, 2, 2, 2, 0, 0, 0.25, out.ctypes.data, statistics.ctypes.data, 0, 0, 0
    )
    np.testing.assert_allclose(statistics, [[2, 1 / np.sqrt(1.25)], [5, 2]], rtol=1e-6)
