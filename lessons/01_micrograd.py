"""Derivatives, and a neuron out of numbers that know theirs.

What is a derivative, and how does a chain of operations pass one on? Lecture: Zero to Hero, "The
spelled-out intro to neural networks and backpropagation"; lesson 1b goes on with it. Read beside
it: groundup/reference/micrograd.
"""

# %% [markdown]
# # 1. Derivatives and micrograd

# %%
from groundup.course import Lesson
from groundup.reference.micrograd.engine import Value
from groundup.reference.micrograd.gradcheck import largest_difference, numerical_gradient
from groundup.reference.micrograd.graph import to_dot, to_svg
from groundup.reference.micrograd.nn import MLP

lesson = Lesson(1, "Derivatives and micrograd")

# %% [markdown]
# ## How fast does f move?
#
# The derivative of f at x is how far f(x) moves per unit that x moves, for a small move. Nudge x,
# see: that is `numerical_gradient`. A `Value` knows it without nudging, because every operation
# noted its slope when it ran.


# %%
def f(x):
    return 3 * x**2 - 4 * x + 5


x = Value(3.0)
f(x).backward()
lesson.check("f(3) for f(x) = 3x² - 4x + 5", f(3.0), 20)
lesson.check("f'(3), by the chain rule", x.grad, 14)
lesson.check("f'(3), by nudging", numerical_gradient(f, [3.0])[0], 14, within=1e-6)
lesson.check("f'(-3), by nudging", numerical_gradient(f, [-3.0])[0], -22, within=1e-6)

a, b, c = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c")
d = a * b + c
d.backward()
lesson.check("d = a b + c at (2, -3, 10)", d.data, 4)
lesson.check("dd/da = b", a.grad, -3)
lesson.check("dd/db = a", b.grad, 2)

# %% [markdown]
# ## A neuron
#
# Two inputs, two weights, a bias, and a tanh: its output, and how the output moves with each.
# tanh's slope is 1 - out²: made of what came out, not of what went in.

# %%
x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
bias = Value(6.8813735870195432, label="b")
out = (x1 * w1 + x2 * w2 + bias).tanh()
out.label = "o"
out.backward()
lesson.check("the neuron's output", out.data, 0.7071068, within=1e-7)
for value, expected in ((x1, -1.5), (w1, 1.0), (x2, 0.5), (w2, 0.0), (bias, 0.5)):
    lesson.check(f"do/d{value.label}", value.grad, expected, within=1e-6)
lesson.keep_bytes("neuron.svg", to_svg(out).encode())
lesson.keep_bytes("neuron.dot", to_dot(out).encode())

# %% [markdown]
# Two slips of printed listings, which crash nothing. A factor's gradient is the other factor: swap
# x2's and w2's, and 0 and .5 stand in each other's place; nudging tells which is which. And tanh's
# slope made of what went in, 1 - .88², where out belongs, .71.


# %%
def neuron(x2_now, w2_now):
    return (x1.data * w1.data + x2_now * w2_now + bias.data).tanh()


by_nudging = numerical_gradient(neuron, [x2.data, w2.data])
lesson.check("x2 by nudging: .5 is its own", by_nudging[0], x2.grad, within=1e-6)
lesson.check("w2 by nudging: 0 is its own", by_nudging[1], w2.grad, within=1e-6)
went_in = x1.data * w1.data + x2.data * w2.data + bias.data
by_nudging = numerical_gradient(Value.tanh, [went_in])[0]
lesson.check("tanh's slope by nudging is 1 - out²", by_nudging, 1 - out.data**2, within=1e-6)
lesson.claim("and not 1 - in²", abs(by_nudging - (1 - went_in**2)) > 0.2)

# %% [markdown]
# The same tanh taken apart into exponentials has the same gradient: how coarse an operation is, is
# our choice, as long as we know its slope. As long as it ends: e^800 is no float, and tanh is.

# %%
apart = Value(2.0)
e = (2 * apart).exp()
((e - 1) / (e + 1)).backward()
whole = Value(2.0)
whole.tanh().backward()
lesson.check("tanh apart and whole, gradient at 2", apart.grad, whole.grad, within=1e-12)
try:
    (2 * Value(400.0)).exp()
    ended = False
except OverflowError as error:
    print(f"    {error}")
    ended = True
lesson.claim("at 400 tanh out of e^x overflows", ended)
lesson.check("tanh far out, at 400", Value(400.0).tanh().data, 1)

# %% [markdown]
# ## Used twice, counted twice
#
# A gradient is added to what is there, never put in its place: `a + a` moves twice as fast as a.
# For the same reason the gradients of the step before must be set to 0.

# %%
a = Value(3.0)
(a + a).backward()
lesson.check("d(a + a)/da", a.grad, 2)

chain = x = Value(1.0)
for _ in range(100_000):
    chain = chain + 0
chain.backward()
lesson.check("the gradient through a chain of 100,000 additions", x.grad, 1)


def crowded(a, b):
    return (a * b + a**3 / b - (a * a).log() + (0.3 * b).exp()).tanh() * b + (a - b).relu()


lesson.check(
    "chain rule against nudging, largest difference",
    largest_difference(crowded, [0.7, -1.3]),
    0,
    within=1e-8,
)

# %% [markdown]
# ## The same neuron in PyTorch, and an operation of one's own
#
# PyTorch does the same on arrays. An operation that it does not know is given both ways, forward
# and backward; gradcheck nudges and compares, as above. Here: the third Legendre polynomial.

# %%
import torch  # noqa: E402  (the lesson gets here without it)


class Legendre3(torch.autograd.Function):
    """P3(x) = (5x³ - 3x) / 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * (5 * x**3 - 3 * x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 1.5 * (5 * x**2 - 1)


leaves = torch.tensor([2.0, 0.0, -3.0, 1.0, bias.data], dtype=torch.float64, requires_grad=True)
t1, t2, u1, u2, tb = leaves
torch.tanh(t1 * u1 + t2 * u2 + tb).backward()
ours = [v.grad for v in (x1, x2, w1, w2, bias)]
far = max(abs(a - b) for a, b in zip(ours, leaves.grad.tolist(), strict=True))
lesson.check("the neuron in torch, largest difference of a gradient", far, 0, within=1e-12)
points = torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)
lesson.claim(
    "gradcheck accepts Legendre's cubic", torch.autograd.gradcheck(Legendre3.apply, points)
)

# %% [markdown]
# ## Why a squashing between layers
#
# Layers without one are a product of matrices, which is a matrix: any number of them is one.

# %%
linear = MLP(2, [8, 8, 1], activation=None, seed=1)
at_zero = linear([0.0, 0.0]).data
slope1, slope2 = (linear(e).data - at_zero for e in ([1.0, 0.0], [0.0, 1.0]))
lesson.check(
    "three linear layers, against one worked out from three points",
    linear([5.0, -7.0]).data,
    at_zero + 5 * slope1 - 7 * slope2,
    within=1e-9,
)

# %%
lesson.finish()
