"""linear on the native kernel: as near to float64 as eager, for any sizes and strides."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))

PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
CORE = "(errs_like_eager and 1030) or any_sizes or not_finite or sizes3 or sizes9 or sizes10"
SHAPES = [(1, 1, 1), (6, 64, 64), (33, 63, 129), (129, 768, 50), (50, 130, 1030), (1500, 40, 70)]
APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def pair(activation):
    def eager(x, weight, bias=None):
        out = F.linear(x, weight, bias)
        return out if activation is None else F.gelu(out, approximate=APPROXIMATE[activation])

    return lambda x, w, b=None: gu.linear(x, w, b, activation=activation), eager


FORMS = {activation: pair(activation) for activation in (None, "gelu", "gelu_tanh")}


@pytest.fixture
def forced():
    with gu.use("linear=cpp"), dispatch.ran() as log:
        yield
    assert log
    assert all(each == ("linear", "cpp") for each in log)


def problem(n_rows, n_in, n_out, transposed=False, with_bias=True):
    """(upstream, input, weight, bias) of unit variance at the output."""
    weight = torch.randn(n_in, n_out).t() if transposed else torch.randn(n_out, n_in)
    tensors = [torch.randn(n_rows, n_in), weight / n_in**0.5]
    return torch.randn(n_rows, n_out), *tensors, *([torch.randn(n_out)] if with_bias else [])


def derivatives(function, upstream, *tensors):
    """(output, gradients) with `upstream` flowing in."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    return output.detach(), *torch.autograd.grad(output, leaves, upstream.to(output.dtype))


def judge(ours, eager, upstream, *tensors):
    mine = derivatives(ours, upstream, *tensors)
    theirs = derivatives(eager, upstream, *tensors)
    exact = derivatives(eager, upstream.double(), *(tensor.double() for tensor in tensors))
    assert_error_like_eager(mine[0], theirs[0], exact[0], name="output")
    for place, triple in enumerate(zip(mine[1:], theirs[1:], exact[1:], strict=True)):
        assert_error_like_eager(*triple, kind="gradient", name=f"gradient {place}")


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("activation", FORMS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_errs_like_eager(shape, transposed, activation):
    judge(*FORMS[activation], *problem(*shape, transposed))
    with torch.no_grad():
        _, *tensors = problem(*shape, transposed)
        ours, eager = (function(*tensors) for function in FORMS[activation])
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-4)


@st.composite
def layouts(draw, n_rows, n_columns):
    """A (n_rows, n_columns) view of random memory."""
    row, column = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    before, after = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    if draw(st.booleans()):
        base = torch.randn(n_rows * row, before + n_columns * column + after)
        return base[::row, before : before + n_columns * column : column]
    base = torch.randn(n_columns * column, before + n_rows * row + after)
    return base[::column, before : before + n_rows * row : row].t()


@pytest.mark.usefixtures("forced")
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_sizes_and_strides_are_taken(data):
    n_rows, n_in, n_out = (data.draw(st.integers(1, 150)) for _ in range(3))
    activation = data.draw(st.sampled_from(list(FORMS)))
    x = data.draw(layouts(n_rows, n_in))
    weight = data.draw(layouts(n_out, n_in))
    upstream = data.draw(layouts(n_rows, n_out))
    bias = torch.randn(2 * n_out)[::2]
    tensors = (x, weight / n_in**0.5, bias)
    ours = derivatives(FORMS[activation][0], upstream, *tensors)
    exact = derivatives(FORMS[activation][1], upstream.double(), *(t.double() for t in tensors))
    # Not eager's own error: of a single number eager's may happen to be none.
    for found, right in zip(ours, exact, strict=True):
        atol = 1e-5 * (1 + right.abs().max().item())
        torch.testing.assert_close(found.double(), right, atol=atol, rtol=0)


