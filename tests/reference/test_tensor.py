"""Tensor: finite differences in float64 for every operation, PyTorch's gradients, broadcasting."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from groundup.reference import tensor as T
from groundup.reference.tensor import Tensor

RNG = np.random.default_rng(0)
IDS = np.array([[0, 2, 2], [1, 0, 2]])
TARGETS = np.array([1, 0, 3])
MASK = np.tril(np.ones((4, 4), bool), -1)


def numerical_gradients(function, arrays, h=1e-6):
    """d function(*arrays) / d element, for every element, from values alone."""
    gradients = [np.zeros_like(a) for a in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for i in np.ndindex(array.shape):
            kept = array[i]
            array[i] = kept + h
            above = function(*map(Tensor, arrays)).item()
            array[i] = kept - h
            gradient[i] = (above - function(*map(Tensor, arrays)).item()) / (2 * h)
            array[i] = kept
    return gradients


def gradients(function, arrays):
    leaves = [Tensor(a) for a in arrays]
    function(*leaves).backward()
    return [leaf.grad for leaf in leaves]


def weighted(out):
    """One number that no symmetry of `out` can hide in."""
    return (out * np.cos(np.arange(out.data.size)).reshape(out.shape)).sum()


OPERATIONS = {
    "add": (lambda a, b: a + b, [(3, 4), (3, 4)]),
    "add a row": (lambda a, b: a + b, [(3, 4), (4,)]),
    "subtract a column": (lambda a, b: a - b, [(3, 4), (3, 1)]),
    "multiply, both stretched": (lambda a, b: a * b, [(3, 1, 2), (4, 1)]),
    "divide by a number": (lambda a, b: a / b, [(2, 3), ()]),
    "number over array": (lambda a: 2 / a, [(2, 3)]),
    "power": (lambda a: a**3 + a**-2, [(2, 3)]),
    "matmul": (lambda a, b: a @ b, [(3, 4), (4, 2)]),
    "matmul, batches": (lambda a, b: a @ b, [(2, 3, 4), (2, 4, 2)]),
    "matmul, one matrix for all": (lambda a, b: a @ b, [(2, 3, 4), (4, 2)]),
    "exp": (lambda a: a.exp(), [(2, 3)]),
    "log": (lambda a: (a * a).log(), [(2, 3)]),
    "tanh": (lambda a: a.tanh(), [(2, 3)]),
    "sigmoid": (lambda a: a.sigmoid(), [(2, 3)]),
    "relu": (lambda a: a.relu(), [(2, 3)]),
    "gelu": (lambda a: a.gelu(), [(2, 3)]),
    "sum of all": (lambda a: a.sum(), [(2, 3)]),
    "sum of an axis": (lambda a: a.sum(1), [(2, 3, 2)]),
    "sum of axes, kept": (lambda a: a.sum((0, 2), keepdims=True), [(2, 3, 2)]),
    "mean": (lambda a: a.mean(-1), [(2, 3)]),
    "reshape": (lambda a: a.reshape(3, -1), [(2, 6)]),
    "transpose": (lambda a: a.transpose(0, 2), [(2, 3, 4)]),
    "slice": (lambda a: a[:, 1:3], [(2, 4)]),
    "embedding with repeats": (lambda a: a[IDS], [(3, 4)]),
    "picked elements": (lambda a: a[np.arange(3), TARGETS], [(3, 4)]),
    "concat": (lambda a, b: T.concat([a, b], 1), [(2, 3), (2, 1)]),
    "softmax": (lambda a: T.softmax(a), [(2, 4)]),
    "softmax of columns": (lambda a: T.softmax(a, 0), [(2, 4)]),
    "log softmax": (lambda a: T.log_softmax(a), [(2, 4)]),
    "cross entropy": (lambda a: T.cross_entropy(a, TARGETS), [(3, 4)]),
    "masked softmax": (lambda a: T.softmax(T.masked(a, MASK.T, -np.inf)), [(4, 4)]),
    "layer norm": (T.layer_norm, [(2, 3, 5), (5,), (5,)]),
    "batch norm": (T.batch_norm, [(4, 3, 2), (2,), (2,)]),
    "dropout": (lambda a: T.dropout(a, 0.4, np.random.default_rng(1)), [(3, 4)]),
    "convolution": (lambda a, b: T.causal_convolution(a, b, 2), [(2, 6, 3), (2, 3, 2)]),
    "used three times": (lambda a: a * a + a, [(2, 2)]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_are_those_of_finite_differences(name):
    operation, shapes = OPERATIONS[name]
    arrays = [np.array(RNG.normal(loc=0.1, size=shape)) for shape in shapes]

    def function(*leaves):
        return weighted(operation(*leaves))

    for ours, expected in zip(
        gradients(function, arrays), numerical_gradients(function, arrays), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@settings(max_examples=60)
@given(a=SHAPES, b=SHAPES)
def test_shapes_broadcast_as_numpys_and_gradients_as_torchs(a, b):
    try:
        shape = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ValueError, match="broadcast"):
            Tensor(np.zeros(a)) + Tensor(np.zeros(b))
        return
    arrays = [np.random.default_rng(2).normal(size=s) for s in (a, b)]
    ours = gradients(lambda x, y: (x * y + y).sum(), arrays)
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    (theirs[0] * theirs[1] + theirs[1]).sum().backward()
    assert (Tensor(arrays[0]) * arrays[1]).shape == shape
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y.grad.numpy(), atol=1e-12)


def test_functions_of_networks_are_torchs():
    x, w = RNG.normal(size=(2, 5, 6)), RNG.normal(size=(3, 6, 4))
    gain, bias = RNG.normal(size=(2, 6))
    tx, tw, tg, tb = map(torch.tensor, (x, w, gain, bias))
    same = np.testing.assert_allclose
    same(T.layer_norm(Tensor(x), Tensor(gain), Tensor(bias)).data, F.layer_norm(tx, (6,), tg, tb))
    flat = F.batch_norm(tx.reshape(10, 6), None, None, tg, tb, training=True)
    same(T.batch_norm(Tensor(x), Tensor(gain), Tensor(bias)).data, flat.reshape(2, 5, 6))
    same(Tensor(x).gelu().data, F.gelu(tx, approximate="tanh"))
    same(Tensor(x).sigmoid().data, torch.sigmoid(tx))
    padded = F.pad(tx.transpose(1, 2), (4, 0))
    convolved = F.conv1d(padded, tw.permute(2, 1, 0), dilation=2).transpose(1, 2)
    same(T.causal_convolution(Tensor(x), Tensor(w), 2).data, convolved, atol=1e-12)
    logits, targets = RNG.normal(size=(7, 5)) * 1000, RNG.integers(0, 5, 7)
    same(
        T.cross_entropy(Tensor(logits), targets).item(),
        F.cross_entropy(torch.tensor(logits), torch.tensor(targets)).item(),
    )


def test_a_convolution_never_looks_ahead():
    x = Tensor(RNG.normal(size=(1, 8, 2)))
    T.causal_convolution(x, Tensor(RNG.normal(size=(3, 2, 2))), 2)[0, 4].sum().backward()
    reached = np.flatnonzero(np.abs(x.grad[0]).sum(axis=1))
    assert reached.tolist() == [0, 2, 4]


def test_dropout_keeps_the_mean_and_drops_its_share():
    out = T.dropout(Tensor(np.ones(100_000)), 0.25, np.random.default_rng(3)).data
    assert abs((out == 0).mean() - 0.25) < 0.01
    assert abs(out.mean() - 1) < 0.01


def test_constants_get_no_gradient_and_cost_no_history():
    x = Tensor([1.0, 2.0], requires_grad=False)
    y = (x * 3 + 1).exp()
    assert y.parents == ()
    w = Tensor([1.0, 1.0])
    (y * w).sum().backward()
    assert x.grad is None
    assert w.grad is not None


def test_gradients_of_leaves_add_up_as_in_torch():
    x = Tensor(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 12.0
    assert y.grad == 1.0


def test_float32_stays_float32():
    x = Tensor(np.ones((2, 3), np.float32))
    loss = T.cross_entropy((x * 2 + 1).gelu() / 3 - 0.5, np.array([0, 1]))
    loss.backward()
    assert loss.data.dtype == x.grad.dtype == np.float32
    assert Tensor([1, 2]).data.dtype == np.float64


def test_arrays_stand_on_either_side():
    a, x = np.arange(6.0).reshape(2, 3), Tensor(np.ones((3, 2)))
    assert isinstance(a @ x, Tensor)
    assert isinstance(a.T - x, Tensor)
    np.testing.assert_array_equal((a.T / x).data, a.T)


def test_a_long_chain_is_walked_without_recursion():
    x = Tensor([1.0])
    y = x
    for _ in range(20_000):
        y = y + 1e-4
    y.sum().backward()
    assert x.grad == 1.0


def test_what_is_no_finite_number_goes_through_relu_and_powers_as_torchs():
    x = [-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan]
    for function in (lambda t: t.relu(), lambda t: t**0, lambda t: t**2):
        leaf, theirs = Tensor(x), torch.tensor(x, dtype=torch.float64, requires_grad=True)
        ours, expected = function(leaf), function(theirs)
        ours.sum().backward()
        expected.sum().backward()
        np.testing.assert_array_equal(ours.data, expected.detach())
        np.testing.assert_array_equal(leaf.grad, theirs.grad)
    assert Tensor(np.ones((), np.float32)).relu().data.dtype == np.float32


def test_constants_are_joined_to_tensors():
    x = Tensor([1.0])
    (T.concat([x, np.ones(2)]) * 3).sum().backward()
    assert x.grad.tolist() == [3.0]


LOGITS = Tensor(RNG.normal(size=(4, 5)))


@pytest.mark.parametrize(
    ("compute", "error", "sentence"),
    [
        (lambda: T.cross_entropy(LOGITS, [0, 1]), ValueError, r"got \(4, 5\) and \(2,\); make"),
        (lambda: T.cross_entropy(LOGITS, [[0]] * 4), ValueError, r"got \(4, 5\) and \(4, 1\)"),
        (lambda: T.cross_entropy(LOGITS.reshape(1, 4, 5), [[0] * 4]), ValueError, r"\(1, 4, 5\)"),
        (lambda: T.cross_entropy(LOGITS, [0, 1, 2, -1]), IndexError, r"in \[0, 5\), got -1 to 2"),
        (lambda: T.cross_entropy(LOGITS, [0, 1, 2, 5]), IndexError, r"in \[0, 5\), got 0 to 5"),
        (lambda: T.cross_entropy(LOGITS, np.ones(4, bool)), TypeError, "numbers as ids, got bool"),
        (lambda: Tensor(None), TypeError, "expected numbers, got object from None"),
        (lambda: Tensor(["1"]), TypeError, r"expected numbers, got <U1 from \['1'\]"),
        (lambda: LOGITS * 1j, TypeError, "expected numbers, got complex128"),
        (lambda: LOGITS + None, TypeError, "expected numbers, got object from None"),
        (lambda: LOGITS + "2", TypeError, "expected numbers, got <U1 from '2'"),
        (lambda: LOGITS ** np.ones(5), TypeError, "expected a number as exponent, got ndarray"),
        (lambda: Tensor(np.zeros((0, 3))).mean(0), ValueError, r"one number, got shape \(0, 3\)"),
        (lambda: Tensor([1.0, 2.0]).backward(), ValueError, r"got shape \(2,\); take the .sum"),
        (lambda: Tensor([1.0]) @ Tensor([1.0]), ValueError, "expected two matrices"),
        (lambda: Tensor([1.0]) ** Tensor([1.0]), TypeError, r"\(b \* a.log\(\)\).exp\(\)"),
        (lambda: T.dropout(Tensor([1.0]), 1.0, RNG), ValueError, "expected 0 <= p < 1, got 1"),
    ],
)
def test_errors_say_what_was_expected(compute, error, sentence):
    with pytest.raises(error, match=sentence):
        compute()


def test_examples_in_the_text_are_true():
    found = doctest.testmod(T)
    assert found.attempted
    assert not found.failed
