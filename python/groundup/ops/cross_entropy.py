"""cross_entropy: check, choose, call."""

import math

from torch import Tensor

from groundup.ops import cross_entropy_cuda, cross_entropy_triton, dispatch, gate, native
from groundup.ops.cross_entropy_check import check_tensors, out_of_range
from groundup.ops.cross_entropy_cpp import cross_entropy_cpp
from groundup.ops.cross_entropy_device import cross_entropy_device
from groundup.ops.cross_entropy_reference import cross_entropy_reference
from groundup.ops.cross_entropy_torch import cross_entropy_torch

_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
_NAMES = ("input", "target", "weight")
_WHY_NOT = {
    "cpp": native.why_not,
    "cuda": cross_entropy_cuda.why_not,
    "triton": cross_entropy_triton.why_not,
}


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    lse_square_scale: float = 0.0,
    softcap: float | None = None,
    inplace: bool = False,
) -> Tensor:
    """Mean surprise of `target` under softmax(input), in nats.

    input    (N, V)  float32 | bfloat16 natively on the CPU; float16, float64 and other devices
                     run on torch, float16 and CUDA on groundup.use("cross_entropy=cuda") or
                     triton. Any row stride; a last dimension that is not contiguous is copied
    target   (N,)    int64 in [0, V), or ignore_index to leave the row out
    weight   (V,)    of each class, float32 or input's dtype, without gradient; or None
    returns  ()      float32 (float64 for float64 input), also for half precision, where torch
                     returns half; (N,) for reduction "none". nan if every row is left out of a mean

    reduction         "mean" divides by the sum of the live targets' weights, "sum", or "none"
    label_smoothing   in [0, 1]: the share of the target's probability spread over all classes
    lse_square_scale  adds this times logsumexp(row)^2 to each live row (z-loss), its mean over
                      live rows; it is not weighted
    softcap           the logits become softcap * tanh(input / softcap)
    inplace           the gradient may overwrite input, which saves N * V elements and a pass over
                      them: input must not be used after, a later use in autograd and a second
                      backward raise. Without gradient, under torch.compile, and where input is
                      part of a larger tensor or has overlapping rows, nothing is overwritten

    Arguments are torch.nn.functional.cross_entropy's, and the last three. Probabilities are never
    stored: backward rebuilds them from two numbers per row. autocast changes nothing here: half
    precision input is computed in float32 without a float32 copy.

    Raises IndexError for a target outside [0, V), on the CPU (on CUDA the loss is nan, without a
    synchronisation), ValueError or TypeError for what does not fit, RuntimeError for a second
    derivative. Source: Zero to Hero, lecture 5, exercise 2.
    """
    code = _REDUCTIONS.get(reduction)
    if code is None:
        raise ValueError(f'reduction: expected "none", "mean" or "sum", got {reduction!r}')
    name = dispatch.forced.get("cross_entropy")
    if name == "torch":
        gate.expect_tensors(_NAMES, input, target, weight)
        plain = False
    else:
        plain = gate.admit("cross_entropy", _NAMES, input, target, weight)
    check_tensors(input, target, weight)
    if not (
        isinstance(ignore_index, int)
        and -(1 << 63) <= ignore_index < 1 << 63
        and 0.0 <= label_smoothing <= 1.0
        and 0.0 <= lse_square_scale < math.inf
        and (softcap is None or 0.0 < softcap < math.inf)
    ):
        raise out_of_range(ignore_index, label_smoothing, lse_square_scale, softcap)
    options = (ignore_index, code, label_smoothing, lse_square_scale, softcap or 0.0)

    if name is None:
        name = "cpp" if native.why_not(input) is None else "torch"
        if native.missing is not None:
            native.warn_missing()
    elif name in _WHY_NOT and (reason := _WHY_NOT[name](input)) is not None:
        raise dispatch.cannot("cross_entropy", name, reason)

    if name == "cpp":
        return cross_entropy_cpp(input, target, weight, options, inplace, plain)
    if name == "torch":
        return cross_entropy_torch(input, target, weight, options)
    if name in ("cuda", "triton"):
        return cross_entropy_device(name, input, target, weight, options, inplace, plain)
    return cross_entropy_reference(input, target, weight, options, plain)
