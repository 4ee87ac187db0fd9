"""cross_entropy=triton on Triton's interpreter, under the error rule.

Run by test_cross_entropy.py in a process of its own, because TRITON_INTERPRET has to be set before
Triton is imported; with TRITON_INTERPRET=0 the same on a device.
"""

import math
import os

import pytest
import torch
from compare import assert_same_class
from ops.cross_entropy_cases import FLAGS, judge, loss_and_gradient, problem, run

import groundup as gu

# NumPy's, of the interpreter: overflow to inf is meant.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
WHERE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")


@pytest.fixture(autouse=True)
def _born_nan():
    torch.manual_seed(0)
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill


def on(*tensors):
    return [tensor.to(WHERE) for tensor in tensors]


@pytest.mark.parametrize(
    ("dtype", "reduction"),
    [(torch.float32, "mean"), (torch.bfloat16, "none"), (torch.float16, "sum")],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_every_flag_combination(dtype, reduction, weighted, flags):
    logits, target = on(*problem(19, 65, dtype))
    weight = torch.rand(65, device=WHERE) + 0.1 if weighted else None
    upstream = torch.randn(19 if reduction == "none" else (), device=WHERE)
    judge("triton", logits, target, weight, upstream, reduction=reduction, **flags)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("n_classes", [1, 2, 63, 129, 4096, 4097, 20001])
def test_ragged_shapes(dtype, n_classes):
    for n_rows in (1, 3):
        judge("triton", *on(*problem(n_rows, n_classes, dtype, ignored=0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("flags", ["plain", "everything"])
def test_in_place_the_logits_hold_the_gradient(dtype, reduction, flags):
    logits, target = on(*problem(7, 4099, dtype))
    weight = torch.rand(4099, device=WHERE) + 0.1 if flags == "everything" else None
    upstream = torch.randn(7 if reduction == "none" else (), device=WHERE)
    options = {"reduction": reduction, **FLAGS[flags]}
    judge("triton", logits, target, weight, upstream, True, **options)
    consumed = logits.clone().requires_grad_() * 1
    with gu.use("cross_entropy=triton"):
        loss = gu.cross_entropy(consumed, target, weight, inplace=True, **options)
    (gradient,) = torch.autograd.grad(loss, consumed, upstream)
    assert gradient.data_ptr() == consumed.data_ptr()


def test_in_place_no_rows_are_no_launch():
    logits, target = on(torch.randn(0, 7), torch.zeros(0, dtype=torch.int64))
    assert run("triton", logits, target, inplace=True)[1].shape == (0, 7)


def test_blocks_of_a_long_row_are_joined_under_every_flag():
    logits, target = on(*problem(3, 9001, ignored=0))
    weight = torch.rand(9001, device=WHERE) + 0.1
    judge("triton", logits, target, weight, **FLAGS["everything"])


@pytest.mark.parametrize("scale", [1e-3, 0.3, 30.0])
def test_a_cap_keeps_the_digits_of_small_and_large_logits(scale):
    logits, target = on(*problem(20, 101, ignored=0))
    judge("triton", logits * scale, target, reduction="none", softcap=3.0)


def test_more_rows_than_a_block_of_the_sums():
    logits, target = on(*problem(1030, 3, ignored=0.97))
    weight = torch.tensor([0.5, 1.0, 2.0], device=WHERE)
    judge("triton", logits, target, weight, **FLAGS["smoothing_z_loss"])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_rows_and_no_live_rows_give_torchs_loss(reduction):
    empty = torch.zeros(0, dtype=torch.int64)
    for logits, target in (
        (torch.randn(0, 7), empty),
        (torch.randn(5, 7), torch.full((5,), -100)),
    ):
        logits, target = on(logits, target)
        loss, gradient = run("triton", logits, target, reduction=reduction)
        expected = torch.nn.functional.cross_entropy(logits, target, reduction=reduction)
        torch.testing.assert_close(loss, expected, equal_nan=True)
        assert gradient.shape == logits.shape
        assert not gradient.any()


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.t().contiguous().t(),
        lambda x: x.repeat_interleave(2, 0)[::2],
        lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view_as(x),
    ],
    ids=["transposed", "every_second_row", "misaligned"],
)
def test_layouts_give_what_a_contiguous_copy_gives(layout):
    logits, target = on(*problem(6, 37))
    arranged = layout(logits.requires_grad_() * 1)
    expected = run("triton", arranged.contiguous(), target)
    with gu.use("cross_entropy=triton"):
        loss = gu.cross_entropy(arranged, target, inplace=True)
    (gradient,) = torch.autograd.grad(loss, arranged)
    torch.testing.assert_close((loss, gradient), expected)


VALUES = {
    "nan": [1.0, math.nan, 2.0],
    "inf": [1.0, math.inf, 2.0],
    "minus_inf": [1.0, -math.inf, 2.0],
    "target_is_minus_inf": [1.0, 2.0, -math.inf],
    "all_minus_inf": [-math.inf] * 3,
    "huge": [1e38, -1e38, 1e38],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("n_classes", [3, 5000])
def test_extreme_values_give_the_class_torch_gives(values, n_classes):
    logits = torch.zeros(3, n_classes)
    logits[1, [0, 1, n_classes - 1]] = torch.tensor(values)
    if values[0] == -math.inf:
        logits[1] = -math.inf
    logits, target = on(logits, torch.tensor([0, n_classes - 1, 1]))
    loss, gradient = run("triton", logits, target, reduction="none")
    eager = loss_and_gradient(torch.nn.functional.cross_entropy, logits, target, reduction="none")
    assert_same_class(loss, eager[0], name="loss")
    assert_same_class(gradient, eager[1], name="dlogits")


@pytest.mark.parametrize("bad", [-1, 7, 2**40, -(2**63)])
def test_a_bad_target_gives_nan_and_is_told_at_the_next_call(bad):
    logits = torch.randn(4, 7, device=WHERE)
    target = torch.tensor([0, -100, bad, 6], device=WHERE)
    loss, gradient = run("triton", logits, target, reduction="none")
    if WHERE.type == "cuda":
        torch.cuda.synchronize()
    with pytest.raises(IndexError, match=rf"got {bad} at row 2 in an earlier call on the device"):
        run("triton", logits, torch.tensor([0, -100, -100, 6], device=WHERE))
    assert loss.isnan().tolist() == [False, False, True, False]
    assert gradient.isnan().all(1).tolist() == [False, False, True, False]
