"""Cross-entropy over rows of logits in Triton, forward and backward. Importing it needs no GPU.

One program takes one row. Forward keeps two numbers of it, the largest logit and the logarithm of
the sum of exponentials relative to it; backward reads the row again. What all rows share (divisors,
the sum of the class weights) is summed by a program of its own before, so that nothing waits for
the host. Derivation: docs/cross_entropy.md. Names as there: N rows, V classes.
"""

import triton
import triton.language as tl

_SERIES_BELOW = tl.constexpr(0.25)


@triton.jit
def _tanh(x):
    # From exp the digits of a small result would cancel; the series has them.
    square = x * x
    series = x * (
        1 + square * (-1 / 3 + square * (2 / 15 + square * (-17 / 315 + square * (62 / 2835))))
    )
    from_exp = 1 - 2 / (tl.exp(2 * x) + 1)
    return tl.where(tl.abs(x) < _SERIES_BELOW, series, from_exp)


@triton.jit
def cross_entropy_totals_kernel(
    target_ptr,  # (N,) int64
    weight_ptr,  # (V,) float32, if WEIGHTED
    shared_ptr,  # (3,) float32: divisor of the losses, divisor of the z-losses, sum of the weights
    flag_ptr,  # (2,) int64 that the host reads: (row + 1, target) of the first bad target
    n_rows,
    n_classes,
    ignore_index,
    MEAN: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    weight = tl.zeros((BLOCK_N,), tl.float64)
    live = tl.zeros((BLOCK_N,), tl.int64)
    bad_row = tl.full((BLOCK_N,), 0x7FFFFFFFFFFFFFFF, tl.int64)
    for start in range(0, n_rows, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N).to(tl.int64)
        inside = rows < n_rows
        target = tl.load(target_ptr + rows, mask=inside, other=ignore_index)
        counts = inside & (target != ignore_index)
        is_class = (target >= 0) & (target < n_classes)
        live += counts.to(tl.int64)
        if WEIGHTED:
            weight += tl.load(weight_ptr + target, mask=counts & is_class, other=0.0).to(tl.float64)
        else:
            weight += (counts & is_class).to(tl.float64)
        bad_row = tl.where(counts & ~is_class, tl.minimum(bad_row, rows), bad_row)
    weight_sum = 0.0 + n_classes
    if WEIGHTED:
        of_class = tl.zeros((BLOCK_N,), tl.float64)
        for start in range(0, n_classes, BLOCK_N):
            classes = start + tl.arange(0, BLOCK_N)
            loaded = tl.load(weight_ptr + classes, mask=classes < n_classes, other=0.0)
            of_class += loaded.to(tl.float64)
        weight_sum = tl.sum(of_class).to(tl.float32)
    if MEAN:
        tl.store(shared_ptr, tl.sum(weight).to(tl.float32))
        tl.store(shared_ptr + 1, tl.sum(live).to(tl.float32))
    else:
        tl.store(shared_ptr, 1.0)
        tl.store(shared_ptr + 1, 1.0)
    tl.store(shared_ptr + 2, weight_sum)
    first_bad = tl.min(bad_row)
    found = (first_bad < n_rows) & (tl.load(flag_ptr) == 0)
    bad_target = tl.load(target_ptr + first_bad, mask=found, other=0)
    tl.store(flag_ptr + 1, bad_target, mask=found)
    # The host reads the target once it has seen the row.
    tl.debug_barrier()
    tl.store(flag_ptr, first_bad + 1, mask=found)


@triton.jit
def cross_entropy_sum_kernel(row_loss_ptr, shared_ptr, loss_ptr, n_rows, BLOCK_N: tl.constexpr):
    total = tl.zeros((BLOCK_N,), tl.float64)
    for start in range(0, n_rows, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N).to(tl.int64)
        total += tl.load(row_loss_ptr + rows, mask=rows < n_rows, other=0.0)
    loss = tl.sum(total)
    # A mean over no row is 0 / 0.
    live = tl.load(shared_ptr + 1)
    tl.store(loss_ptr, tl.where(live == 0, float("nan"), loss.to(tl.float32)))


@triton.jit
def cross_entropy_forward_kernel(
    logits_ptr,  # (N, V) of rows stride_row apart
    target_ptr,  # (N,) int64
    weight_ptr,  # (V,) float32, if WEIGHTED
    statistics_ptr,  # (N, 2) float32: largest logit, log(sum(exp(logit - largest)))
    shared_ptr,
    row_loss_ptr,  # (N,) float64, or float32 where it is the result
    n_classes,
    stride_row,
    ignore_index,
    label_smoothing,
    lse_square_scale,
    softcap,
    WEIGHTED: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    loss = tl.zeros((), tl.float64)
    largest = tl.zeros((), tl.float32)
    log_sum = tl.zeros((), tl.float64)
    if target != ignore_index:
        if (target >= 0) & (target < n_classes):
            row_ptr = logits_ptr + row * stride_row
            largest = tl.full((), float("-inf"), tl.float32)
            total = tl.zeros((), tl.float32)
            smooth = tl.zeros((), tl.float32)
            seen = tl.zeros((), tl.float32)
            for start in range(0, n_classes, BLOCK_V):
                offs_v = start + tl.arange(0, BLOCK_V)
                inside = offs_v < n_classes
                x = tl.load(row_ptr + offs_v, mask=inside, other=0.0).to(tl.float32)
                if CAPPED:
                    x = softcap * _tanh(x / softcap)
                x = tl.where(inside, x, float("-inf"))
                fresh = tl.maximum(largest, tl.max(x))
                # -inf alone so far: 0 may be taken off without making NaN of it.
                shift = tl.where(fresh == float("-inf"), 0.0, fresh)
                before = tl.where(largest == float("-inf"), 0.0, largest)
                factor = tl.where(largest == float("-inf"), 1.0, tl.exp(before - shift))
                total = total * factor + tl.sum(tl.exp(x - shift))
                if SMOOTHED:
                    weight = inside.to(tl.float32)
                    if WEIGHTED:
                        weight = tl.load(weight_ptr + offs_v, mask=inside, other=0.0)
                    relative = tl.where(inside, x - shift, 0.0)
                    smooth += tl.sum(weight * relative) - seen * (shift - before)
                    seen += tl.sum(weight)
                largest = fresh
            if largest == float("-inf"):
                total = tl.full((), float("nan"), tl.float32)

            log_sum = tl.log(total.to(tl.float64))
            at_target = tl.load(row_ptr + target).to(tl.float32)
            if CAPPED:
                at_target = softcap * _tanh(at_target / softcap)
            # Rounded, and divided term by term, as torch does it: inf and NaN stand where torch's.
            nll = (log_sum + (largest.to(tl.float64) - at_target)).to(tl.float32)
            loss = nll.to(tl.float64)
            if WEIGHTED:
                loss *= tl.load(weight_ptr + target)
            divisor = tl.load(shared_ptr).to(tl.float64)
            loss /= divisor
            if SMOOTHED:
                spread = (seen * log_sum - smooth).to(tl.float32)
                share = tl.zeros((), tl.float64) + label_smoothing
                loss = (1 - share) * loss + share / n_classes * spread / divisor
            if lse_square_scale != 0:
                lse = largest + log_sum
                z = (lse * lse).to(tl.float32).to(tl.float64)
                loss += lse_square_scale * z / tl.load(shared_ptr + 1)
        else:
            loss = tl.full((), float("nan"), tl.float64)
            log_sum = tl.full((), float("nan"), tl.float64)
    tl.store(statistics_ptr + 2 * row, largest)
    tl.store(statistics_ptr + 2 * row + 1, log_sum.to(tl.float32))
    tl.store(row_loss_ptr + row, loss.to(row_loss_ptr.dtype.element_ty))


@triton.jit
def cross_entropy_backward_kernel(
    logits_ptr,
    target_ptr,
    weight_ptr,
    statistics_ptr,
    shared_ptr,
    dloss_ptr,  # (N,) float32, or one number
    dlogits_ptr,  # (N, V), rows adjacent; the logits themselves, if INPLACE
    n_classes,
    stride_row,
    ignore_index,
    label_smoothing,
    lse_square_scale,
    softcap,
    PER_ROW: tl.constexpr,
    INPLACE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * stride_row
    out_ptr = dlogits_ptr + row * n_classes
    target = tl.load(target_ptr + row)
    is_class = (target >= 0) & (target < n_classes)
    if (target == ignore_index) | ~is_class:
        filled = tl.where(target == ignore_index, 0.0, float("nan"))
        for start in range(0, n_classes, BLOCK_V):
            offs_v = start + tl.arange(0, BLOCK_V)
            value = tl.zeros((BLOCK_V,), tl.float32) + filled
            tl.store(
                out_ptr + offs_v, value.to(dlogits_ptr.dtype.element_ty), mask=offs_v < n_classes
            )
    else:
        dloss = tl.load(dloss_ptr + (row if PER_ROW else 0)).to(tl.float64)
        divisor = tl.load(shared_ptr).to(tl.float64)
        largest = tl.load(statistics_ptr + 2 * row)
        log_sum = tl.load(statistics_ptr + 2 * row + 1).to(tl.float64)
        total = tl.exp(log_sum)
        # dlogit_c = every * p_c - smooth * weight_c - (c is the target) * of_target
        weight_of_target = tl.full((), 1.0, tl.float64)
        if WEIGHTED:
            weight_of_target = tl.load(weight_ptr + target).to(tl.float64)
        of_target = weight_of_target * dloss / divisor
        smooth = tl.zeros((), tl.float64)
        if SMOOTHED:
            share = tl.zeros((), tl.float64) + label_smoothing
            of_target *= 1 - share
            smooth = share / n_classes * dloss / divisor
        every = of_target + smooth * tl.load(shared_ptr + 2)
        if lse_square_scale != 0:
            lse = largest + log_sum
            every += 2 * lse_square_scale * lse * dloss / tl.load(shared_ptr + 1)
        # The target's own gradient apart from the sweep: p - 1 before any rounding.
        y = tl.load(row_ptr + target).to(tl.float32)
        if INPLACE:
            # Every thread reads y, and the first to go on writes over it.
            tl.debug_barrier()
        slope = tl.full((), 1.0, tl.float32)
        if CAPPED:
            tanh_y = _tanh(y / softcap)
            y = softcap * tanh_y
            slope = 1 - tanh_y * tanh_y
        p = tl.exp(y.to(tl.float64) - largest) / total
        at_target = of_target * (p - 1) + (every - of_target) * p - smooth * weight_of_target
        at_target = (at_target * slope).to(tl.float32)
        scale = (every / total).to(tl.float32)
        offset = smooth.to(tl.float32)
        for start in range(0, n_classes, BLOCK_V):
            offs_v = start + tl.arange(0, BLOCK_V)
            inside = offs_v < n_classes
            x = tl.load(row_ptr + offs_v, mask=inside, other=0.0).to(tl.float32)
            slopes = tl.full((BLOCK_V,), 1.0, tl.float32)
            if CAPPED:
                tanh_x = _tanh(x / softcap)
                x = softcap * tanh_x
                slopes = 1 - tanh_x * tanh_x
            gradient = scale * tl.exp(x - largest)
            if SMOOTHED:
                if WEIGHTED:
                    gradient -= offset * tl.load(weight_ptr + offs_v, mask=inside, other=0.0)
                else:
                    gradient -= offset
            gradient = tl.where(offs_v == target, at_target, gradient * slopes)
            tl.store(out_ptr + offs_v, gradient.to(dlogits_ptr.dtype.element_ty), mask=inside)


@triton.jit
def cross_entropy_scale_kernel(
    dlogits_ptr,  # (N, V), rows adjacent
    dloss_ptr,  # (N,) float32, or one number
    n_classes,
    PER_ROW: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    dloss = tl.load(dloss_ptr + (row if PER_ROW else 0))
    if dloss != 1:
        row_ptr = dlogits_ptr + row * n_classes
        for start in range(0, n_classes, BLOCK_V):
            offs_v = start + tl.arange(0, BLOCK_V)
            inside = offs_v < n_classes
            scaled = tl.load(row_ptr + offs_v, mask=inside, other=0.0).to(tl.float32) * dloss
            tl.store(row_ptr + offs_v, scaled.to(dlogits_ptr.dtype.element_ty), mask=inside)
