"""Value: the arithmetic of the public micrograd project, PyTorch's gradients, and long chains."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.reference.micrograd.engine import Value
from groundup.reference.micrograd.gradcheck import largest_difference, numerical_gradient


def test_the_first_derivatives_of_the_lecture():
    def f(x):
        return 3 * x**2 - 4 * x + 5

    x = Value(3.0)
    f(x).backward()
    assert (f(Value(3.0)).data, x.grad) == (20.0, 14.0)
    assert numerical_gradient(f, [-3.0]) == pytest.approx([-22.0])

    a, b, c = Value(2.0), Value(-3.0), Value(10.0)
    (a * b + c).backward()
    assert (a.grad, b.grad, c.grad) == (-3.0, 2.0, 1.0)


def test_the_neuron_of_the_lecture_and_the_same_in_torch():
    x1, x2, w1, w2, b = map(Value, (2.0, 0.0, -3.0, 1.0, 6.8813735870195432))
    out = (x1 * w1 + x2 * w2 + b).tanh()
    out.backward()
    assert out.data == pytest.approx(0.7071067811865476)
    grads = [v.grad for v in (x1, w1, x2, w2, b)]
    assert grads == pytest.approx([-1.5, 1.0, 0.5, 0.0, 0.5])

    leaves = torch.tensor([v.data for v in (x1, w1, x2, w2, b)], dtype=torch.float64)
    leaves.requires_grad_()
    torch.tanh(leaves[0] * leaves[1] + leaves[2] * leaves[3] + leaves[4]).backward()
    assert grads == pytest.approx(leaves.grad.tolist(), abs=1e-12)


def test_tanh_taken_apart_has_the_same_gradient():
    whole, apart = Value(0.8), Value(0.8)
    whole.tanh().backward()
    e = (2 * apart).exp()
    ((e - 1) / (e + 1)).backward()
    assert whole.grad == pytest.approx(apart.grad)


def sanity(x):
    """The first of the public project's engine checks."""
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    return h + q + q * x


