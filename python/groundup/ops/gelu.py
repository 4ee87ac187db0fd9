"""gelu: x times the probability that a standard normal lies below x."""

from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch, gate, native
from groundup.ops.gelu_cpp import gelu_cpp
from groundup.ops.gelu_reference import gelu_reference


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input * Phi(input), elementwise.

    input        any shape and strides; float32 | bfloat16 natively on the CPU, other float dtypes
                 and devices run on torch
    approximate  "none" is exact, through erf; "tanh" is the approximation GPT-2 was trained with
    returns      shape and dtype of input

    As torch.nn.functional.gelu, and nearer to the exact value for inputs far below zero; gelu(inf)
    is inf. bfloat16 is computed in float32. Source: Hendrycks and Gimpel 2016.
    Raises TypeError for what is no float tensor, ValueError for another approximation,
    RuntimeError for a second derivative.
    """
    name = dispatch.forced.get("gelu")
    gate.expect_tensors(("input",), input)
    if not input.is_floating_point():
        raise TypeError(f"input: expected a floating point dtype, got {input.dtype}")
    if approximate not in ("none", "tanh"):
        raise ValueError(f'approximate: expected "none" or "tanh", got {approximate!r}')
    if name == "reference":
        return gelu_reference(input, approximate, gate.admit("gelu", ("input",), input))
    if name != "torch":
        reason = native.why_not(input)
        if reason is None:
            plain = gate.admit("gelu", ("input",), input)
            return gelu_cpp(input, approximate == "tanh", plain)
        if name == "cpp":
            raise dispatch.cannot("gelu", "cpp", reason)
        if native.missing is not None:
            native.warn_missing()
    dispatch.note("gelu", "torch")
    return F.gelu(input, approximate=approximate)
