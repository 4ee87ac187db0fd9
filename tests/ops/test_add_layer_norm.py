"""add_layer_norm is a sum and layer_norm of it, with the errors of eager's two steps."""

import pytest
import torch
from compare import assert_error_like_eager
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
FORMS = ["torch", "reference", pytest.param("cpp", marks=needs_native)]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])


def in_two_steps(input, residual, shape, weight=None, bias=None, eps=1e-5):
    total = input + residual
    return F.layer_norm(total, shape, weight, bias, eps), total


def derivatives(function, tensors, upstream, **options):
    """(output, sum, gradients), of what is given: None stays None."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    shape = tensors[0].shape[-1:]
    outputs = function(leaves[0], leaves[1], shape, *leaves[2:], **options)
    live = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(outputs, live, [u.to(outputs[0].dtype) for u in upstream])
    return *(output.detach() for output in outputs), *gradients


def judge(tensors, upstream):
    mine = derivatives(gu.add_layer_norm, tensors, upstream)
    theirs = derivatives(in_two_steps, tensors, upstream)
    double = [None if t is None else t.double() for t in tensors]
    exact = derivatives(in_two_steps, double, [u.double() for u in upstream])
    assert torch.equal(mine[1], theirs[1])
    for place, triple in enumerate(zip(mine, theirs, exact, strict=True)):
        kind = "forward" if place < 2 else "gradient"
        assert mine[place].dtype is theirs[place].dtype
        assert_error_like_eager(*triple, kind=kind, name=f"result {place}")


def problem(n_rows, n_columns, dtype=torch.float32, affine=(True, True)):
    rows = [torch.randn(n_rows, n_columns) * 2 + 1 for _ in range(2)]
    parts = [torch.randn(n_columns) if asked else None for asked in affine]
    return [None if t is None else t.to(dtype) for t in (*rows, *parts)]


@DTYPES
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)])
def test_every_form_errs_like_eager(form, affine, dtype):
    upstream = torch.randn(33, 63).to(dtype), torch.randn(33, 63).to(dtype)
    with gu.use(f"layer_norm={form}"), dispatch.ran() as log:
        judge(problem(33, 63, dtype, affine), upstream)
    assert set(log) == {("layer_norm", form)}


@needs_native
@given(
    # Over a handful of numbers the rule is luck, eager's and ours.
    n_rows=st.sampled_from([5, 7, 63, 129]),
    n_columns=st.sampled_from([16, 17, 129, 2100]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=20, deadline=None)
def test_the_kernel_errs_like_eager_at_any_size(n_rows, n_columns, seed):
    torch.manual_seed(seed)
    upstream = torch.randn(n_rows, n_columns), torch.randn(n_rows, n_columns)
    with gu.use("layer_norm=cpp"):
        judge(problem(n_rows, n_columns), upstream)


@needs_native
def test_output_is_layer_norms_of_the_sum_to_the_bit():
    for dtype in (torch.float32, torch.bfloat16):
        input, residual, weight, bias = problem(70, 129, dtype)
        output, total = gu.add_layer_norm(input, residual, 129, weight, bias)
        assert torch.equal(total, input + residual)
        assert torch.equal(output, gu.layer_norm(total, 129, weight, bias))


@needs_native
def test_any_strides_and_several_dimensions():
    wide = torch.randn(6, 10, 16)
    layouts = [wide[:, ::2, :8], wide[:, :5, ::2], wide.transpose(0, 1)[:6, :5, :8], wide[0, 0, :8]]
    weight = torch.randn(16)[::2]
    for input in layouts:
        for residual in (torch.randn(input.shape), wide[:, :5, 8:].expand(6, 5, 8)):
            if input.shape != residual.shape:
                continue
            upstream = torch.randn(input.shape), torch.randn(()).expand(input.shape)
            judge([input, residual, weight, None], upstream)
    output, total = gu.add_layer_norm(wide, wide, (10, 16), torch.randn(10, 16))
    assert output.shape == total.shape == wide.shape


@needs_native
@pytest.mark.parametrize("used", ["output", "sum"])
def test_one_of_the_two_results_may_go_unused(used):
    tensors = problem(20, 33)
    results = []
    for function in (gu.add_layer_norm, in_two_steps):
        leaves = [t.clone().requires_grad_() for t in tensors]
        output, total = function(leaves[0], leaves[1], (33,), *leaves[2:])
        (output if used == "output" else total).sin().sum().backward()
        results.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@needs_native
@pytest.mark.parametrize("wanted", range(16))
def test_only_the_gradients_asked_for_are_given(wanted):
    found = []
    for function in (gu.add_layer_norm, in_two_steps):
        torch.manual_seed(1)
        leaves = [t.requires_grad_(bool(wanted >> i & 1)) for i, t in enumerate(problem(20, 33))]
        output, total = function(leaves[0], leaves[1], (33,), *leaves[2:])
        assert output.requires_grad == bool(wanted)
        assert total.requires_grad == bool(wanted & 3)
        if wanted:
            (output.sin() + total).sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@needs_native
def test_the_two_equal_gradients_are_not_changed_through_each_other():
    # Both inputs get one tensor. One is used again, so that autograd adds to what it got.
    input, residual = (torch.randn(8, 16, requires_grad=True) for _ in range(2))
    output, total = gu.add_layer_norm(input * 1, residual * 1, 16)
    gradients = torch.autograd.grad(output.sin().sum() + total.sum(), (input, residual))
    assert torch.equal(*gradients)
    twice = input * 1
    output, total = gu.add_layer_norm(twice, residual * 1, 16)
    more = torch.autograd.grad(
        output.sin().sum() + total.sum() + (3 * twice).sum(), (input, residual)
    )
    torch.testing.assert_close(more, (gradients[0] + 3, gradients[1]))


@needs_native
def test_bits_do_not_depend_on_the_number_of_threads():
    tensors, before = problem(301, 257), torch.get_num_threads()
    upstream = torch.randn(301, 257), torch.randn(301, 257)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(derivatives(gu.add_layer_norm, tensors, upstream))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_other_shapes_and_dtypes_go_as_torchs_sum_does():
    input, residual = torch.randn(3, 5, 8).bfloat16(), torch.randn(5, 8)
    output, total = gu.add_layer_norm(input, residual, 8)
    assert torch.equal(total, input + residual)
    torch.testing.assert_close(output, F.layer_norm(total, (8,)))
    output, _ = gu.add_layer_norm(torch.randn(3, 8).double(), torch.randn(3, 8).double(), 8)
    assert output.dtype is torch.float64


@needs_native
def test_a_second_derivative_is_refused():
    x = torch.randn(3, 5, requires_grad=True)
    output, total = gu.add_layer_norm(x.sin(), x, 5)
    (gradient,) = torch.autograd.grad((output * total).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="layer_norm cannot be differentiated twice"):
        gradient.square().sum().backward()


@needs_native
def test_fullgraph_with_a_changing_batch():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(gu.add_layer_norm, fullgraph=True, backend=counter, dynamic=True)
    for batch in (3, 5, 7):
        tensors, upstream = problem(batch, 8), torch.randn(2, batch, 8).unbind()
        torch.testing.assert_close(
            derivatives(compiled, tensors, upstream),
            derivatives(gu.add_layer_norm, tensors, upstream),
        )
    assert counter.frame_count <= 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: gu.add_layer_norm(x, [1.0], 8),
            TypeError,
            "residual: expected a torch.Tensor, got list",
        ),
        (
            lambda x: gu.add_layer_norm(x, x, 7),
            ValueError,
            r"input: expected the last dimensions to be normalized_shape = \(7,\), got shape",
        ),
        (
            lambda x: gu.add_layer_norm(x, x, 8, torch.ones(7)),
            ValueError,
            r"weight: expected shape normalized_shape = \(8,\), got \(7,\)",
        ),
        (
            lambda x: gu.add_layer_norm(x, x, 8, [1.0]),
            TypeError,
            r"weight: expected a torch\.Tensor, got list",
        ),
        (
            lambda x: gu.add_layer_norm(x.long(), x.long(), 8),
            TypeError,
            "input: expected a floating point dtype, got torch.int64",
        ),
    ],
)
def test_bad_input_raises_a_sentence(call, kind, message):
    with pytest.raises(kind, match=message):
        call(torch.zeros(3, 8))
