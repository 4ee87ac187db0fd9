"""layer_norm and gelu on the native kernel: as near to float64 as eager, in any layout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))

PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
SHAPES = [(1, 768), (5, 1), (33, 63), (65, 129), (3, 9000)]
ADDED = Path(__file__).with_name("test_add_layer_norm.py")
CORE = "(errs_like_eager and (17 or 129 or 9000)) or near_everywhere or finite or bits or any_size"
SIZES = (1, 3, 15, 16, 17, 63, 129, 768, 50257)


@pytest.fixture(autouse=True)
def _forced():
    with gu.use("gelu=cpp,layer_norm=cpp"), dispatch.ran() as log:
        yield
    assert all(name == "cpp" for _, name in log)


def derivatives(function, upstream, *tensors):
    """(output, gradients) with `upstream` flowing in."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    return output.detach(), torch.autograd.grad(output, leaves, upstream.to(output.dtype))


def judge(ours, eager, upstream, *tensors):
    mine = derivatives(ours, upstream, *tensors)
    theirs = derivatives(eager, upstream, *tensors)
    exact = derivatives(eager, upstream.double(), *(tensor.double() for tensor in tensors))
    assert mine[0].dtype is tensors[0].dtype
    assert_error_like_eager(mine[0], theirs[0], exact[0], name="output")
    for place, triple in enumerate(zip(mine[1], theirs[1], exact[1], strict=True)):
        assert_error_like_eager(*triple, kind="gradient", name=f"gradient {place}")
    return mine


def gelus(approximate):
    return (
        lambda x: gu.gelu(x, approximate),
        lambda x: F.gelu(x, approximate=approximate),
    )


@DTYPES
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("size", SIZES)
def test_gelu_errs_like_eager(size, scale, approximate, dtype):
    x = (torch.randn(size) * scale).to(dtype)
    judge(*gelus(approximate), torch.randn(size).to(dtype), x)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_near_everywhere(approximate):
    x = torch.linspace(-14, 14, 200001)
    exact = F.gelu(x.double(), approximate=approximate)
    error = (gu.gelu(x, approximate).double() - exact).abs()
    # 4 ulp where the result is of the size of x; the tail, of which eager keeps nothing, to 1e-5.
    assert (error <= 2.0**-22 * x.abs() + 1e-37).all()
    tail = (x > -9) & (x < -3)
    if approximate == "none":
        exact = x.double() * torch.special.erfc(-x.double() / 2**0.5) / 2
        error = (gu.gelu(x).double() - exact).abs()
        assert (error[tail] <= 1e-5 * exact[tail].abs()).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_what_is_not_finite_is_in_eagers_class(approximate):
    # 16 elements and one more: eager itself gives NaN for inf in some vector paths.
    x = torch.tensor([float("nan"), -float("inf"), -1e30, 1e30, 0.0, -0.0])
    assert_same_class(gu.gelu(x, approximate), F.gelu(x, approximate=approximate))
    assert gu.gelu(torch.tensor(float("inf")), approximate) == float("inf")
    x = torch.tensor([-1e15, -30.0, 30.0, 1e15, float("nan")])
    ones = torch.ones(5)
    ours, eager = gelus(approximate)
    assert_same_class(derivatives(ours, ones, x)[1][0], derivatives(eager, ones, x)[1][0])


def layouts():
    base = torch.randn(6, 10, 8)
    return {
        "transposed": base.transpose(0, 2),
        "sliced": base[:, ::2, 1:],
        "expanded": torch.randn(6, 1, 8).expand(6, 10, 8),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "misaligned": torch.randn(481)[1:].view(6, 10, 8),
        "empty": torch.randn(0, 8),
        "scalar": torch.randn(()),
    }


@pytest.mark.parametrize("layout", layouts())
def test_gelu_takes_any_strides(layout):
    x = layouts()[layout]
    for upstream in (torch.randn(x.shape), torch.randn(()).expand(x.shape)):
        judge(*gelus("tanh"), upstream, x)


def norms(shape, with_weight, with_bias, eps=1e-5):
    def arrange(affine):
        affine = list(affine)
        return affine.pop(0) if with_weight else None, affine.pop(0) if with_bias else None

    return (
        lambda x, *affine: gu.layer_norm(x, shape, *arrange(affine), eps),
        lambda x, *affine: F.layer_norm(x, shape, *arrange(affine), eps),
    )


@DTYPES
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_layer_norm_errs_like_eager(n_rows, n_columns, affine, dtype):
    x = torch.randn(n_rows, n_columns) * 3 + 1
    parts = [torch.randn(n_columns) for asked in affine if asked]
    tensors = [tensor.to(dtype) for tensor in (x, *parts)]
    judge(*norms((n_columns,), *affine), torch.randn(n_rows, n_columns).to(dtype), *tensors)


def test_layer_norm_takes_a_large_mean():
    x = torch.randn(40, 768) + 1000.0
    judge(*norms((768,), True, True), torch.randn(40, 768), x, torch.randn(768), torch.randn(768))


def test_layer_norm_of_bfloat16_with_float32_weights():
    x, weight, bias = torch.randn(9, 33).bfloat16(), torch.randn(33), torch.randn(33)
    ours, eager = norms((33,), True, True)
    mine = derivatives(ours, torch.ones(9, 33), x, weight, bias)
    theirs = derivatives(eager, torch.ones(9, 33), x, weight, bias)
    for a, b in zip((mine[0], *mine[1]), (theirs[0], *theirs[1]), strict=True):
        assert a.dtype is b.dtype
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", sorted(set(layouts()) - {"empty", "scalar"}))
def test_layer_norm_takes_any_strides(name):
    x = layouts()[name]
    weight = torch.randn(2 * x.shape[-1])[::2]
    for upstream in (torch.randn(x.shape), torch.randn(()).expand(x.shape)):
        judge(*norms(x.shape[-1:], True, False), upstream, x, weight)


