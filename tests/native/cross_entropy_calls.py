"""The native cross-entropy on guarded buffers, and the same loss from eager torch."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
GUARD = 256  # bytes on either side of a buffer


@dataclass(frozen=True)
class Flags:
    weight: torch.Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0
    lse_square_scale: float = 0.0
    softcap: float | None = None

    def arguments(self) -> tuple:
        return (
            0 if self.weight is None else self.weight.data_ptr(),
            self.ignore_index,
            REDUCTIONS[self.reduction],
            self.label_smoothing,
            self.lse_square_scale,
            self.softcap or 0.0,
        )


@dataclass
class Guarded:
    """A tensor of `shape` in the middle of bytes that are all 0xff: born NaN, and what lies around
    it, or between its rows, shows when it is written."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    row_stride: int | None = None
    offset: int = 0  # elements from a 64-byte boundary
    tensor: torch.Tensor = field(init=False)

    def __post_init__(self):
        stride = self.row_stride or self.shape[-1] if len(self.shape) == 2 else 1
        strides = (stride, 1) if len(self.shape) == 2 else (1,) * len(self.shape)
        extent = sum((n - 1) * s for n, s in zip(self.shape, strides, strict=True)) + 1
        size = torch.empty(0, dtype=self.dtype).element_size()
        self.bytes = np.full(2 * GUARD + 64 + (max(extent, 1) + self.offset) * size, 0xFF, np.uint8)
        begin = GUARD + -(self.bytes.ctypes.data + GUARD) % 64 + self.offset * size
        n_bytes = max(extent, 1) * size
        flat = torch.from_numpy(self.bytes[begin : begin + n_bytes]).view(self.dtype)
        self.tensor = flat.as_strided(self.shape, strides)

    def written_outside(self) -> bool:
        before = self.tensor.clone()
        self.tensor.view(torch.int16 if before.element_size() == 2 else torch.int32).fill_(-1)
        outside = bool((self.bytes != 0xFF).any())
        self.tensor.copy_(before)
        return outside


@dataclass
class Result:
    bad_row: int
    loss: torch.Tensor
    dlogits: torch.Tensor
    denominator: torch.Tensor
    buffers: list[Guarded]

    def wrote_outside(self) -> bool:
        return any(buffer.written_outside() for buffer in self.buffers)


def native(
    core, logits, target, flags=None, *, dloss=None, inplace=False, row_stride=None, offset=0
) -> Result:
    """Forward and backward of _C, or its in-place form (whose dloss is 1)."""
    flags = flags or Flags()
    n_rows, n_classes = logits.shape
    loss = Guarded((n_rows,) if flags.reduction == "none" else (), torch.float32, offset=offset)
    lse = Guarded((n_rows, 2), torch.float32, offset=offset)
    denominator = Guarded((), torch.float32)
    x = Guarded((n_rows, n_classes), logits.dtype, row_stride, offset)
    x.tensor.copy_(logits)
    buffers = [loss, lse, denominator, x]
    sizes = (int(logits.dtype == torch.bfloat16), n_rows, n_classes)
    common = (*sizes, x.tensor.stride(0), target.data_ptr(), *flags.arguments())
    outputs = (loss.tensor.data_ptr(), lse.tensor.data_ptr(), denominator.tensor.data_ptr())
    form = core.cross_entropy_inplace_cpu if inplace else core.cross_entropy_forward_cpu
    bad_row = form(x.tensor.data_ptr(), *common, *outputs)
    if inplace or bad_row >= 0:
        return Result(bad_row, loss.tensor, x.tensor, denominator.tensor, buffers)

    # Of another stride and alignment than the logits.
    dlogits = Guarded((n_rows, n_classes), logits.dtype, n_classes + 5, (offset * 3) % 16)
    if dloss is None:
        dloss = torch.ones_like(loss.tensor)
    core.cross_entropy_backward_cpu(
        x.tensor.data_ptr(),
        *common,
        *outputs[1:],
        dloss.data_ptr(),
        dlogits.tensor.data_ptr(),
        dlogits.tensor.stride(0),
    )
    assert torch.equal(x.tensor.view(torch.int8), logits.contiguous().view(torch.int8)), (
        "forward and backward must leave the logits as they are"
    )
    return Result(bad_row, loss.tensor, dlogits.tensor, denominator.tensor, [*buffers, dlogits])


def eager(logits, target, flags, dtype, dloss=None):
    """(loss, dlogits) by torch's autograd in `dtype`. Our z-loss: unweighted, over live rows."""
    x = logits.detach().to(dtype).requires_grad_()
    capped = x if flags.softcap is None else flags.softcap * torch.tanh(x / flags.softcap)
    loss = F.cross_entropy(
        capped,
        target,
        None if flags.weight is None else flags.weight.to(dtype),
        ignore_index=flags.ignore_index,
        reduction=flags.reduction,
        label_smoothing=flags.label_smoothing,
    )
    live = target != flags.ignore_index
    if flags.lse_square_scale and live.any():
        z = flags.lse_square_scale * torch.logsumexp(capped, 1)[live] ** 2
        if flags.reduction == "none":
            loss = loss.index_add(0, live.nonzero()[:, 0], z)
        else:
            loss = loss + (z.mean() if flags.reduction == "mean" else z.sum())
    loss.backward(torch.ones_like(loss) if dloss is None else dloss.to(loss.dtype))
    return loss.detach(), x.grad
