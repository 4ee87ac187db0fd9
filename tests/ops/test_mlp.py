"""mlp: two linear layers in one node, bit for bit; everything unusual is the two layers."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def problem(n_rows, n_in, n_hidden, n_out, transposed=False, with_bias=True):
    """[input, weight_1, bias_1, weight_2, bias_2]"""
    shapes = (n_hidden, n_in), (n_out, n_hidden)
    first, second = (torch.randn(shape[:: -1 if transposed else 1]) / 8 for shape in shapes)
    biases = (torch.randn(n_hidden), torch.randn(n_out)) if with_bias else (None, None)
    tensors = [torch.randn(n_rows, n_in), first, biases[0], second, biases[1]]
    return [None if each is None else each.requires_grad_() for each in tensors]


def two_layers(x, weight_1, bias_1, weight_2, bias_2, activation="gelu_tanh", transposed=False):
    hidden = gu.linear(x, weight_1, bias_1, activation=activation, transposed=transposed)
    return gu.linear(hidden, weight_2, bias_2, transposed=transposed)


def derivatives(function, tensors, upstream, **options):
    leaves = [each for each in tensors if each is not None and each.requires_grad]
    out = function(*tensors, **options)
    return out, *torch.autograd.grad(out, leaves, upstream)


def is_one_node(out):
    return "MLP" in type(out.grad_fn).__name__


@needs_native
@pytest.mark.parametrize("activation", APPROXIMATE)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (7, 33, 130, 5), (200, 65, 17, 100)])
def test_bits_are_those_of_the_two_layers(sizes, transposed, activation):
    options = {"activation": activation, "transposed": transposed}
    for with_bias in (True, False):
        tensors = problem(*sizes, transposed, with_bias)
        upstream = torch.randn(sizes[0], sizes[3])
        with gu.use("linear=cpp"), dispatch.ran() as log:
            ours = derivatives(gu.mlp, tensors, upstream, **options)
            theirs = derivatives(two_layers, tensors, upstream, **options)
        assert is_one_node(ours[0])
        assert not is_one_node(theirs[0])
        assert log == [("linear", "cpp")] * 4
        assert all(map(torch.equal, ours, theirs))
        assert [each.stride() for each in ours] == [each.stride() for each in theirs]


@needs_native
def test_more_dimensions_and_any_strides_are_taken():
    _, *weights = problem(1, 24, 40, 20)
    for x in (torch.randn(24), torch.randn(2, 0, 24), torch.randn(5, 3, 24).transpose(0, 1)):
        shape = (*x.shape[:-1], 20)
        for upstream in (torch.randn(shape), torch.randn(()).expand(shape)):
            with gu.use("linear=cpp"):
                ours, theirs = (
                    derivatives(f, [x.requires_grad_(), *weights], upstream)
                    for f in (gu.mlp, two_layers)
                )
            assert is_one_node(ours[0])
            assert all(map(torch.equal, ours, theirs))


@needs_native
def test_weights_of_any_strides_are_taken():
    x, _, bias_1, _, bias_2 = problem(9, 24, 40, 20)
    tensors = [x, torch.randn(80, 72)[::2, ::3], bias_1, torch.randn(40, 20).t(), bias_2]
    for each in tensors:
        each.requires_grad_()
    upstream = torch.randn(20, 9).t()
    with gu.use("linear=cpp"):
        ours, theirs = (derivatives(f, tensors, upstream) for f in (gu.mlp, two_layers))
    assert is_one_node(ours[0])
    assert all(map(torch.equal, ours, theirs))


@needs_native
@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=5))[1:])
def test_only_the_gradients_asked_for_are_computed(wanted):
    tensors = [t.requires_grad_(each) for t, each in zip(problem(9, 8, 7, 6), wanted, strict=True)]
    with gu.use("linear=cpp"):
        gu.mlp(*tensors).sum().backward()
        found = [each.grad for each in tensors]
        for each in tensors:
            each.grad = None
        two_layers(*tensors).sum().backward()
    for ours, tensor in zip(found, tensors, strict=True):
        assert (ours is None) == (tensor.grad is None)
        assert ours is None or torch.equal(ours, tensor.grad)


@pytest.mark.parametrize("name", ["torch", "reference"])
@pytest.mark.parametrize("activation", APPROXIMATE)
def test_other_forms_are_two_layers(activation, name):
    tensors = problem(9, 8, 7, 6)
    with gu.use(f"linear={name}"), dispatch.ran() as log:
        found = gu.mlp(*tensors, activation=activation)
    assert log == [("linear", name)] * 2
    x, weight_1, bias_1, weight_2, bias_2 = tensors
    hidden = F.gelu(F.linear(x, weight_1, bias_1), approximate=APPROXIMATE[activation])
    torch.testing.assert_close(found, F.linear(hidden, weight_2, bias_2))


@needs_native
def test_what_the_kernel_does_not_take_is_two_layers():
    x, *weights = problem(256, 128, 512, 128)
    assert is_one_node(gu.mlp(x, *weights))
    assert not is_one_node(gu.mlp(x[:8], *weights))  # too small to pay
    with torch.autocast("cpu", torch.bfloat16):
        assert gu.mlp(x, *weights).dtype is torch.bfloat16
    assert gu.mlp(x.double(), *(each.double() for each in weights)).dtype is torch.float64
    with torch.no_grad():
        assert torch.equal(gu.mlp(x, *weights), two_layers(x, *weights))


@needs_native
def test_it_compiles_into_the_two_operators():
    x, *weights = problem(256, 128, 512, 128)
    compiled = torch.compile(gu.mlp, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, *weights), gu.mlp(x, *weights))


@needs_native
def test_a_second_derivative_is_refused():
    x, *weights = problem(4, 5, 6, 7)
    with gu.use("linear=cpp"):
        out = gu.mlp(x.sin(), *weights).square().sum()
    (grad,) = torch.autograd.grad(out, x, create_graph=True)
    with pytest.raises(RuntimeError, match="linear cannot be differentiated twice"):
        grad.square().sum().backward()


def test_bad_input_raises_linears_sentences():
    x, weight_1, bias_1, weight_2, bias_2 = problem(4, 5, 6, 7)
    with pytest.raises(ValueError, match=r"input: expected shape .* with in = 5, .* got \(4, 6\)"):
        gu.mlp(torch.zeros(4, 6), weight_1, bias_1, weight_2, bias_2)
    with pytest.raises(ValueError, match=r"input: expected shape .* with in = 5, .* got \(4, 6\)"):
        gu.mlp(x, weight_1, bias_1, weight_1, bias_1)
    with pytest.raises(ValueError, match="activation: expected None"):
        gu.mlp(x, weight_1, bias_1, weight_2, bias_2, activation="relu")
    with pytest.raises(TypeError, match="bias: expected a torch"):
        gu.mlp(x, weight_1, 1.0, weight_2, bias_2)


@needs_native
def test_the_kernel_refuses_what_it_cannot_do():
    zeros = (0, 0, 0, 0, [0] * 8)
    with pytest.raises(ValueError, match="got n_rows -1"):
        native.core.mlp_backward_cpu(*zeros, -1, 1, 1, 1, 1, 0, 0, 0, 0, False, 0, 0, False, 0)
    with pytest.raises(
        ValueError, match="preactivation and activated, got activation 1 or address"
    ):
        native.core.mlp_backward_cpu(*zeros, 1, 1, 1, 1, 1, 0, 0, 0, 0, False, 0, 0, False, 0)
