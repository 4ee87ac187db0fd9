"""cross_entropy: every implementation against float64, under the error rule of compare.py."""

import math

import pytest
import torch
from compare import assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cross_entropy_cases import (
    FLAGS,
    implementations,
    judge,
    loss_and_gradient,
    problem,
    run,
    written_out,
)

import groundup as gu
from groundup.ops import dispatch, native

every_implementation = pytest.mark.parametrize("implementation", implementations())
every_form = pytest.mark.parametrize(("implementation", "inplace"), implementations(inplace=True))
half_and_single = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"]
)


@every_form
@half_and_single
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_every_flag_combination(implementation, dtype, reduction, weighted, inplace, flags):
    logits, target = problem(19, 65, dtype)
    weight = torch.rand(65) + 0.1 if weighted else None
    upstream = torch.randn(19 if reduction == "none" else ())
    judge(implementation, logits, target, weight, upstream, inplace, reduction=reduction, **flags)


@every_form
@half_and_single
@pytest.mark.parametrize("n_classes", [1, 2, 15, 63, 129, 1000, 50257])
def test_ragged_shapes(implementation, dtype, inplace, n_classes):
    for n_rows in (1, 3):
        judge(implementation, *problem(n_rows, n_classes, dtype, ignored=0), inplace=inplace)


@every_implementation
@given(
    n_rows=st.integers(0, 40),
    n_classes=st.integers(1, 300),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    options=st.fixed_dictionaries(
        {
            "reduction": st.sampled_from(["none", "sum"]),
            "label_smoothing": st.floats(0, 1),
            "lse_square_scale": st.sampled_from([0.0, 1e-4]),
            "softcap": st.sampled_from([None, 0.5, 30.0]),
        }
    ),
)
@settings(max_examples=40, deadline=None)
def test_any_shape_and_option(implementation, n_rows, n_classes, seed, scale, options):
    torch.manual_seed(seed)
    logits, target = problem(n_rows, n_classes, scale=scale)
    results = run(implementation, logits, target, **options)
    exact = loss_and_gradient(written_out, logits.double(), target, **options)
    for ours, truth in zip(results, exact, strict=True):
        torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=2e-6)


@every_form
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_rows_give_torchs_empty_loss(implementation, reduction, inplace):
    logits, target = torch.randn(0, 7), torch.zeros(0, dtype=torch.int64)
    loss, gradient = run(implementation, logits, target, reduction=reduction, inplace=inplace)
    expected = torch.nn.functional.cross_entropy(logits, target, reduction=reduction)
    assert gradient.shape == (0, 7)
    torch.testing.assert_close(loss, expected, equal_nan=True)


@every_form
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_all_ignored_is_nan_for_mean_and_zero_otherwise(implementation, flags, inplace):
    logits, target = torch.randn(5, 7), torch.full((5,), -100)
    for reduction, expected in (("mean", math.nan), ("sum", 0.0), ("none", [0.0] * 5)):
        loss, gradient = run(
            implementation, logits, target, reduction=reduction, inplace=inplace, **flags
        )
        torch.testing.assert_close(loss, torch.tensor(expected), equal_nan=True)
        if reduction != "mean":
            assert not gradient.any()


@every_implementation
@half_and_single
def test_masked_rows_have_zero_gradient(implementation, dtype):
    logits, target = problem(64, 33, dtype, ignored=0.5)
    _, gradient = run(implementation, logits, target)
    assert not gradient[target == -100].any()
    assert gradient[target != -100].any(dim=1).all()


@every_implementation
def test_ignore_index_may_be_a_class(implementation):
    logits, target = problem(32, 5, ignored=0)
    judge(implementation, logits, target, ignore_index=3)


@every_implementation
def test_rows_of_the_gradient_sum_to_zero(implementation):
    _, gradient = run(implementation, *problem(16, 1000))
    assert gradient.double().sum(1).abs().max() < 1e-7


LAYOUTS = {
    "transposed": lambda x: x.t().contiguous().t(),
    "every_second_row": lambda x: x.repeat_interleave(2, 0)[::2],
    "every_second_class": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "columns_of_a_wider": lambda x: torch.cat([x, x, x], 1)[:, x.shape[1] : 2 * x.shape[1]],
    "expanded_row": lambda x: x[:1].expand_as(x),
    "expanded_class": lambda x: x[:, :1].expand_as(x),
    "sliding_windows": lambda x: x.reshape(-1)[: sum(x.shape) - 1].unfold(0, x.shape[1], 1),
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view_as(x),
}


