"""The backward pass of the MLP with BatchNorm by hand: become what autograd was.

`forward` names every intermediate. `backward_step_by_step` walks back through all of them, one
line a line; then cross-entropy and BatchNorm shrink to one expression each, worked out on paper;
then the whole loop runs without autograd. Two things explain most lines: a gradient has the shape
of what it belongs to, and what was broadcast going forward is summed coming back. NumPy only.
Source: Zero to Hero, "makemore" part 4, exercises 1 to 4.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from groundup.reference.makemore.words import Ids

Array = NDArray[np.floating]
Arrays = dict[str, Array]
EPS = 1e-5


def parameters(
    vocab_size: int,
    rng: np.random.Generator,
    block_size: int = 3,
    n_features: int = 10,
    n_hidden: int = 64,
) -> Arrays:
    """C (V, E), W1 (T E, H), b1, gain, shift (H,), W2 (H, V), b2 (V,).

    Biases, gain and shift are a little off 0 and 1: a zero would hide a wrong gradient. b1 is of
    no use before BatchNorm, which takes it off again; it stays to be seen to have gradient 0.
    """
    n_in = block_size * n_features
    return {
        "C": rng.normal(size=(vocab_size, n_features)),
        "W1": rng.normal(size=(n_in, n_hidden)) * (5 / 3) / n_in**0.5,
        "b1": rng.normal(size=n_hidden) * 0.1,
        "gain": rng.normal(size=n_hidden) * 0.1 + 1,
        "shift": rng.normal(size=n_hidden) * 0.1,
        "W2": rng.normal(size=(n_hidden, vocab_size)) * 0.1,
        "b2": rng.normal(size=vocab_size) * 0.1,
    }


def forward(p: Arrays, x: Ids, y: Ids) -> Arrays:
    """Every intermediate by name, `loss` (in nats) the last; x (B, T) contexts, y (B,) targets."""
    B = len(x)
    m: Arrays = {}
    m["embedded"] = p["C"][x]
    m["joined"] = m["embedded"].reshape(B, -1)
    m["before_norm"] = m["joined"] @ p["W1"] + p["b1"]
    m["mean"] = m["before_norm"].sum(axis=0, keepdims=True) / B
    m["centered"] = m["before_norm"] - m["mean"]
    m["squared"] = m["centered"] ** 2
    m["variance"] = m["squared"].sum(axis=0, keepdims=True) / B
    m["scale"] = (m["variance"] + EPS) ** -0.5
    m["normal"] = m["centered"] * m["scale"]
    m["preactivation"] = p["gain"] * m["normal"] + p["shift"]
    m["hidden"] = np.tanh(m["preactivation"])
    m["logits"] = m["hidden"] @ p["W2"] + p["b2"]
    m["largest"] = m["logits"].max(axis=1, keepdims=True)
    m["shifted"] = m["logits"] - m["largest"]
    m["powers"] = np.exp(m["shifted"])
    m["total"] = m["powers"].sum(axis=1, keepdims=True)
    m["total_inverse"] = m["total"] ** -1
    m["probabilities"] = m["powers"] * m["total_inverse"]
    m["log_probabilities"] = np.log(m["probabilities"])
    m["loss"] = -m["log_probabilities"][np.arange(B), y].mean()
    return m


def backward_step_by_step(p: Arrays, m: Arrays, x: Ids, y: Ids) -> Arrays:
    """Exercise 1: the loss's gradient of everything in `forward`, last line first."""
    B = len(x)
    g: Arrays = {}
    g["log_probabilities"] = np.zeros_like(m["log_probabilities"])
    g["log_probabilities"][np.arange(B), y] = -1 / B
    g["probabilities"] = g["log_probabilities"] / m["probabilities"]
    g["total_inverse"] = (g["probabilities"] * m["powers"]).sum(axis=1, keepdims=True)
    g["total"] = -g["total_inverse"] * m["total"] ** -2
    # Used twice: in the quotient and in the sum.
    g["powers"] = g["probabilities"] * m["total_inverse"] + g["total"]
    g["shifted"] = g["powers"] * m["powers"]
    g["largest"] = -g["shifted"].sum(axis=1, keepdims=True)
    # The largest comes from one place of its row. Its gradient is 0 up to rounding: what is taken
    # off every logit changes no probability.
    g["logits"] = g["shifted"].copy()
    g["logits"][np.arange(B), m["logits"].argmax(axis=1)] += g["largest"][:, 0]
    g["hidden"] = g["logits"] @ p["W2"].T
    g["W2"] = m["hidden"].T @ g["logits"]
    g["b2"] = g["logits"].sum(axis=0)
    # tanh's slope is made of what came out of it, not of what went in.
    g["preactivation"] = g["hidden"] * (1 - m["hidden"] ** 2)
    g["gain"] = (g["preactivation"] * m["normal"]).sum(axis=0)
    g["shift"] = g["preactivation"].sum(axis=0)
    g["normal"] = g["preactivation"] * p["gain"]
    g["scale"] = (g["normal"] * m["centered"]).sum(axis=0, keepdims=True)
    g["variance"] = g["scale"] * -0.5 * (m["variance"] + EPS) ** -1.5
    g["squared"] = np.broadcast_to(g["variance"] / B, m["squared"].shape)
    g["centered"] = g["normal"] * m["scale"] + g["squared"] * 2 * m["centered"]
    g["mean"] = -g["centered"].sum(axis=0, keepdims=True)
    g["before_norm"] = g["centered"] + g["mean"] / B
    g["joined"] = g["before_norm"] @ p["W1"].T
    g["W1"] = m["joined"].T @ g["before_norm"]
    g["b1"] = g["before_norm"].sum(axis=0)
    g["embedded"] = g["joined"].reshape(m["embedded"].shape)
    # By the characters that went in, not by the one that should come out; a character that
    # occurs twice gets both.
    g["C"] = np.zeros_like(p["C"])
    np.add.at(g["C"], x, g["embedded"])
    return g


