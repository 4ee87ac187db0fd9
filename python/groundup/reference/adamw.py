"""AdamW, one parameter at a time: what the fast step must compute.

An average of gradients says where to go, an average of their squares how far the ground can be
trusted; both start at zero and are divided by how much of them has been filled. Weight decay pulls
at the parameter itself and not through the gradient, which is the W. NumPy, in the precision of
the arrays. Source: Kingma and Ba 2015; Loshchilov and Hutter 2019; amsgrad: Reddi et al. 2018.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class AdamWState:
    """What a parameter carries from step to step, of its own shape and dtype."""

    def __init__(self, param: Array) -> None:
        self.step = 0
        self.exp_avg = np.zeros_like(param)
        self.exp_avg_sq = np.zeros_like(param)
        self.max_exp_avg_sq = np.zeros_like(param)


def adamw_step(
    param: Array,
    grad: Array,
    state: AdamWState,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
) -> None:
    """One step, in place.

    param, grad  any shape, one float dtype
    amsgrad      divide by the largest exp_avg_sq so far instead of the present one
    maximize     climb instead of descend
    """
    beta1, beta2 = betas
    if maximize:
        grad = -grad
    state.step += 1
    param *= 1 - lr * weight_decay
    state.exp_avg[...] = beta1 * state.exp_avg + (1 - beta1) * grad
    state.exp_avg_sq[...] = beta2 * state.exp_avg_sq + (1 - beta2) * grad * grad
    second = state.exp_avg_sq
    if amsgrad:
        np.maximum(state.max_exp_avg_sq, state.exp_avg_sq, out=state.max_exp_avg_sq)
        second = state.max_exp_avg_sq
    # After t steps of a constant gradient g the averages hold (1 - beta^t) g: divide it out.
    correction1 = 1 - beta1**state.step
    correction2 = 1 - beta2**state.step
    denominator = np.sqrt(second) / np.sqrt(correction2) + eps
    param -= lr / correction1 * state.exp_avg / denominator


class Parameter(Protocol):
    """What learns: an array and, after a backward pass, a gradient of its shape."""

    data: Array
    grad: Array | None


class AdamW:
    """A step for all parameters of a model at once; settings are those of adamw_step."""

    def __init__(self, parameters: Sequence[Parameter], **settings: Any) -> None:
        self.parameters, self.settings = parameters, settings
        self.states = [AdamWState(parameter.data) for parameter in parameters]

    def step(self, lr: float) -> None:
        """Parameters without a gradient stay where they are, as in PyTorch."""
        for parameter, state in zip(self.parameters, self.states, strict=True):
            if parameter.grad is not None:
                adamw_step(parameter.data, parameter.grad, state, lr=lr, **self.settings)


def clip_grad_norm(grads: Sequence[Array], max_norm: float) -> float:
    """Scale all gradients, in place, so that their norm together is at most `max_norm`.

    Returns the norm before. The 1e-6 in the divisor is torch's, as is passing NaN on.
    """
    norm = float(np.sqrt(sum(float(np.sum(np.square(grad, dtype=np.float64))) for grad in grads)))
    factor = max_norm / (norm + 1e-6)
    if not factor > 1:
        for grad in grads:
            grad *= factor
    return norm
