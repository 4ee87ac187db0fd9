"""The native cross-entropy, called by pointer: values, shapes, layouts and what it may touch."""

import itertools
import math
import mmap
import tempfile

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from native.cross_entropy_calls import Flags, eager, native

core = pytest.importorskip("groundup._C", reason="the native core is not built")

DTYPES = [torch.float32, torch.bfloat16]
FORMS = pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
inf, nan = math.inf, math.nan


@pytest.fixture(autouse=True)
def _one_thread():
    """Small problems: on a busy machine the threads' waiting for each other is most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(n_rows, n_classes, dtype=torch.float32, *, seed=0, offset=0.0, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(n_rows, n_classes, generator=generator) + offset).to(dtype)
    target = torch.randint(n_classes, (n_rows,), generator=generator)
    target[torch.rand(n_rows, generator=generator) < ignored] = -100
    return logits, target


def options(n_classes):
    weight = torch.rand(n_classes, generator=torch.Generator().manual_seed(1)) + 0.1
    for w, smoothing, scale, cap in itertools.product(
        (None, weight), (0.0, 0.1), (0.0, 1e-3), (None, 5.0)
    ):
        yield {
            "weight": w,
            "label_smoothing": smoothing,
            "lse_square_scale": scale,
            "softcap": cap,
        }


def judge(result, logits, target, flags, dloss=None, name=""):
    """Loss and gradient under the error rule; returns the losses to judge scalars together."""
    dtype = logits.dtype
    loss, grad = eager(logits, target, flags, dtype, dloss)
    exact_loss, exact_grad = eager(logits, target, flags, torch.float64, dloss)
    assert result.bad_row == -1
    assert not result.wrote_outside(), f"{name}: something outside the buffers was written"
    assert_error_like_eager(result.dlogits, grad, exact_grad, kind="gradient", name=f"{name} grad")
    if flags.reduction == "none":
        assert_error_like_eager(result.loss, loss, exact_loss, name=f"{name} loss")
    return result.loss, loss, exact_loss


@FORMS
@pytest.mark.parametrize("offset", [0.0, 1000.0], ids=["centred", "around 1000"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_flag_combination_is_as_accurate_as_eager(dtype, reduction, offset, inplace):
    losses = []
    for n_classes in (63, 300):
        logits, target = example(48, n_classes, dtype, offset=offset)
        dloss = None if inplace else torch.rand(48 if reduction == "none" else ())
        for option in options(n_classes):
            flags = Flags(reduction=reduction, **option)
            result = native(core, logits, target, flags, dloss=dloss, inplace=inplace)
            losses.append(judge(result, logits, target, flags, dloss, f"{n_classes} {option}"))
    if reduction != "none":  # one number each: judged together, or luck would decide
        assert_error_like_eager(*(torch.stack(column) for column in zip(*losses, strict=True)))


@FORMS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_classes", [1, 2, 63, 129, 2049, 4112, 50257])
def test_ragged_sizes_at_every_alignment(n_classes, dtype, inplace):
    logits, target = example(5, n_classes, dtype, ignored=0)
    for offset in (0, 1, 3, 15):
        flags = Flags(reduction="none")
        result = native(core, logits, target, flags, inplace=inplace, offset=offset)
        judge(result, logits, target, flags, name=f"V {n_classes} offset {offset}")


@FORMS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row_stride", [130, 144, 1000])
def test_rows_further_apart_than_they_are_long(row_stride, dtype, inplace):
    logits, target = example(9, 129, dtype)
    flags = Flags(reduction="none", label_smoothing=0.1)
    result = native(core, logits, target, flags, inplace=inplace, row_stride=row_stride, offset=1)
    judge(result, logits, target, flags)


@settings(deadline=None, max_examples=120)
@given(
    n_rows=st.integers(0, 40),
    n_classes=st.integers(1, 700),
    dtype=st.sampled_from(DTYPES),
    inplace=st.booleans(),
    offset=st.integers(0, 15),
    gap=st.integers(0, 40),
    ignored=st.sampled_from([0.0, 0.5, 1.0]),
    reduction=st.sampled_from(["none", "mean", "sum"]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
    cap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout_writes_every_element_and_none_beside(
    n_rows,
    n_classes,
    dtype,
    inplace,
    offset,
    gap,
    ignored,
    reduction,
    smoothing,
    weighted,
    cap,
    seed,
):
    logits, target = example(n_rows, n_classes, dtype, seed=seed, ignored=ignored)
    weight = torch.rand(n_classes) + 0.1 if weighted else None
    flags = Flags(weight, reduction=reduction, label_smoothing=smoothing, softcap=cap)
    result = native(
        core, logits, target, flags, inplace=inplace, offset=offset, row_stride=n_classes + gap
    )
    loss, gradient = eager(logits, target, flags, torch.float64)
    assert result.bad_row == -1
    assert not result.wrote_outside()
    assert_same_class(result.loss, loss)
    torch.testing.assert_close(
        result.loss.double(), loss, rtol=1e-5, atol=1e-5 * max(n_rows, 1), equal_nan=True
    )
    ulp = 2e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(result.dlogits.double(), gradient, rtol=ulp, atol=1e-6)
    assert (result.dlogits[target == -100] == 0).all()


SPECIAL = {
    "nan": [0.0, nan, 1.0, 2.0],
    "+inf": [0.0, 1.0, inf, 2.0],
    "two +inf": [inf, 1.0, inf, 2.0],
    "-inf beside the target": [0.0, 1.0, 2.0, -inf],
    "-inf at the target": [0.0, -inf, 2.0, 1.0],
    "all -inf": [-inf] * 4,
    "all but the target -inf": [-inf, 1.0, -inf, -inf],
    "all 1e38": [1e38] * 4,
    "from -1e38 to 1e38": [-1e38, 1e38, 0.0, 1e37],
    "from -3e38 to 3e38": [3e38, -3e38, 0.0, 1.0],
    "denormal": [1e-42, 0.0, -1e-42, 1e-45],
}


@FORMS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values_give_what_torch_gives(name, reduction, dtype, inplace):
    """Padded to several vectors and blocks with a value that cannot change the class."""
    for width, filler in ((4, 0.0), (40, -2.0), (5000, -inf)):
        row = torch.full((width,), filler)
        row[-4:] = torch.tensor(SPECIAL[name])
        logits = torch.stack([row, torch.linspace(-1, 1, width)]).to(dtype)
        target = torch.tensor([width - 3, 0])
        weight = torch.ones(width)
        weight[-3] = 0
        for w, smoothing, cap in itertools.product((None, weight), (0.0, 0.1), (None, 5.0)):
            flags = Flags(w, reduction=reduction, label_smoothing=smoothing, softcap=cap)
            result = native(core, logits, target, flags, inplace=inplace)
            loss, gradient = eager(logits, target, flags, torch.float32)
            if loss.isfinite().all():
                judge(result, logits, target, flags, name=f"{name} {width}")
            what = (
                f"{name}, width {width}, weight {w is not None}, smoothing {smoothing}, cap {cap}"
            )
            assert_same_class(result.loss, loss, name=f"{what}: loss")
            assert_same_class(result.dlogits, gradient.to(dtype), name=f"{what}: gradient")


@FORMS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_rows_have_zero_gradient_whatever_they_hold(dtype, inplace):
    logits, target = example(6, 129, dtype, ignored=0)
    target[[1, 4]] = -100
    logits[1], logits[4] = nan, inf
    result = native(core, logits, target, Flags(reduction="none"), inplace=inplace)
    assert (result.dlogits[[1, 4]] == 0).all()
    assert (result.loss[[1, 4]] == 0).all()
    assert result.dlogits.isfinite().all()


@FORMS
def test_an_ignore_index_that_is_a_class_leaves_its_rows_out(inplace):
    logits, target = example(64, 10, ignored=0)
    flags = Flags(ignore_index=3, label_smoothing=0.1, reduction="none")
    assert (target == 3).any()
    judge(native(core, logits, target, flags, inplace=inplace), logits, target, flags)


@FORMS
@pytest.mark.parametrize("n_rows", [0, 3])
def test_mean_of_no_rows_is_nan_and_sum_is_zero(n_rows, inplace):
    logits, target = example(n_rows, 7, ignored=1.1)
    for scale in (0.0, 1e-3):
        mean = native(core, logits, target, Flags(lse_square_scale=scale), inplace=inplace)
        assert mean.loss.isnan()
        assert mean.denominator == 0
        assert (mean.dlogits == 0).all()
        total = native(core, logits, target, Flags(reduction="sum"), inplace=inplace)
        assert total.loss == 0
        assert total.denominator == 1


@FORMS
def test_weights_that_are_all_zero_make_a_mean_nan(inplace):
    logits, target = example(4, 7, ignored=0)
    for smoothing in (0.0, 0.1):
        flags = Flags(torch.zeros(7), label_smoothing=smoothing)
        result = native(core, logits, target, flags, inplace=inplace)
        loss, gradient = eager(logits, target, flags, torch.float32)
        assert_same_class(result.loss, loss)
        assert_same_class(result.dlogits, gradient)


@FORMS
@pytest.mark.parametrize("bad", [-1, 7, -101, 2**62, -(2**63)])
def test_a_target_that_is_no_class_is_reported_and_nothing_written(bad, inplace):
    logits, target = example(6, 7, ignored=0)
    target[3], target[5] = bad, bad
    result = native(core, logits, target, inplace=inplace)
    assert result.bad_row == 3
    assert result.loss.isnan()
    assert result.denominator.isnan()
    assert not result.wrote_outside()
    assert torch.equal(result.dlogits, logits), "the logits were touched"


def test_a_target_changed_before_backward_gives_nan_and_reads_nothing_outside():
    logits, target = example(2, 7, ignored=0)
    loss, lse, denominator = torch.empty(()), torch.empty(2, 2), torch.empty(())
    dloss, dlogits = torch.ones(()), torch.zeros(2, 7)
    common = (0, 2, 7, 7, target.data_ptr(), *Flags().arguments())
    after = (lse.data_ptr(), denominator.data_ptr())
    core.cross_entropy_forward_cpu(logits.data_ptr(), *common, loss.data_ptr(), *after)
    target[1] = 2**60
    core.cross_entropy_backward_cpu(
        logits.data_ptr(), *common, *after, dloss.data_ptr(), dlogits.data_ptr(), 7
    )
    assert dlogits[0].isfinite().all()
    assert dlogits[1].isnan().all()


def test_in_place_works_without_lse():
    logits, target = example(3, 129, ignored=0)
    loss, denominator, x = torch.empty(()), torch.empty(()), logits.clone()
    arguments = (0, 3, 129, 129, target.data_ptr(), *Flags().arguments())
    core.cross_entropy_inplace_cpu(
        x.data_ptr(), *arguments, loss.data_ptr(), 0, denominator.data_ptr()
    )
    assert torch.equal(x, native(core, logits, target, inplace=True).dlogits)


def test_rising_logits_change_the_shift_in_every_block_and_stay_accurate():
    """The worst case of the kept exponentials: each block is relative to another maximum."""
    for n_classes in (50257, 300_000):
        logits = torch.linspace(-200, 40, n_classes)[None].repeat(2, 1)
        target, flags = torch.tensor([0, n_classes - 1]), Flags(reduction="none")
        for smoothing in (0.0, 0.1):
            flags = Flags(reduction="none", label_smoothing=smoothing)
            judge(native(core, logits, target, flags, inplace=True), logits, target, flags)


def test_a_gradient_large_enough_to_be_streamed_is_as_accurate():
    for dtype in DTYPES:
        logits, target = example(340, 50257, dtype, ignored=0.05)
        flags = Flags(reduction="mean")
        judge(native(core, logits, target, flags, offset=1), logits, target, flags)


@pytest.mark.skipif(not hasattr(mmap, "MAP_SHARED"), reason="needs a sparse mapped file")
def test_rows_beyond_two_to_the_31_elements_are_found():
    """Row 3 begins 3 * 2^30 elements in; a sparse file holds only the pages that are touched."""
    logits, target = example(4, 63, torch.bfloat16, ignored=0)
    stride = 2**30
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * (3 * stride + 63))
        memory = mmap.mmap(file.fileno(), 0)
        flat = np.frombuffer(memory, np.int16)
        for i, row in enumerate(logits):
            flat[i * stride : i * stride + 63] = row.view(torch.int16).numpy()
        loss, denominator = torch.empty(4), torch.empty(())
        flags = Flags(reduction="none")
        arguments = (1, 4, 63, stride, target.data_ptr(), *flags.arguments())
        core.cross_entropy_inplace_cpu(
            flat.ctypes.data, *arguments, loss.data_ptr(), 0, denominator.data_ptr()
        )
        expected = native(core, logits, target, flags, inplace=True)
        assert torch.equal(loss, expected.loss)
        for i in range(4):
            row = flat[i * stride : i * stride + 63]
            assert (row == expected.dlogits[i].view(torch.int16).numpy()).all()
        del flat, row


@pytest.mark.slow
def test_more_than_two_to_the_31_logits_give_the_exact_mean():
    """A row read over and over (row stride 0): 2.2 billion logits in 200 KB."""
    n_rows, n_classes = 44_000, 50_257
    logits = example(1, n_classes)[0]
    target = torch.arange(n_rows) % n_classes
    loss, lse, denominator = torch.empty(()), torch.empty(n_rows, 2), torch.empty(())
    arguments = (0, n_rows, n_classes, 0, target.data_ptr(), *Flags().arguments())
    bad_row = core.cross_entropy_forward_cpu(
        logits.data_ptr(), *arguments, loss.data_ptr(), lse.data_ptr(), denominator.data_ptr()
    )
    row = logits[0].double()
    exact = torch.logsumexp(row, 0) - row[target].mean()
    assert bad_row == -1
    assert denominator == n_rows
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, 2, r"dtype: expected 0 \(float32\) or 1 \(bfloat16\), got 2"),
        (8, 3, r"reduction: expected 0 \(none\), 1 \(mean\) or 2 \(sum\), got 3"),
        (2, -1, "expected n_rows >= 0 and n_classes >= 1, got -1 and 5"),
        (3, 0, "expected n_rows >= 0 and n_classes >= 1, got 2 and 0"),
    ],
)
def test_codes_and_sizes_that_would_be_unsafe_are_refused(position, value, message):
    arguments = [0, 0, 2, 5, 5, 0, 0, -100, 1, 0.0, 0.0, 0.0, 0, 0, 0]
    arguments[position] = value
    with pytest.raises(ValueError, match=message):
        core.cross_entropy_forward_cpu(*arguments)
