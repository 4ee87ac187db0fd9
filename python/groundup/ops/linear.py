"""linear: input times the transposed weight, plus bias, and a gelu behind it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.ops import dispatch, gate, native
from groundup.ops.linear_cpp import ACTIVATIONS, linear_cpp, pays, record
from groundup.ops.linear_reference import linear_reference

_NAMES = ("input", "weight", "bias")
_APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    transposed: bool = False,
) -> Tensor:
    """activation(input @ weight.T + bias).

    input       (..., in)   float32 natively on the CPU, other dtypes and devices on torch
    weight      (out, in)   input's dtype, any strides, which its gradient takes up; with
                `transposed` (in, out), as GPT-2 keeps it
    bias        (out,) or None
    activation  None, "gelu" (exact) or "gelu_tanh" (the approximation of GPT-2)
    transposed  linear(x, w, transposed=True) is linear(x, w.t()) without the view and its node
    returns     (..., out)  of input's dtype

    As torch.nn.functional.linear, and torch.nn.functional.gelu behind it. Products too small for
    the native kernel to pay, and what autocast would cast, go to torch. Bits do not depend on the
    number of threads. Memory: what torch keeps, plus a few megabytes that stay with the process.
    Source: Goto and van de Geijn 2008.
    Raises TypeError or ValueError for shapes and dtypes that do not fit each other, RuntimeError
    for a second derivative through the native kernel.
    """
    forced = dispatch.forced.get("linear")
    if (
        (forced is None or forced == "cpp")
        and native.missing is None
        and (activation is None or activation in _APPROXIMATE)
        and input is not None
        and weight is not None
        and gate.admits_float32(input, weight, bias)
        and fits(input, weight, bias, transposed)
        and not torch._C._is_any_autocast_enabled()
        and (forced or pays(_n_rows(input), weight))
    ):
        return record(input, weight, bias, ACTIVATIONS[activation], transposed)
    gate.expect_tensors(_NAMES, input, weight, bias, required=2)
    if activation is not None and activation not in _APPROXIMATE:
        raise ValueError(f'activation: expected None, "gelu" or "gelu_tanh", got {activation!r}')
    if transposed:
        if weight.dim() != 2:
            raise ValueError(
                f"weight: expected shape (in, out) with transposed=True, got {tuple(weight.shape)}"
            )
        weight = weight.t()
    _check(input, weight, bias)
    if forced == "reference":
        plain = gate.admit("linear", _NAMES, input, weight, bias)
        return linear_reference(input, weight, bias, activation, plain)
    if forced != "torch":
        reason = _why_not_cpp(input, weight, bias)
        if reason is None:
            plain = gate.admit("linear", _NAMES, input, weight, bias)
            # Modes that watch torch's products, such as those that count them, see torch's.
            if forced or (
                pays(_n_rows(input), weight) and (plain or torch.compiler.is_compiling())
            ):
                return linear_cpp(input, weight, bias, ACTIVATIONS[activation], plain)
            return _torch(input, weight, bias, activation)
        if forced:
            raise dispatch.cannot("linear", "cpp", reason)
        if native.missing is not None:
            native.warn_missing()
    return _torch(input, weight, bias, activation)


def _n_rows(input: Tensor) -> int:
    return input.numel() // input.shape[-1]


def fits(input: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool) -> bool:
    """Whether _check and _why_not_cpp find nothing wrong with the shapes."""
    if weight.dim() != 2 or not input.dim():
        return False
    n_out, n_in = weight.shape
    if transposed:
        n_out, n_in = n_in, n_out
    return (
        input.shape[-1] == n_in
        and n_in > 0
        and n_out > 0
        and (bias is None or (bias.dim() == 1 and bias.shape[0] == n_out))
    )


def _torch(input: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    dispatch.note("linear", "torch")
    output = F.linear(input, weight, bias)
    return output if activation is None else F.gelu(output, approximate=_APPROXIMATE[activation])


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.dim() != 2:
        raise ValueError(f"weight: expected shape (out, in), got {tuple(weight.shape)}")
    n_out, n_in = weight.shape
    if input.dim() == 0 or input.shape[-1] != n_in:
        transposed = "; try weight.t()" if input.dim() and input.shape[-1] == n_out else ""
        raise ValueError(
            f"input: expected shape (..., in) with in = {n_in}, as weight is (out, in) = "
            f"{(n_out, n_in)}, got {tuple(input.shape)}{transposed}"
        )
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != n_out):
        raise ValueError(f"bias: expected shape (out,) = ({n_out},), got {tuple(bias.shape)}")


def _why_not_cpp(input: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """What keeps the native kernel from these tensors; None if nothing does."""
    if native.missing is not None:
        return native.missing
    for name, tensor in zip(_NAMES, (input, weight, bias), strict=True):
        if tensor is None:
            continue
        if tensor.dtype is not torch.float32:
            return f"it takes float32, and {name} is {tensor.dtype}"
        if not (tensor.is_cpu or tensor.is_meta):
            return f"it runs on the CPU, and {name} is on {tensor.device}"
        if tensor.is_meta != input.is_meta:
            return f"input is on {input.device} and {name} on {tensor.device}"
    if 0 in weight.shape:
        return f"it takes weights with elements, and weight is {tuple(weight.shape)}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on, and has torch compute linear in another dtype"
    return None
