"""gelu: x times the probability that a standard normal lies below x."""

from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input * Phi(input), elementwise.

    input        any shape, float
    approximate  "none" is exact, through erf; "tanh" is the approximation GPT-2 was trained with
    returns      shape and dtype of input

    As torch.nn.functional.gelu; runs on torch. Source: Hendrycks and Gimpel 2016.
    Raises TypeError for what is no float tensor, ValueError for another approximation.
    """
    dispatch.note("gelu", "torch")
    if not isinstance(input, Tensor):
        raise TypeError(f"input: expected a torch.Tensor, got {type(input).__name__}")
    if not input.is_floating_point():
        raise TypeError(f"input: expected a floating point dtype, got {input.dtype}")
    if approximate not in ("none", "tanh"):
        raise ValueError(f'approximate: expected "none" or "tanh", got {approximate!r}')
    return F.gelu(input, approximate=approximate)
