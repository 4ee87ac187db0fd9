"""linear on the native kernel: rows out of any shape, pointers, autograd, torch.compile."""

from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, gate
from groundup.ops.native import core
from groundup.ops.pages import LARGE_BYTES, empty_large

ACTIVATIONS = {None: 0, "gelu": 1, "gelu_tanh": 2}

# Where the kernel overtakes torch, forward alone as well as with backward (docs/log.md has the
# figures): packing is spread over the rows, and the cost of a call over the product.
_LEAST_ROWS = 192
_LEAST_WIDTH = 32
_LEAST_WORK = 1 << 23


def pays(n_rows: int, weight: Tensor) -> bool:
    """Whether the product, with either layout of weight, is of a size at which the kernel is faster
    than torch."""
    n_out, n_in = weight.shape
    if n_in < _LEAST_WIDTH or n_out < _LEAST_WIDTH:
        return False
    return n_rows >= _LEAST_ROWS and n_rows * n_in * n_out >= _LEAST_WORK


def linear_cpp(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: int, plain: bool
) -> Tensor:
    """activation(input @ weight.T + bias); arguments were checked by the op.

    activation  a value of ACTIVATIONS
    plain       whether pointers may be taken right here, as the gate found
    """
    if not plain:
        output: Tensor = torch.ops.groundup.linear(input, weight, bias, activation)[0]
        return output
    return record(input, weight, bias, activation, False)


def record(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: int, transposed: bool
) -> Tensor:
    """linear_cpp where pointers may be taken; transposed: weight is (in, out)."""
    if torch.is_grad_enabled() and (
        weight.requires_grad or input.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return _record(input, weight, bias, (activation, transposed))  # type: ignore[no-any-return]
    return forward(input, weight, bias, activation, False, transposed)[0]


# In a training step code and objects are out of the near caches each time they are met: a view
# costs as much as the arithmetic on sizes and strides that makes it superfluous, ten times over.


def rows(tensor: Tensor, n_columns: int) -> tuple[Tensor, int, int]:
    """(what holds the values as rows of n_columns, the strides of its rows and columns)."""
    if tensor.is_contiguous():
        return tensor, n_columns, 1
    if tensor.dim() != 2:
        tensor = tensor.reshape(-1, n_columns)
    row_stride, column_stride = tensor.stride()
    return tensor, row_stride, column_stride


def sides(weight: Tensor, transposed: bool) -> tuple[int, int, int, int]:
    """(out, in, the stride of each)."""
    (n_out, n_in), (out_stride, in_stride) = weight.shape, weight.stride()
    if transposed:
        return n_in, n_out, in_stride, out_stride
    return n_out, n_in, out_stride, in_stride


def lies_transposed(out_stride: int, in_stride: int) -> bool:
    """Whether the gradient is laid out (in, out), as weight is, to be added to it in one pass."""
    return out_stride == 1 and in_stride != 1


def empty(like: Tensor, shape: tuple[int, ...], n_elements: int) -> Tensor:
    """float32 memory to be filled; n_elements is what the shape comes to."""
    fresh = like.new_empty(shape)
    return empty_large(fresh) if n_elements >= LARGE_BYTES // 4 else fresh


def forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: int,
    keep: bool,
    transposed: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(output, what the activation was taken of: None unless there is one and it is kept)"""
    dispatch.note("linear", "cpp")
    n_out, n_in, out_stride, in_stride = sides(weight, transposed)
    n_rows = input.numel() // n_in
    output = empty(input, (*input.shape[:-1], n_out), n_rows * n_out)
    preactivation = torch.empty_like(output) if keep and activation else None
    x, row_stride, column_stride = rows(input, n_in)
    bias_pointer = 0
    if bias is not None:
        bias = bias.contiguous()
        bias_pointer = bias.data_ptr() or gate.address("bias", bias)
    core.linear_forward_cpu(
        x.data_ptr() or gate.address("input", x),
        row_stride,
        column_stride,
        weight.data_ptr() or gate.address("weight", weight),
        out_stride,
        in_stride,
        bias_pointer,
        n_rows,
        n_in,
        n_out,
        activation,
        0 if preactivation is None else preactivation.data_ptr(),
        output.data_ptr(),
    )
    return output, preactivation


def _backward(
    doutput: Tensor,
    input: Tensor,
    weight: Tensor,
    preactivation: Tensor | None,
    activation: int,
    wanted: tuple[bool, bool, bool],
    transposed: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight (laid out as weight is) and bias; None where not wanted."""
    n_out, n_in, out_stride, in_stride = sides(weight, transposed)
    n_rows = input.numel() // n_in
    doutput, dpreactivation = doutput.resolve_neg(), None
    if preactivation is not None:
        doutput, preactivation = doutput.contiguous(), preactivation.contiguous()
        # Asked for only where it serves more than the products: the kernel has its own scratch.
        if wanted[2] and not wanted[1]:
            dpreactivation = torch.empty_like(doutput)
    dy, dy_row_stride, dy_column_stride = rows(doutput, n_out)
    x, row_stride, column_stride = rows(input, n_in)
    wants_input, wants_weight, wants_bias = wanted
    dinput = empty(input, input.shape, n_rows * n_in) if wants_input else None
    dweight = dbias = None
    by_columns = lies_transposed(out_stride, in_stride)
    if wants_weight:
        dweight = empty(weight, (n_in, n_out) if by_columns else (n_out, n_in), n_in * n_out)
        if wants_bias:
            dbias = weight.new_empty(n_out)
    core.linear_backward_cpu(
        dy.data_ptr() or gate.address("the gradient of output", dy),
        dy_row_stride,
        dy_column_stride,
        x.data_ptr() or gate.address("input", x),
        row_stride,
        column_stride,
        weight.data_ptr() or gate.address("weight", weight),
        out_stride,
        in_stride,
        n_rows,
        n_in,
        n_out,
        activation,
        0 if preactivation is None else preactivation.data_ptr(),
        0 if dpreactivation is None else dpreactivation.data_ptr(),
        0 if dinput is None else dinput.data_ptr(),
        0 if dweight is None else dweight.data_ptr(),
        by_columns,
        0 if dbias is None else dbias.data_ptr(),
    )
    if dweight is not None and by_columns is not transposed:
        dweight = dweight.t()
    if wants_bias and dbias is None:
        dbias = (dy if dpreactivation is None else dpreactivation).reshape(n_rows, n_out).sum(0)
    return dinput, dweight, dbias


class _Linear(torch.autograd.Function):
    # What is not differentiated comes in one tuple: autograd looks at every argument by itself.
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, rest: tuple[int, bool]
    ) -> Tensor:
        activation, transposed = ctx.rest = rest
        output, preactivation = forward(input, weight, bias, activation, True, transposed)
        ctx.save_for_backward(input, weight, preactivation)
        return output

    @staticmethod
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        activation, transposed = ctx.rest
        backward = _Backward.apply if torch.is_grad_enabled() else _backward
        wanted = ctx.needs_input_grad[:3]
        grads = backward(doutput, *ctx.saved_tensors, activation, wanted, transposed)  # type: ignore[call-arg]
        return *grads, None


