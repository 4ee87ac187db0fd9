"""The native causal attention on guarded buffers, and the same from eager torch."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from groundup.reference.attention import dropout_mask, visible

GUARD = 256  # bytes on either side of a buffer


@dataclass(frozen=True)
class Flags:
    scale: float | None = None
    left: int = -1
    softcap: float = 0.0
    alignment: str = "lower_right"
    dropout_p: float = 0.0
    dropout_key: tuple[int, int] = (12345, -6789)


@dataclass
class Guarded:
    """A (B, H, T, width) tensor in the middle of bytes that are all 0xff: born NaN, and what lies
    around it, or between its rows, shows when it is written."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...] = (0, 1, 2)  # of the first three dimensions in memory
    gap: int = 0  # elements between rows
    offset: int = 0  # elements from a 64-byte boundary
    tensor: torch.Tensor = field(init=False)

    def __post_init__(self):
        strides, extent = [0, 0, 0, 1], max(self.shape[3], 1) + self.gap
        for dimension in reversed(self.order):
            strides[dimension] = extent
            extent *= max(self.shape[dimension], 1)
        size = torch.empty(0, dtype=self.dtype).element_size()
        self.bytes = np.full(2 * GUARD + 64 + (extent + self.offset) * size, 0xFF, np.uint8)
        begin = GUARD + -(self.bytes.ctypes.data + GUARD) % 64 + self.offset * size
        flat = torch.from_numpy(self.bytes[begin : begin + extent * size]).view(self.dtype)
        self.tensor = flat.as_strided(self.shape, strides)

    def written_outside(self) -> bool:
        before = self.tensor.clone()
        self.tensor.view(torch.int16 if before.element_size() == 2 else torch.int32).fill_(-1)
        outside = bool((self.bytes != 0xFF).any())
        self.tensor.copy_(before)
        return outside


@dataclass
class Result:
    out: torch.Tensor
    statistics: torch.Tensor
    gradients: tuple[torch.Tensor, ...]
    buffers: list[Guarded]

    def wrote_outside(self) -> bool:
        return any(buffer.written_outside() for buffer in self.buffers)

    def all(self) -> tuple[torch.Tensor, ...]:
        return (self.out, self.statistics, *self.gradients)


def native(core, query, key, value, dout, flags=None, **layout) -> Result:
    """Forward and backward of _C; `layout` is Guarded's, for every tensor, each a bit different."""
    flags = flags or Flags()
    batch, heads, n_queries, width = query.shape
    n_keys, value_width = value.shape[2:]
    sizes = (batch, heads, key.shape[1], n_queries, n_keys, width, value_width)
    gap, offset = layout.pop("gap", 0), layout.pop("offset", 0)

    def buffer(shape, step):
        return Guarded(
            tuple(shape), query.dtype, gap=gap * step, offset=offset * step % 16, **layout
        )

    inputs = [buffer(t.shape, i + 1) for i, t in enumerate((query, key, value, dout))]
    for each, tensor in zip(inputs, (query, key, value, dout), strict=True):
        each.tensor.copy_(tensor)
    q, k, v, do = inputs
    out = buffer(dout.shape, 2)
    statistics = Guarded((batch, heads, n_queries, 2), torch.float32)
    gradients = [buffer(t.shape, i + 3) for i, t in enumerate((query, key, value))]
    scale = 1 / math.sqrt(width) if flags.scale is None else flags.scale
    place = n_keys - n_queries if flags.alignment == "lower_right" else 0
    numbers = (place, flags.left, scale, flags.softcap, flags.dropout_p, *flags.dropout_key)

    def strides(buffers):
        return [stride for each in buffers for stride in each.tensor.stride()[:3]]

    def pointers(buffers):
        return [each.tensor.data_ptr() for each in buffers]

    shared = [q, k, v, out]
    dtype = int(query.dtype is torch.bfloat16)
    core.attention_forward_cpu(
        *pointers([*shared, statistics]), dtype, sizes, strides(shared), *numbers
    )
    core.attention_backward_cpu(
        *pointers([*shared, statistics, do, *gradients]),
        dtype,
        sizes,
        strides([*shared, do, *gradients]),
        *numbers,
    )
    for each, tensor in zip(inputs, (query, key, value, dout), strict=True):
        assert torch.equal(each.tensor.nan_to_num(7), tensor.nan_to_num(7)), "an input was changed"
    return Result(
        out.tensor,
        statistics.tensor,
        tuple(each.tensor for each in gradients),
        [*inputs, out, statistics, *gradients],
    )


def eager(query, key, value, dout, flags, dtype):
    """(out, dquery, dkey, dvalue) by torch's autograd in `dtype`: scores, mask, softmax; the
    weights' mask is the reference's. Rows without keys are left out, which makes them zero."""
    tensors = [t.detach().to(dtype).requires_grad_() for t in (query, key, value)]
    q, k, v = tensors
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    left = None if flags.left < 0 else flags.left
    seen = torch.from_numpy(visible(q.shape[2], k.shape[2], left, flags.alignment))
    rows = seen.any(1)
    scale = 1 / math.sqrt(q.shape[3]) if flags.scale is None else flags.scale
    scores = q[:, :, rows] @ k.mT * scale
    if flags.softcap:
        scores = flags.softcap * torch.tanh(scores / flags.softcap)
    weights = scores.masked_fill(~seen[rows], -math.inf).softmax(-1)
    if flags.dropout_p:
        kept = dropout_mask(flags.dropout_key, flags.dropout_p, (*q.shape[:3], k.shape[2]))
        kept = torch.from_numpy(kept)[:, :, rows]
        weights = weights * kept / (1 - flags.dropout_p)
    out = torch.zeros_like(dout, dtype=dtype).index_copy(2, rows.nonzero()[:, 0], weights @ v)
    gradients = torch.autograd.grad(out, tensors, dout.to(dtype), allow_unused=True)
    return out.detach(), *(
        torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True)
    )
