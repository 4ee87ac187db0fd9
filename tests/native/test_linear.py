"""The linear kernels on bare pointers: every element written, none beside them, any strides."""

import numpy as np
import pytest

core = pytest.importorskip("groundup._C", reason="the native core is not built")

GUARD = 64
SIZES = [(1, 1, 1), (6, 64, 16), (7, 65, 17), (33, 3, 129), (129, 200, 63), (300, 70, 390)]
# Long enough for several blocks of k in each of the three products, and for both divisions of work.
LONG = [(5, 800, 7), (800, 5, 130), (9, 5, 800), (700, 400, 130), (450, 130, 900)]


class Guarded:
    """NaN of a shape, misaligned, between guards of another number; None has address 0."""

    def __init__(self, *shape):
        size = int(np.prod(shape))
        self.whole = np.full(size + 2 * GUARD + 1, 7.5, dtype=np.float32)
        self.inner = self.whole[GUARD + 1 : GUARD + 1 + size]
        self.inner[:] = np.nan
        self.shape = shape

    def address(self):
        return self.inner.ctypes.data

    def written(self):
        assert (self.whole[: GUARD + 1] == 7.5).all(), "written before the buffer"
        assert (self.whole[GUARD + 1 + self.inner.size :] == 7.5).all(), "written behind the buffer"
        assert not np.isnan(self.inner).any(), "an element was not written"
        return self.inner.reshape(self.shape)


def laid_out(generator, n_rows, n_columns, layout):
    """Random numbers, and NaN in whatever memory lies between and after them."""
    values = generator.standard_normal((n_rows, n_columns)).astype(np.float32)
    if layout == "rows":
        memory = np.full((n_rows, n_columns + 3), np.nan, dtype=np.float32)
        view = memory[:, :n_columns]
    elif layout == "columns":
        memory = np.full((n_columns, n_rows + 5), np.nan, dtype=np.float32)
        view = memory[:, :n_rows].T
    else:
        memory = np.full((2 * n_rows, 3 * n_columns), np.nan, dtype=np.float32)
        view = memory[::2, ::3]
    view[:] = values
    return view


def strides(array):
    return tuple(stride // 4 for stride in array.strides)


def near(ours, exact, depth):
    scale = np.abs(exact).max(initial=0) + 1
    np.testing.assert_allclose(ours, exact, atol=3e-7 * scale * (depth**0.5 + 4), rtol=0)


@pytest.mark.parametrize("layouts", [("rows",) * 3, ("columns",) * 3, ("apart",) * 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES + LONG)
def test_every_element_is_written_and_no_other(sizes, transposed, layouts):
    n_rows, n_in, n_out = sizes
    generator = np.random.default_rng(n_rows)
    x = laid_out(generator, n_rows, n_in, layouts[0])
    weight = laid_out(generator, n_out, n_in, layouts[1])
    dy = laid_out(generator, n_rows, n_out, layouts[2])
    bias = generator.standard_normal(n_out).astype(np.float32)
    y, dx, db = Guarded(n_rows, n_out), Guarded(n_rows, n_in), Guarded(n_out)
    dw = Guarded(n_in, n_out) if transposed else Guarded(n_out, n_in)
    inputs = (x.ctypes.data, *strides(x), weight.ctypes.data, *strides(weight))
    core.linear_forward_cpu(*inputs, bias.ctypes.data, n_rows, n_in, n_out, 0, 0, y.address())
    core.linear_backward_cpu(
        dy.ctypes.data,
        *strides(dy),
        *inputs,
        *(n_rows, n_in, n_out, 0, 0, 0),
        dx.address(),
        dw.address(),
        transposed,
        db.address(),
    )
    x, weight, dy = (array.astype(np.float64) for array in (x, weight, dy))
    near(y.written(), x @ weight.T + bias, n_in)
    near(dx.written(), dy @ weight, n_out)
    near(dw.written().T if transposed else dw.written(), dy.T @ x, n_rows)
    near(db.written(), dy.sum(0), n_rows)


@pytest.mark.parametrize("sizes", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_sizes_of_zero_write_what_there_is(sizes):
    n_rows, n_in, n_out = sizes
    bias = np.arange(n_out, dtype=np.float32)
    y, dw = Guarded(n_rows, n_out), Guarded(n_out, n_in)
    core.linear_forward_cpu(0, n_in, 1, 0, n_in, 1, bias.ctypes.data, *sizes, 0, 0, y.address())
    assert (y.written() == bias).all()
    args = (0, n_out, 1, 0, n_in, 1, 0, n_in, 1, *sizes, 0, 0, 0, 0, dw.address(), False, 0)
    core.linear_backward_cpu(*args)
    assert (dw.written() == 0).all()


def test_wrong_codes_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"activation: expected 0 \(none\), 1 \(gelu\) or 2"):
        core.linear_forward_cpu(0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 3, 0, 0)
    with pytest.raises(ValueError, match="expected sizes of at least 0, got n_rows -1"):
        core.linear_forward_cpu(0, 1, 1, 0, 1, 1, 0, -1, 1, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="activation: expected preactivation, got address 0"):
        core.linear_backward_cpu(0, 1, 1, 0, 1, 1, 0, 1, 1, 2, 1, 1, 1, 0, 0, 0, 0, False, 0)