def cross_entropy_backward(probabilities: Array, y: Ids) -> Array:
    """Exercise 2: the gradient of the logits, in one expression.

    Each probability pulls its logit down by itself and the right one is pushed up by 1: what is
    taken from the wrong is given to the right, and every row sums to 0.
    """
    B = len(y)
    dlogits = probabilities.copy()
    dlogits[np.arange(B), y] -= 1
    return np.asarray(dlogits / B)


def batch_norm_backward(dnormal: Array, normal: Array, scale: Array) -> Array:
    """Exercise 3: the gradient of what BatchNorm normalizes, in one expression.

    Moving one example moves mean and variance for all: what would shift all of them alike, or
    stretch all alike, is normalized away, and so is taken off the gradient.
    """
    shift = dnormal.mean(axis=0, keepdims=True)
    stretch = normal * (dnormal * normal).mean(axis=0, keepdims=True)
    return np.asarray((dnormal - shift - stretch) * scale)


def gradients(p: Arrays, m: Arrays, x: Ids, y: Ids) -> Arrays:
    """The parameters' gradients with both shortcuts: what exercise 4 trains with."""
    g: Arrays = {}
    dlogits = cross_entropy_backward(m["probabilities"], y)
    g["W2"], g["b2"] = m["hidden"].T @ dlogits, dlogits.sum(axis=0)
    dpreactivation = dlogits @ p["W2"].T * (1 - m["hidden"] ** 2)
    g["gain"] = (dpreactivation * m["normal"]).sum(axis=0)
    g["shift"] = dpreactivation.sum(axis=0)
    dbefore = batch_norm_backward(dpreactivation * p["gain"], m["normal"], m["scale"])
    g["W1"], g["b1"] = m["joined"].T @ dbefore, dbefore.sum(axis=0)
    g["C"] = np.zeros_like(p["C"])
    np.add.at(g["C"], x, (dbefore @ p["W1"].T).reshape(m["embedded"].shape))
    return g


def train(
    p: Arrays, x: Ids, y: Ids, n_steps: int, batch_size: int, rng: np.random.Generator
) -> Iterator[float]:
    """Exercise 4: the loop without autograd; p changes in place. Yields each batch's loss.

    The rate falls to a tenth after half of the steps.
    """
    for i in range(n_steps):
        chosen = rng.integers(0, len(y), batch_size)
        m = forward(p, x[chosen], y[chosen])
        rate = 0.1 if 2 * i < n_steps else 0.01
        for name, gradient in gradients(p, m, x[chosen], y[chosen]).items():
            p[name] -= rate * gradient
        yield float(m["loss"])


def calibrated(p: Arrays, x: Ids) -> tuple[Array, Array]:
    """Mean and scale of the whole training set, measured once after training; each (1, H)."""
    before = p["C"][x].reshape(len(x), -1) @ p["W1"] + p["b1"]
    return before.mean(axis=0, keepdims=True), (before.var(axis=0, keepdims=True) + EPS) ** -0.5


def loss_in_use(p: Arrays, statistics: tuple[Array, Array], x: Ids, y: Ids) -> float:
    """Mean loss with fixed statistics: no answer depends on its neighbours in the batch."""
    mean, scale = statistics
    before = p["C"][x].reshape(len(x), -1) @ p["W1"] + p["b1"]
    hidden = np.tanh(p["gain"] * (before - mean) * scale + p["shift"])
    logits = hidden @ p["W2"] + p["b2"]
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(y)), y].mean())


def cmp(name: str, ours: Array, expected: Array) -> str:
    """One line on how near two gradients are: exact, approximate, largest difference."""
    ours = np.asarray(ours)
    exact = ours.shape == np.shape(expected) and bool((ours == expected).all())
    close = ours.shape == np.shape(expected) and bool(np.allclose(ours, expected))
    difference = float(np.abs(ours - expected).max(initial=0.0))
    return f"{name:18} exact: {exact!s:5} approximate: {close!s:5} max difference: {difference:.1e}"
