"""Cross-entropy in plain NumPy, with its gradient derived by hand: the specification of the op.

Read it from top to bottom; each function stands on those above it.

1. log_softmax                  logits -> log-probabilities, safely
2. nll, nll_backward            the loss of one row per token, and "softmax minus one-hot"
3. smooth_target, weighted_nll  which distribution a row is asked for: weights, label smoothing
4. cap, cap_backward            logits squeezed into (-softcap, softcap)
5. cross_entropy, ..._backward  all of it, reduced; every flag of groundup.cross_entropy

Everything is computed in the dtype of the logits, so float64 in gives float64 out. A row is one
prediction: `logits` is (N, V), `target` is (N,) of integers in [0, V), N = batch * time tokens.
Source: Zero to Hero, lecture 5, exercise 2. The same on paper: docs/cross_entropy.md.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


# 1. From logits to log-probabilities


def log_softmax(logits: Array) -> tuple[Array, Array]:
    """Log-probabilities (N, V) of each row, and its lse = log(sum(exp(logits))) (N,).

    log p_c = x_c - lse. Taking the largest logit off first changes nothing on paper,
    log(sum exp(x)) = m + log(sum exp(x - m)), and keeps exp from overflowing: its largest
    argument is 0.

    >>> log_p, lse = log_softmax(np.array([[0.0, 0.0, np.log(2.0)]]))
    >>> np.exp(log_p).round(4), lse.round(4)
    (array([[0.25, 0.25, 0.5 ]]), array([1.3863]))
    """
    # A row of -inf alone, or one with +inf, has no softmax: its nan is the answer.
    with np.errstate(invalid="ignore"):
        largest = logits.max(axis=1, keepdims=True)
        shifted = logits - largest
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        log_p: Array = shifted - log_sum
        return log_p, (largest + log_sum)[:, 0]


# 2. The loss of a row, where only the right class counts


def nll(logits: Array, target: NDArray[np.integer]) -> Array:
    """Surprise -log p[target] of each row, in nats; (N,).

    >>> nll(np.zeros((1, 8)), np.array([3])).round(4)  # knowing nothing of 8 costs log(8)
    array([2.0794])
    """
    log_p, _ = log_softmax(logits)
    surprise: Array = -log_p[np.arange(len(target)), target]
    return surprise


def nll_backward(logits: Array, target: NDArray[np.integer]) -> Array:
    """d nll / d logits, (N, V): the probabilities, minus 1 at the target.

    nll = lse - x_t, and d lse / d x_c = exp(x_c) / sum(exp(x)) = p_c. So each wrong class is
    pushed down by the probability it took, and the right one is pulled up by what it lacks.

    >>> nll_backward(np.zeros((1, 4)), np.array([1]))
    array([[ 0.25, -0.75,  0.25,  0.25]])
    """
    log_p, _ = log_softmax(logits)
    dlogits = np.exp(log_p)
    dlogits[np.arange(len(target)), target] -= 1
    return dlogits


# 3. The distribution a row is asked for


def smooth_target(target: NDArray[np.integer], weight: Array, label_smoothing: float) -> Array:
    """q (N, V) with loss = -sum_c q_c log p_c: one-hot, or softened, times the class weights.

    Label smoothing gives a share of the target's mass to all classes evenly, itself included.
    Each class then counts by its own weight, as torch has it.

    >>> smooth_target(np.array([1]), np.ones(4), 0.2)
    array([[0.05, 0.85, 0.05, 0.05]])
    """
    q = np.zeros((len(target), len(weight)), weight.dtype)
    if label_smoothing > 0:
        q += label_smoothing / len(weight) * weight
    q[np.arange(len(target)), target] += (1 - label_smoothing) * weight[target]
    return q


def weighted_nll(
    log_p: Array, target: NDArray[np.integer], weight: Array, label_smoothing: float
) -> Array:
    """-sum_c q_c log p_c of each row, (N,): an impossible class costs nothing unless it is asked
    for, which label smoothing does of every class.
    """
    with np.errstate(invalid="ignore"):  # weight 0 on an impossible class: nan, as in torch
        loss: Array = -log_p[np.arange(len(target)), target] * weight[target]
        if label_smoothing > 0:
            spread: Array = -(log_p * weight).sum(axis=1) / len(weight)
            loss = (1 - label_smoothing) * loss + label_smoothing * spread
        return loss


# 4. Capped logits


def cap(logits: Array, softcap: float | None) -> Array:
    """softcap * tanh(logits / softcap): nearly the identity near 0, never beyond +-softcap."""
    return logits if softcap is None else softcap * np.tanh(logits / softcap)


def cap_backward(dcapped: Array, logits: Array, softcap: float | None) -> Array:
    """d tanh(u) = 1 - tanh(u)^2: a logit at the cap has no gradient left."""
    return dcapped if softcap is None else dcapped * (1 - np.tanh(logits / softcap) ** 2)


# 5. Every flag


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    lse_square_scale: float = 0.0,
    softcap: float | None = None,
) -> Array:
    """Mean surprise of `target` under softmax(logits), in nats, with torch's flags and three more.

    logits   (N, V)  any float dtype
    target   (N,)    integers in [0, V), or ignore_index to leave the row out
    weight   (V,)    how much a row counts whose target is that class
    returns  ()      or (N,) for reduction "none"; nan if a mean has no row

    The mean is over the weights of the live targets, as in torch. lse_square_scale adds that times
    lse^2 to each live row: it keeps lse near 0, which the softmax alone leaves free (z-loss, PaLM);
    it is not weighted, and its mean is over live rows.

    Raises IndexError for a target outside [0, V), ValueError for an unknown reduction.
    """
    x, t, live, w = _prepare(logits, target, weight, ignore_index, reduction)
    x = cap(x[live], softcap)
    log_p, lse = log_softmax(x)
    weighted = weighted_nll(log_p, t[live], w, label_smoothing)
    z = lse_square_scale * lse**2 if lse_square_scale else np.zeros_like(lse)
    if reduction == "none":
        loss = np.zeros(len(t), x.dtype)
        loss[live] = weighted + z
        return loss
    if reduction == "sum":
        return np.asarray((weighted + z).sum())
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: no row left
        return np.asarray(weighted.sum() / w[t[live]].sum() + z.sum() / live.sum(dtype=x.dtype))


def cross_entropy_backward(
    dloss: ArrayLike,
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    lse_square_scale: float = 0.0,
    softcap: float | None = None,
) -> Array:
    """d (dloss . cross_entropy) / d logits, (N, V); dloss has the shape of the loss.

    With loss = -sum_c q_c log p_c and log p_c = x_c - lse,
        d loss / d x_c = p_c * sum(q) - q_c,
    of which "softmax minus one-hot" is the case sum(q) = 1. The z-loss adds
        d (scale * lse^2) / d x_c = 2 * scale * lse * p_c.
    Rows left out have exactly zero gradient. Raises as the forward does.
    """
    x, t, live, w = _prepare(logits, target, weight, ignore_index, reduction)
    capped = cap(x[live], softcap)
    log_p, lse = log_softmax(capped)
    p = np.exp(log_p)
    q = smooth_target(t[live], w, label_smoothing)

    upstream = np.broadcast_to(np.asarray(dloss, x.dtype), t.shape)[live, None]
    mean = reduction == "mean"
    with np.errstate(invalid="ignore", divide="ignore"):
        dcapped = (p * q.sum(axis=1, keepdims=True) - q) * upstream
        dcapped /= w[t[live]].sum() if mean else 1
        if lse_square_scale:
            dz = 2 * lse_square_scale * lse[:, None] * p * upstream
            dcapped += dz / (live.sum(dtype=x.dtype) if mean else 1)

    dlogits = np.zeros_like(x)
    dlogits[live] = cap_backward(dcapped, x[live], softcap)
    return dlogits


def _prepare(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int,
    reduction: str,
) -> tuple[Array, NDArray[np.integer], NDArray[np.bool_], Array]:
    x, t = np.asarray(logits), np.asarray(target)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'reduction: expected "none", "mean" or "sum", got {reduction!r}')
    live = t != ignore_index
    n_classes = x.shape[1]
    bad = live & ((t < 0) | (t >= n_classes))
    if bad.any():
        row = int(np.argmax(bad))
        raise IndexError(f"target: expected [0, {n_classes}), got {t[row]} in row {row}")
    w = np.ones(n_classes, x.dtype) if weight is None else np.asarray(weight, x.dtype)
    return x, t, live, w
