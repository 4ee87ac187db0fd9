"""layer_norm and gelu by the reference, and the native kernels judged by it.

The tests of each op's formula are in tests/reference, those of the kernels in
test_layer_norm_gelu_cpp.py, whose problems are taken here.
"""

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from ops.test_layer_norm_gelu_cpp import derivatives, gelus, judge, layouts, norms
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
functions = pytest.mark.parametrize("function", [gu.gelu, lambda x: gu.layer_norm(x, 5)])


@pytest.fixture
def by_reference():
    with gu.use("gelu=reference,layer_norm=reference"), dispatch.ran() as log:
        yield log
    assert all(name == "reference" for _, name in log)


@dtypes
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("size", [0, 1, 17, 3001])
def test_gelu_errs_like_eager(size, approximate, dtype, by_reference):
    x = (torch.randn(size) * 3).to(dtype)
    judge(*gelus(approximate), torch.randn(size).to(dtype), x)
    assert by_reference == [("gelu", "reference")]


@dtypes
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 768), (5, 1), (33, 63)])
def test_layer_norm_errs_like_eager(n_rows, n_columns, affine, dtype, by_reference):
    x = torch.randn(n_rows, n_columns) * 3 + 1
    parts = [torch.randn(n_columns) for asked in affine if asked]
    tensors = [tensor.to(dtype) for tensor in (x, *parts)]
    judge(*norms((n_columns,), *affine), torch.randn(x.shape).to(dtype), *tensors)
    assert by_reference == [("layer_norm", "reference")]


def test_float64_is_computed_in_float64(by_reference):
    x, weight, bias, upstream = torch.randn(4, 9, 33, dtype=torch.float64).unbind()
    weight, bias = weight[0], bias[0]
    for pair, tensors in (
        (gelus("none"), [x]),
        (gelus("tanh"), [x]),
        (norms((33,), True, True), [x, weight, bias]),
    ):
        ours, eager = (derivatives(function, upstream, *tensors) for function in pair)
        torch.testing.assert_close(ours, eager, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", layouts())
def test_any_strides_are_taken(name, by_reference):
    x = layouts()[name]
    for upstream in (torch.randn(x.shape), torch.randn(()).expand(x.shape)):
        judge(*gelus("tanh"), upstream, x)
        if x.dim():
            weight = torch.randn(2 * x.shape[-1])[::2]
            judge(*norms(x.shape[-1:], True, False), upstream, x, weight)


def test_layer_norm_over_several_dimensions(by_reference):
    x = torch.randn(2, 7, 3, 5)
    tensors = (x, torch.randn(3, 5), torch.randn(3, 5))
    judge(*norms((3, 5), True, True), torch.randn(x.shape), *tensors)


def test_layer_norm_of_bfloat16_with_float32_weights(by_reference):
    tensors = torch.randn(9, 33).bfloat16(), torch.randn(33), torch.randn(33)
    ours, eager = (derivatives(f, torch.ones(9, 33), *tensors) for f in norms((33,), True, True))
    for a, b in zip((ours[0], *ours[1]), (eager[0], *eager[1]), strict=True):
        assert a.dtype is b.dtype
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_what_is_not_finite_ends_in_eagers_class_without_a_warning(approximate, by_reference):
    x = torch.tensor([float("nan"), -float("inf"), -1e30, 1e30, 0.0, -0.0])
    assert_same_class(gu.gelu(x, approximate), F.gelu(x, approximate=approximate))
    x = torch.tensor([-1e15, -30.0, 30.0, 1e15, float("nan")])
    ours, eager = (derivatives(f, torch.ones(5), x)[1][0] for f in gelus(approximate))
    assert_same_class(ours, eager)
    rows = torch.zeros(4, 20)
    rows[1, 3], rows[2, 4], rows[3] = float("nan"), float("inf"), 5.0
    assert_same_class(gu.layer_norm(rows, 20), F.layer_norm(rows, (20,)))


@pytest.mark.parametrize("wanted", range(1, 8))
def test_only_the_gradients_asked_for_are_given(wanted, by_reference):
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


@needs_native
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("op", ["gelu=none", "gelu=tanh", "layer_norm"])
def test_the_native_kernels_are_judged_by_the_reference(op, dtype):
    """tests/compare.py's rule with the reference in eager's place, and in float64 as the truth."""
    tensors = [torch.randn(65, 129) * 3]
    if op == "layer_norm":
        tensors += [torch.randn(129), torch.randn(129)]
        function = norms((129,), True, True)[0]
    else:
        function = gelus(op.partition("=")[2])[0]
    tensors = [tensor.to(dtype) for tensor in tensors]
    upstream = torch.randn(65, 129).to(dtype)
    with gu.use("cpp"):
        fast = derivatives(function, upstream, *tensors)
    with gu.use("reference"):
        slow = derivatives(function, upstream, *tensors)
        exact = derivatives(function, upstream.double(), *(each.double() for each in tensors))
    assert_error_like_eager(fast[0], slow[0], exact[0])
    for place, triple in enumerate(zip(fast[1], slow[1], exact[1], strict=True)):
        assert_error_like_eager(*triple, kind="gradient", name=f"gradient {place}")


@functions
def test_a_second_derivative_is_refused(function, by_reference):
    x = torch.randn(3, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(function(x.sin()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        grad.square().sum().backward()


@functions
def test_transforms_modes_and_subclasses_are_refused(function, by_reference):
    class Tagged(torch.Tensor):
        pass

    with pytest.raises(RuntimeError, match=r"does not run inside torch\.func transforms"):
        torch.vmap(function)(torch.randn(2, 3, 5))
    with pytest.raises(TypeError, match=r"expected a torch\.Tensor itself, got its subclass"):
        function(torch.randn(3, 5).as_subclass(Tagged))
    with FakeTensorMode(), pytest.raises(RuntimeError, match="it computes with NumPy"):
        function(torch.randn(3, 5))


def test_rows_without_columns_are_refused(by_reference):
    with pytest.raises(RuntimeError, match="it takes rows with columns, and these have none"):
        gu.layer_norm(torch.zeros(3, 0), 0)