def more_ops(a, b):
    """The second."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g


@pytest.mark.parametrize(("expression", "inputs"), [(sanity, [-4.0]), (more_ops, [-4.0, 2.0])])
def test_the_public_projects_engine_checks_hold(expression, inputs):
    ours = [Value(x) for x in inputs]
    result = expression(*ours)
    result.backward()
    theirs = [torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in inputs]
    expected = expression(*theirs)
    expected.backward()
    assert result.data == pytest.approx(expected.item())
    assert [v.grad for v in ours] == pytest.approx([t.grad.item() for t in theirs])


NUMBERS = st.floats(-3, 3).filter(lambda x: abs(x) > 0.1)
OPERATIONS = {
    "a + b": (lambda a, b: a + b),
    "a - b": (lambda a, b: a - b),
    "a * b": (lambda a, b: a * b),
    "a / b": (lambda a, b: a / b),
    "2 - a": (lambda a, b: 2 - a),
    "2 / a": (lambda a, b: 2 / a),
    "-a": (lambda a, b: -a),
    "a ** 3": (lambda a, b: a**3),
    "a ** -2": (lambda a, b: a**-2),
    "a ** 0": (lambda a, b: a**0),
    "2 ** a": (lambda a, b: 2**a),
    "(a a) ** b": (lambda a, b: (a * a) ** b),
    "a ** fraction": (lambda a, b: (a * a) ** 0.25),
    "exp": (lambda a, b: (a * b).exp()),
    "log": (lambda a, b: (a * a).log()),
    "tanh": (lambda a, b: (a * b).tanh()),
    "relu": (lambda a, b: a.relu() * b),
    "used twice": (lambda a, b: a * b + a * a + b),
}


@pytest.mark.parametrize("name", OPERATIONS)
@given(a=NUMBERS, b=NUMBERS)
def test_every_operation_has_torchs_value_and_gradient(name, a, b):
    ours = [Value(a), Value(b)]
    result = OPERATIONS[name](*ours)
    result.backward()
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (a, b)]
    expected = OPERATIONS[name](*theirs)
    expected.backward()
    assert result.data == pytest.approx(expected.item())
    assert [v.grad for v in ours] == pytest.approx(
        [0.0 if t.grad is None else t.grad.item() for t in theirs]
    )
    assert largest_difference(OPERATIONS[name], [a, b]) < 1e-5


def test_a_value_used_twice_gets_both_gradients():
    a = Value(3.0)
    (a + a).backward()
    assert a.grad == 2.0


def test_leaves_add_up_over_calls_as_in_torch_and_values_between_do_not():
    a = Value(3.0)
    square = a * a
    result = square * 2
    result.backward()
    result.backward()
    assert (a.grad, square.grad, result.grad) == (24.0, 2.0, 1.0)


def test_a_leaf_is_its_own_derivative():
    a = Value(5.0)
    a.backward()
    assert a.grad == 1.0


def test_a_chain_of_100_000_neither_overflows_nor_lingers():
    x = Value(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert y.data == pytest.approx(2.0)
    assert x.grad == 1.0
    del y  # taken apart without recursion too


def test_numpy_numbers_stand_on_either_side():
    a = Value(2.0)
    assert (np.float64(3) * a).data == (a * np.float32(3)).data == 6.0
    assert (np.float64(3) - a).data == 1.0


def test_tanh_far_out_is_one_and_flat():
    x = Value(400.0)
    y = x.tanh()
    y.backward()
    assert (y.data, x.grad) == (1.0, 0.0)


def test_a_square_root_rises_vertically_from_zero_as_in_torch():
    x = Value(0.0)
    (x**0.5).backward()
    assert x.grad == math.inf


EDGES = [(0.0, 2.0), (-2.0, 2.0), (-2.0, -3.0), (0.0, 0.0), (0.0, 0.5), (-2.0, 0.0)]
BEYOND = [(1e-200, -1.0), (-1e-200, -1.0), (-1e-150, -2.0), (math.inf, -1.0), (math.nan, 0.0)]
BEYOND += [(0.0, math.nan)]


@pytest.mark.parametrize(("base", "exponent"), EDGES + BEYOND)
@pytest.mark.parametrize("constant", [False, True])
def test_powers_at_and_below_zero_and_slopes_beyond_a_float_are_torchs(base, exponent, constant):
    ours = [Value(base), Value(exponent)]
    result = ours[0] ** (exponent if constant else ours[1])
    result.backward()
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (base, exponent)]
    expected = theirs[0] ** (exponent if constant else theirs[1])
    expected.backward()
    assert result.data == pytest.approx(expected.item(), nan_ok=True)
    for mine, leaf in zip(ours[: 2 - constant], theirs, strict=False):
        assert mine.grad == pytest.approx(leaf.grad.item(), nan_ok=True)


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_relu_of_no_finite_number_is_torchs(x):
    ours, theirs = Value(x), torch.tensor(x, requires_grad=True)
    result, expected = ours.relu(), theirs.relu()
    result.backward()
    expected.backward()
    assert result.data == pytest.approx(expected.item(), nan_ok=True)
    assert ours.grad == theirs.grad.item()


def test_any_real_number_is_an_exponent():
    for half in (0.5, Fraction(1, 2), np.float32(0.5)):
        assert (Value(4) ** half).data == 2.0


@pytest.mark.parametrize(
    ("compute", "error", "sentence"),
    [
        (lambda: Value("3"), TypeError, "expected a number, got str"),
        (lambda: Value(1) + "3", TypeError, "expected a number, got str"),
        (lambda: Value(1) * None, TypeError, "expected a number, got NoneType"),
        (lambda: Value(800).exp(), OverflowError, "take the largest logit off first"),
        (lambda: Value(0).log(), ValueError, "expected a number above 0, got 0"),
        (lambda: Value(1) / 0, ZeroDivisionError, "nor divided by"),
        (lambda: Value(-8) ** 0.5, ValueError, "no real number"),
        (lambda: Value(1e200) ** 3, OverflowError, "beyond a float's range"),
        (lambda: Value(-2) ** Value(0.5), ValueError, r"\*\*: -2 \*\* 0.5 is no real number"),
        (lambda: Value(4) ** "a", TypeError, "expected a number, got str 'a'"),
        (lambda: Value(4) ** None, TypeError, "expected a number, got NoneType"),
        (lambda: Value(4) ** np.ones(2), TypeError, "expected a number, got ndarray"),
    ],
)
def test_errors_say_what_was_expected(compute, error, sentence):
    with pytest.raises(error, match=sentence):
        compute()


def test_a_value_prints_its_number_and_gradient():
    a = Value(2.0)
    (a * 3).backward()
    assert repr(a) == "Value(data=2, grad=3)"