@every_form
@half_and_single
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts_give_what_a_contiguous_copy_gives(implementation, dtype, inplace, layout):
    logits, target = problem(6, 37, dtype)
    arranged = layout(logits.requires_grad_() * 1)
    expected = run(implementation, arranged.contiguous(), target)
    with gu.use(f"cross_entropy={implementation}"):
        loss = gu.cross_entropy(arranged, target, inplace=inplace)
    (gradient,) = torch.autograd.grad(loss, arranged)
    torch.testing.assert_close(loss, expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(
        gradient, expected[1], rtol=1e-5 if dtype is torch.float32 else 1e-2, atol=1e-7
    )


@every_implementation
def test_a_strided_target_and_weight_are_read_by_their_strides(implementation):
    logits, target = problem(6, 37)
    weight = torch.rand(74)
    with gu.use(f"cross_entropy={implementation}"):
        strided = gu.cross_entropy(logits, target.repeat_interleave(2)[::2], weight[::2])
        plain = gu.cross_entropy(logits, target, weight[::2].clone())
    torch.testing.assert_close(strided, plain)


VALUES = {
    "nan": [1.0, math.nan, 2.0],
    "inf": [1.0, math.inf, 2.0],
    "two_infs": [math.inf, math.inf, 2.0],
    "target_is_inf": [1.0, 2.0, math.inf],
    "minus_inf": [1.0, -math.inf, 2.0],
    "target_is_minus_inf": [1.0, 2.0, -math.inf],
    "all_minus_inf": [-math.inf] * 3,
    "huge": [1e38, -1e38, 1e38],
    "tiny": [1e-45, 1e-40, 0.0],
}


@every_form
@half_and_single
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("n_classes", [3, 40])
def test_extreme_values_give_the_class_torch_gives(
    implementation, dtype, inplace, values, n_classes
):
    logits = torch.zeros(3, n_classes)
    logits[1, [0, 1, n_classes - 1]] = torch.tensor(values)
    if values[0] == -math.inf:
        logits[1] = -math.inf
    logits, target = logits.to(dtype), torch.tensor([0, n_classes - 1, 1])
    loss, gradient = run(implementation, logits, target, reduction="none", inplace=inplace)
    eager = loss_and_gradient(torch.nn.functional.cross_entropy, logits, target, reduction="none")
    assert_same_class(loss, eager[0], name="loss")
    assert_same_class(gradient, eager[1], name="dlogits")


@every_form
@pytest.mark.parametrize("upstream", [0.0, 1.0, -2.5, math.nan])
def test_the_gradient_scales_with_what_flows_in(implementation, upstream, inplace):
    logits, target = problem(5, 9, ignored=0)
    _, gradient = run(implementation, logits, target, None, torch.tensor(upstream), inplace=inplace)
    _, one = run(implementation, logits, target)
    torch.testing.assert_close(gradient, one * upstream, equal_nan=True)


def test_float64_and_half_go_to_torch():
    logits, target = problem(5, 9)
    for dtype in (torch.float64, torch.float16):
        with dispatch.ran() as log:
            loss = gu.cross_entropy(logits.to(dtype), target)
        assert log == [("cross_entropy", "torch")]
        assert loss.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_gradcheck_on_the_float64_route(flags):
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, -100, 4, 2])
    weight = torch.rand(5, dtype=torch.float64)

    def function(x):
        return gu.cross_entropy(x, target, weight, reduction="none", **flags)

    assert torch.autograd.gradcheck(function, (logits,))
    assert torch.autograd.gradgradcheck(function, (logits,))


@pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
@half_and_single
def test_autocast_leaves_the_dtypes_as_they_are(dtype):
    logits, target = problem(6, 11, dtype)
    loss, gradient = run("cpp", logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name in ("cpp", "torch"):
            under, gradient_under = run(name, logits, target)
            assert (under.dtype, gradient_under.dtype) == (torch.float32, dtype)
            torch.testing.assert_close(under, loss)
            torch.testing.assert_close(gradient_under, gradient)


@pytest.mark.slow
@pytest.mark.parametrize("inplace", [False, True], ids=["out_of_place", "in_place"])
def test_more_than_two_to_the_31_logits_are_exact(inplace):
    """4 GiB of logits, and out of place as many for their gradient."""
    n_classes = 2**15
    n_rows = 2**31 // n_classes + 3
    # All classes of a row are level, at a height that tells rows apart, but for the last class.
    level = (torch.arange(n_rows) % 7).to(torch.bfloat16)
    last = torch.zeros(n_classes, dtype=torch.bfloat16)
    last[-1] = 8.0
    logits = torch.maximum(level.requires_grad_()[:, None], last)
    target = torch.full((n_rows,), n_classes - 1)
    loss = gu.cross_entropy(logits, target, reduction="sum", inplace=inplace)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient.data_ptr() == logits.data_ptr()) == inplace

    other = torch.exp(level.detach().double() - 8.0)
    total = other * (n_classes - 1) + 1
    torch.testing.assert_close(loss.double(), torch.log(total).sum(), rtol=1e-6, atol=0)
    for column, expected in (
        (0, other / total),
        (n_classes // 2, other / total),
        (-1, 1 / total - 1),
    ):
        torch.testing.assert_close(gradient[:, column].double(), expected, rtol=2**-8, atol=0)
