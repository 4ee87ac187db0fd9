"""Causal attention in plain NumPy, with its gradient derived by hand: the specification of the op.

Read it from top to bottom; each function stands on those above it.

1. visible                      which keys a query may look at
2. softmax, softmax_backward    weights of a row, zero for what it does not see
3. threefry, dropout_mask       random numbers that need no state: which weights are dropped
4. attention, ..._backward      all of it, every flag of groundup.causal_attention

Arrays are (B, H, T, D): batch, head, time, width. Everything is computed in the dtype of the query,
so float64 in gives float64 out. Source: Vaswani et al. 2017; Zero to Hero, lecture 7. The same on
paper, and why a fast version never holds the (T, S) weights: docs/attention.md.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


# 1. Which keys a query sees


def visible(
    n_queries: int, n_keys: int, left: int | None = None, alignment: str = "lower_right"
) -> NDArray[np.bool_]:
    """(T, S): True where the key is not in the query's future, nor more than `left` behind it.

    >>> visible(2, 3).astype(int)  # the last query stands at the last key: a cache
    array([[1, 1, 0],
           [1, 1, 1]])
    >>> visible(2, 3, alignment="upper_left").astype(int)  # the first at the first
    array([[1, 0, 0],
           [1, 1, 0]])
    >>> visible(3, 3, left=1).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """
    if alignment not in ("lower_right", "upper_left"):
        raise ValueError(f'alignment: expected "lower_right" or "upper_left", got {alignment!r}')
    offset = n_keys - n_queries if alignment == "lower_right" else 0
    distance = np.arange(n_queries)[:, None] + offset - np.arange(n_keys)
    return (distance >= 0) & (distance <= (n_keys + n_queries if left is None else left))


# 2. From scores to weights


def softmax(scores: Array, seen: NDArray[np.bool_]) -> Array:
    """exp(s_j) / sum_k exp(s_k) over the keys k that are seen; 0 for the others.

    A row that sees nothing is all zeros. A row whose seen scores are all -inf, or one of them +inf
    or nan, has no softmax: nan where it looks.

    >>> softmax(np.zeros((2, 2)), np.array([[True, False], [True, True]]))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    hidden = np.where(seen, scores, -np.inf)
    # "initial" is for rows without any key, S = 0.
    largest = hidden.max(axis=-1, keepdims=True, initial=-np.inf)
    empty = ~seen.any(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        e = np.where(seen, np.exp(hidden - np.where(empty, 0, largest)), 0)
        weights: Array = e / np.where(empty, 1, e.sum(axis=-1, keepdims=True))
    return np.where(seen, weights, 0)


def softmax_backward(dweights: Array, weights: Array) -> Array:
    """d scores = w * (d w - sum_k w_k d w_k).

    dw_j / ds_k = w_j (1[j = k] - w_k): raising one score takes from all weights in proportion.
    """
    mean = (weights * dweights).sum(axis=-1, keepdims=True)
    dscores: Array = weights * (dweights - mean)
    return dscores


# 3. Dropout without a stored mask


def threefry(counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Threefry-4x32 with 12 rounds: (4, ...) random words from counter (4, ...) and key (4,).

    A block cipher run on a counter, of additions, rotations and xor. The same counter and key give
    the same words, so that backward can ask again. Source: Salmon et al. 2011, "Parallel random
    numbers: as easy as 1, 2, 3", which found 12 rounds to pass all of BigCrush.
    """
    rotations = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
    schedule = [*key, np.uint32(0x1BD11BDA) ^ np.bitwise_xor.reduce(key)]
    x = [word + schedule[i] for i, word in enumerate(counter)]
    for round in range(12):
        odd, even = (1, 3) if round % 2 == 0 else (3, 1)
        for first, second, by in zip((0, 2), (odd, even), rotations[round % 8], strict=True):
            x[first] = x[first] + x[second]
            x[second] = (x[second] << np.uint32(by)) | (x[second] >> np.uint32(32 - by))
            x[second] ^= x[first]
        if round % 4 == 3:
            injection = round // 4 + 1
            x = [word + schedule[(injection + i) % 5] for i, word in enumerate(x)]
            x[3] = x[3] + np.uint32(injection)
    return np.stack(x)


def dropout_mask(
    key: tuple[int, int], dropout_p: float, shape: tuple[int, int, int, int], first_head: int = 0
) -> NDArray[np.bool_]:
    """(B, H, T, S): True where a weight is kept; a function of the key (two 64-bit numbers) and of
    the place alone.

    Counter (j // 4, i, head's low and high half) gives the words of keys j // 4 * 4 and the three
    after it; a weight is kept where its word is at least dropout_p * 2^32. Heads count on through
    the batch, from first_head.
    """
    batch, heads, n_queries, n_keys = shape
    head = np.arange(first_head, first_head + batch * heads, dtype=np.uint64)[:, None, None]
    i = np.arange(n_queries, dtype=np.uint32)[:, None]
    four = np.arange((n_keys + 3) // 4, dtype=np.uint32)
    low, high = (head & np.uint64(0xFFFFFFFF)).astype(np.uint32), (head >> np.uint64(32))
    counter = np.stack(np.broadcast_arrays(four, i, low, high.astype(np.uint32)))
    halves = [word >> shift & 0xFFFFFFFF for word in key for shift in (0, 32)]
    words = threefry(counter, np.array(halves, np.uint32))
    threshold = np.uint32(min(round(dropout_p * 2**32), 2**32 - 1))
    kept = np.moveaxis(words, 0, -1).reshape(batch, heads, n_queries, 4 * len(four)) >= threshold
    return kept[..., :n_keys]


# 4. Every flag


def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    scale: float | None = None,
    left: int | None = None,
    softcap: float | None = None,
    alignment: str = "lower_right",
    dropout_p: float = 0.0,
    dropout_key: tuple[int, int] = (0, 0),
    first_head: int = 0,
) -> Array:
    """softmax(query @ key^T * scale) @ value over the keys each query sees.

    query    (B, H, T, D)      any float dtype
    key      (B, H / n, S, D)  n query heads share a key head
    value    (B, H / n, S, Dv)
    returns  (B, H, T, Dv)     zeros for a query that sees no key

    scale is 1 / sqrt(D) if None: a sum of D products of unit variance has variance D, and the
    softmax wants scores of about 1. left: how far back a query sees. softcap: scores become
    softcap * tanh(scores / softcap).
    """
    q, k, v = _shared(query, key, value)
    seen = visible(q.shape[2], k.shape[2], left, alignment)
    weights = softmax(_scores(q, k, scale, softcap)[0], seen)
    if dropout_p > 0:
        kept = dropout_mask(dropout_key, dropout_p, weights.shape, first_head)
        weights = np.where(kept, weights / (1 - dropout_p), 0)
    out: Array = weights @ v
    return out


def attention_backward(
    dout: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    scale: float | None = None,
    left: int | None = None,
    softcap: float | None = None,
    alignment: str = "lower_right",
    dropout_p: float = 0.0,
    dropout_key: tuple[int, int] = (0, 0),
    first_head: int = 0,
) -> tuple[Array, Array, Array]:
    """d (dout . attention) / d (query, key, value), each in its own shape.

    With W the weights and O = W V:  dV = W^T dO,  dW = dO V^T,  and through the softmax
    dS = W * (dW - rowsum(W * dW)). Since rowsum(W * dW) = rowsum(dO * O), a fast version needs no
    whole row of weights for it. Then dQ = scale * dS K and dK = scale * dS^T Q. A key head that is
    shared gathers the gradients of all its query heads.
    """
    q, k, v = _shared(query, key, value)
    upstream = np.asarray(dout, q.dtype)
    factor = q.shape[3] ** -0.5 if scale is None else scale
    seen = visible(q.shape[2], k.shape[2], left, alignment)
    scores, slope = _scores(q, k, scale, softcap)
    weights = softmax(scores, seen)

    dweights = upstream @ v.swapaxes(2, 3)
    dropped = weights
    if dropout_p > 0:
        kept = dropout_mask(dropout_key, dropout_p, weights.shape, first_head)
        dropped = np.where(kept, weights / (1 - dropout_p), 0)
        dweights = np.where(kept, dweights / (1 - dropout_p), 0)
    dscores = softmax_backward(dweights, weights) * slope * factor
    dquery: Array = dscores @ k
    dkey = dscores.swapaxes(2, 3) @ q
    dvalue = dropped.swapaxes(2, 3) @ upstream
    return dquery, _gather(dkey, np.shape(key)[1]), _gather(dvalue, np.shape(value)[1])


def _scores(q: Array, k: Array, scale: float | None, softcap: float | None) -> tuple[Array, Array]:
    """(B, H, T, S) scores, and the slope that softcap gives them: d tanh(u) = 1 - tanh(u)^2."""
    scores: Array = q @ k.swapaxes(2, 3) * (q.shape[3] ** -0.5 if scale is None else scale)
    if softcap is None:
        return scores, np.ones_like(scores)
    t = np.tanh(scores / softcap)
    return softcap * t, 1 - t**2


def _shared(query: ArrayLike, key: ArrayLike, value: ArrayLike) -> tuple[Array, Array, Array]:
    """The three with one key and value head per query head."""
    q, k, v = np.asarray(query), np.asarray(key), np.asarray(value)
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"key: expected heads that divide the {q.shape[1]} of query, got {k.shape[1]}"
        )
    n = q.shape[1] // k.shape[1]
    return q, k.repeat(n, axis=1), v.repeat(n, axis=1)


def _gather(gradient: Array, n_heads: int) -> Array:
    batch, heads, *rest = gradient.shape
    gathered: Array = gradient.reshape(batch, n_heads, heads // n_heads, *rest).sum(axis=2)
    return gathered