@pytest.mark.usefixtures("forced")
def test_expanded_tensors_and_more_dimensions_are_taken():
    weight, bias = torch.randn(20, 24), torch.randn(20)
    for x in (
        torch.randn(24),
        torch.randn(2, 5, 24),
        torch.randn(5, 2, 24).transpose(0, 1),
        torch.randn(24).expand(2, 7, 24),
        torch.randn(0, 24),
        torch.randn(2, 0, 24),
    ):
        for upstream in (torch.randn(*x.shape[:-1], 20), torch.randn(()).expand(*x.shape[:-1], 20)):
            judge(*FORMS[None], upstream, x, weight, bias)
            judge(*FORMS["gelu"], upstream, x, weight, bias)


@pytest.mark.usefixtures("forced")
def test_the_weights_gradient_has_the_weights_layout():
    for transposed in (False, True):
        _, x, weight, bias = problem(30, 20, 40, transposed)
        leaf = weight.detach().requires_grad_()
        gu.linear(x, leaf, bias).sum().backward()
        assert leaf.grad.stride() == weight.stride()


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("activation", FORMS)
@pytest.mark.parametrize("shape", [(30, 20, 40), (3, 1, 7), (5, 6, 1)])
def test_a_weight_said_to_be_transposed_is_its_transpose(shape, activation):
    upstream, x, weight, bias = problem(*shape, True)

    def ours(x, weight, bias):
        return gu.linear(x, weight, bias, activation=activation, transposed=True)

    expected = derivatives(FORMS[activation][0], upstream, x, weight, bias)
    found = derivatives(ours, upstream, x, weight.t(), bias)
    found = (*found[:2], found[2].t(), found[3])
    assert all(map(torch.equal, found, expected))
    leaf = weight.t().detach().requires_grad_()
    ours(x, leaf, bias).sum().backward()
    assert leaf.grad.is_contiguous()


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("activation", [None, "gelu_tanh"])
@pytest.mark.parametrize("wanted", range(1, 8))
def test_only_the_gradients_asked_for_are_computed(wanted, activation):
    _, *tensors = problem(20, 33, 17)
    for place, tensor in enumerate(tensors):
        tensor.requires_grad_(bool(wanted >> place & 1))
    gu.linear(*tensors, activation=activation).sin().sum().backward()
    copies = [t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]
    FORMS[activation][1](*copies).sin().sum().backward()
    for ours, theirs in zip(tensors, copies, strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_is_not_finite_spreads_as_in_eager(value):
    upstream, x, weight, bias = problem(40, 50, 70)
    weight[3], x[7] = 0.0, 0.0  # zero times infinity is NaN, wherever a zero is
    for tensor in (x, weight, bias, upstream):
        kept = tensor.clone()
        tensor.view(-1)[61 % tensor.numel()] = value
        ours, eager = (derivatives(f, upstream, x, weight, bias) for f in FORMS[None])
        for mine, theirs in zip(ours, eager, strict=True):
            assert_same_class(mine, theirs)
        tensor.copy_(kept)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("shape", [(301, 500, 257), (40, 900, 1200), (1000, 60, 50)])
def test_bits_do_not_depend_on_the_number_of_threads(shape):
    before, found = torch.get_num_threads(), []
    tensors = problem(*shape)
    try:
        for threads in (1, 2, 3, 16):
            torch.set_num_threads(threads)
            found.append(derivatives(FORMS["gelu"][0], *tensors))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.usefixtures("forced")
def test_several_python_threads_at_once():
    problems = [problem(64 + 30 * i, 128, 64 * (i + 1)) for i in range(4)]
    expected = [derivatives(FORMS["gelu"][0], *each) for each in problems]
    wrong = []

    def work(place):
        for _ in range(20):
            found = derivatives(FORMS["gelu"][0], *problems[place])
            if not all(map(torch.equal, found, expected[place])):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORKED = """
import os, torch, groundup as gu
x, weight = torch.randn(200, 256), torch.randn(256, 256)
with gu.use("linear=cpp"):
    expected = gu.linear(x, weight)
    child = os.fork()
    if child == 0:
        # Not torch.equal: torch's own threads did not survive the fork either.
        os._exit(0 if (gu.linear(x, weight).numpy() == expected.numpy()).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_computes_the_same():
    done = subprocess.run([sys.executable, "-c", FORKED], timeout=120, check=False)
    assert done.returncode == 0


@pytest.mark.usefixtures("forced")
def test_a_second_derivative_is_refused():
    x = torch.randn(3, 5, requires_grad=True)
    out = gu.linear(x.sin(), torch.randn(4, 5)).square().sum()
    (grad,) = torch.autograd.grad(out, x, create_graph=True)
    with pytest.raises(RuntimeError, match="linear cannot be differentiated twice"):
        grad.square().sum().backward()


def test_what_the_kernel_cannot_take_raises_where_it_is_forced():
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    with gu.use("linear=cpp"):
        with pytest.raises(RuntimeError, match=r"it takes float32, and input is torch\.float64"):
            gu.linear(x.double(), weight.double())
        with pytest.raises(RuntimeError, match="it takes weights with elements, and weight is"):
            gu.linear(x[:, :0], weight[:, :0])
        with pytest.raises(RuntimeError, match=r"does not run inside torch\.func transforms"):
            torch.vmap(gu.linear, (0, None))(x, weight)


def test_a_tensor_without_memory_is_refused():
    released = torch.zeros(3, 5)
    released.untyped_storage().resize_(0)
    weight = torch.randn(4, 5)
    with gu.use("linear=cpp"):
        with pytest.raises(ValueError, match="input: expected a tensor with memory, got one of"):
            gu.linear(released, weight)
        with pytest.raises(ValueError, match="weight: expected a tensor with memory, got one of"):
            gu.linear(torch.randn(2, 5), released)


def test_the_registered_operators_pass_opcheck():
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    ops = torch.ops.groundup
    for transposed in (False, True):
        for activation in (0, 1, 2):
            upstream, *tensors = problem(6, 5, 7, transposed)
            for tensor in tensors:
                tensor.requires_grad_()
            torch.library.opcheck(ops.linear.default, (*tensors, activation), test_utils=checks)
            x, weight, _ = (tensor.detach() for tensor in tensors)
            preactivation = torch.randn(6, 7) if activation else None
            for wanted in ([True, True, True], [False, True, False], [True, False, True]):
                arguments = (upstream, x, weight, preactivation, activation, wanted)
                torch.library.opcheck(
                    ops.linear_backward.default,
                    arguments,
                    test_utils=("test_schema", "test_faketensor"),
                )


def test_the_operator_checks_what_the_kernel_trusts():
    operator = torch.ops.groundup.linear
    with pytest.raises(TypeError, match=r"groundup::linear: expected float32, got torch\.float64"):
        operator(torch.zeros(3, 5).double(), torch.zeros(4, 5), None, 0)
    with pytest.raises(ValueError, match=r"expected input \(\.\.\., 6\), got \(3, 5\)"):
        operator(torch.zeros(3, 5), torch.zeros(4, 6), None, 0)
    with pytest.raises(ValueError, match=r"expected bias \(4,\), got \(5,\)"):
        operator(torch.zeros(3, 5), torch.zeros(4, 5), torch.zeros(5), 0)


def test_linear_compiles_with_gradients_and_a_dynamic_batch():
    def function(x, weight, bias):
        return gu.linear(x, weight.t(), bias, activation="gelu_tanh").square().sum()

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, backend=counter, dynamic=True)
    for batch in (200, 300, 330):
        tensors = [torch.randn(batch, 256), torch.randn(256, 256), torch.randn(256)]
        for tensor in tensors:
            tensor.requires_grad_()
        with dispatch.ran() as log:
            expected = torch.autograd.grad(function(*tensors), tensors)
            found = torch.autograd.grad(compiled(*tensors), tensors)
        assert log == [("linear", "cpp")] * 2
        torch.testing.assert_close(found, expected)
    assert counter.frame_count <= 2


def other_isas():
    if native.missing is not None:
        return []
    return [isa for isa in native.core.isas() if isa != native.core.isa()]


@pytest.mark.parametrize("isa", other_isas())
def test_the_other_instruction_sets_pass_too(isa):
    native_tests = os.path.join(os.path.dirname(__file__), "..", "native", "test_linear.py")
    done = subprocess.run(
        [*PYTEST, __file__, native_tests, "-k", CORE],
        env={**os.environ, "GROUNDUP_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