def test_layer_norm_over_several_dimensions():
    x = torch.randn(2, 7, 3, 5)
    tensors = (x, torch.randn(3, 5), torch.randn(3, 5))
    judge(*norms((3, 5), True, True), torch.randn(x.shape), *tensors)


def test_layer_norm_without_rows_has_zero_parameter_gradients():
    _, (dx, dweight, dbias) = derivatives(
        norms((8,), True, True)[0],
        torch.zeros(0, 8),
        torch.zeros(0, 8),
        torch.ones(8),
        torch.ones(8),
    )
    assert dx.shape == (0, 8)
    assert torch.equal(dweight, torch.zeros(8))
    assert torch.equal(dbias, torch.zeros(8))


@pytest.mark.parametrize("wanted", range(1, 8))
def test_only_the_gradients_asked_for_are_computed(wanted):
    x, weight, bias = torch.randn(20, 33), torch.randn(33), torch.randn(33)
    for place, tensor in enumerate((x, weight, bias)):
        tensor.requires_grad_(bool(wanted >> place & 1))
    gu.layer_norm(x, 33, weight, bias).sin().sum().backward()
    copies = [t.detach().clone().requires_grad_(t.requires_grad) for t in (x, weight, bias)]
    F.layer_norm(copies[0], (33,), *copies[1:]).sin().sum().backward()
    for ours, theirs in zip((x, weight, bias), copies, strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_constant_and_not_finite_rows_end_in_eagers_class():
    x = torch.zeros(4, 20)
    x[1, 3], x[2, 4], x[3] = float("nan"), float("inf"), 5.0
    assert_same_class(gu.layer_norm(x, 20), F.layer_norm(x, (20,)))
    assert torch.equal(gu.layer_norm(x, 20)[3], torch.zeros(20))


def test_bits_do_not_depend_on_the_number_of_threads():
    x, weight, bias = torch.randn(301, 257), torch.randn(257), torch.randn(257)
    upstream = torch.randn(301, 257)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer = derivatives(norms((257,), True, True)[0], upstream, x, weight, bias)
            found.append([layer[0], *layer[1]])
            for approximate in ("none", "tanh"):
                out, (dx,) = derivatives(gelus(approximate)[0], upstream, x)
                found[-1] += [out, dx]
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("function", [gu.gelu, lambda x: gu.layer_norm(x, 5)])
def test_a_second_derivative_is_refused(function):
    x = torch.randn(3, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(function(x.sin()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        grad.square().sum().backward()


@pytest.mark.parametrize("function", [gu.gelu, lambda x: gu.layer_norm(x, 5)])
def test_transforms_and_subclasses_are_refused(function):
    class Tagged(torch.Tensor):
        pass

    with pytest.raises(RuntimeError, match=r"does not run inside torch\.func transforms"):
        torch.vmap(function)(torch.randn(2, 3, 5))
    with pytest.raises(
        TypeError, match=r"expected a torch\.Tensor itself, got its subclass Tagged"
    ):
        function(torch.randn(3, 5).as_subclass(Tagged))


@pytest.mark.parametrize("function", [gu.gelu, lambda x: gu.layer_norm(x, 5)])
def test_what_the_kernel_cannot_take_raises_where_it_is_forced(function):
    with pytest.raises(RuntimeError, match=r"=cpp is forced .* it takes float32 and bfloat16"):
        function(torch.randn(3, 5).double())


def test_the_registered_operators_pass_opcheck():
    x = torch.randn(6, 5, requires_grad=True)
    weight, bias = torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    ops = torch.ops.groundup
    for strided in (x, x.detach().t().requires_grad_(), x.detach()[::2].requires_grad_()):
        torch.library.opcheck(ops.gelu.default, (strided, True), test_utils=checks)
        columns = strided.shape[1]
        torch.library.opcheck(
            ops.layer_norm.default, (strided, columns, None, None, 1e-5), test_utils=checks
        )
    torch.library.opcheck(ops.layer_norm.default, (x, 5, weight, bias, 1e-5), test_utils=checks)


def test_both_compile_with_gradients_and_a_dynamic_batch():
    def function(x, weight, bias):
        return gu.gelu(gu.layer_norm(x, 8, weight, bias), "tanh").square().sum()

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, backend=counter, dynamic=True)
    for batch in (3, 5, 7):
        tensors = [torch.randn(batch, 8), torch.randn(8), torch.randn(8)]
        for tensor in tensors:
            tensor.requires_grad_()
        expected = torch.autograd.grad(function(*tensors), tensors)
        torch.testing.assert_close(torch.autograd.grad(compiled(*tensors), tensors), expected)
    assert counter.frame_count <= 2


def other_isas():
    if native.missing is not None:
        return []
    return [isa for isa in native.core.isas() if isa != native.core.isa()]


@pytest.mark.parametrize("isa", other_isas())
def test_the_other_instruction_sets_pass_too(isa):
    done = subprocess.run(
        [
            *PYTEST,
            __file__,
            str(ADDED),
            "-k",
            CORE,
        ],
        env={**os.environ, "GROUNDUP_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("function", [lambda x: gu.layer_norm(x, 5), gu.gelu])
def test_a_tensor_without_memory_is_refused(function):
    released = torch.zeros(3, 5)
    released.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="input: expected a tensor with memory, got one of shape"):
        function(released)