_record = gate.recorder(_Linear)


class _Backward(torch.autograd.Function):
    """A node of its own, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        return _backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise gate.refuse_second_derivative("linear")


_library = torch.library.Library("groundup", "FRAGMENT")
_TAGS = (torch.Tag.pt2_compliant_tag,)
_library.define(
    "linear(Tensor input, Tensor weight, Tensor? bias, int activation)"
    " -> (Tensor output, Tensor preactivation)",
    tags=_TAGS,
)
_library.define(
    "linear_backward(Tensor doutput, Tensor input, Tensor weight, Tensor? preactivation, "
    "int activation, bool[] wanted) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)


def _check_operator(input: Tensor, weight: Tensor, *others: Tensor | None) -> None:
    """torch.ops is open to everybody, and the kernel trusts its sizes."""
    for tensor in (input, weight, *others):
        if tensor is not None and tensor.dtype is not torch.float32:
            raise TypeError(f"groundup::linear: expected float32, got {tensor.dtype}")
    if weight.dim() != 2 or weight.numel() == 0 or not input.dim():
        raise ValueError(
            "groundup::linear: expected input (..., in) and weight (out, in) with elements, got "
            f"shapes {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    if input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"groundup::linear: expected input (..., {weight.shape[1]}), got {tuple(input.shape)}"
        )


def _operator(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: int
) -> tuple[Tensor, Tensor]:
    _check_operator(input, weight, bias)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"groundup::linear: expected bias ({weight.shape[0]},), got {tuple(bias.shape)}"
        )
    output, preactivation = forward(input, weight, bias, activation, True)
    return output, input.new_empty(0) if preactivation is None else preactivation


def _backward_operator(
    doutput: Tensor,
    input: Tensor,
    weight: Tensor,
    preactivation: Tensor | None,
    activation: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """What is not wanted is empty, (0,)."""
    _check_operator(input, weight, doutput, preactivation)
    shape = (*input.shape[:-1], weight.shape[0])
    for name, tensor in (("doutput", doutput), ("preactivation", preactivation)):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"groundup::linear_backward: expected {name} {shape}, got {tuple(tensor.shape)}"
            )
    wants_input, wants_weight, wants_bias = wanted
    asked = (wants_input, wants_weight, wants_bias)
    grads = _backward(doutput, input, weight, preactivation, activation, asked)
    dinput, dweight, dbias = (input.new_empty(0) if grad is None else grad for grad in grads)
    return dinput, dweight, dbias


def _fake(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: int
) -> tuple[Tensor, Tensor]:
    output = input.new_empty((*input.shape[:-1], weight.shape[0]))
    return output, torch.empty_like(output) if activation else input.new_empty(0)


def _backward_fake(
    doutput: Tensor,
    input: Tensor,
    weight: Tensor,
    preactivation: Tensor | None,
    activation: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    n_out, n_in = weight.shape
    dinput, dweight, dbias = (input.new_empty(0) for _ in range(3))
    if wanted[0]:
        dinput = input.new_empty(input.shape)
    if wanted[1]:
        transposed = lies_transposed(*weight.stride())
        dweight = (
            weight.new_empty((n_in, n_out)).t() if transposed else weight.new_empty((n_out, n_in))
        )
    if wanted[2]:
        dbias = weight.new_empty(n_out)
    return dinput, dweight, dbias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, weight, _, ctx.activation = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(input, weight, output[1] if ctx.activation else None)


def _operator_backward(ctx: Any, doutput: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:3])
    grads = torch.ops.groundup.linear_backward(doutput, *ctx.saved_tensors, ctx.activation, wanted)
    return *(grad if asked else None for grad, asked in zip(grads, wanted, strict=True)), None


def _refuse(ctx: Any, *grads: Tensor) -> Any:
    raise gate.refuse_second_derivative("linear")


_library.impl("linear", _operator, "CPU")
_library.impl("linear_backward", _backward_operator, "CPU")
torch.library.register_fake("groundup::linear", _fake, lib=_library)
torch.library.register_fake("groundup::linear_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    "groundup::linear", _operator_backward, setup_context=_save, lib=_library
)
torch.library.register_autograd("groundup::linear_backward", _refuse, lib=_library)
