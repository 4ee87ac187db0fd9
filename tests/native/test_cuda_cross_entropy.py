"""cross_entropy.cu through its op, under the error rule: emulated, and on a device if one is here.

The emulation runs the kernels' own source (emulated_cuda/cuda_runtime.h says what it cannot show).
"""

import math

import pytest
import torch
from compare import assert_same_class
from native import emulation
from ops.cross_entropy_cases import FLAGS, judge, loss_and_gradient, problem, run

import groundup as gu
from groundup.ops import cross_entropy_device, device, dispatch

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
FORMS = pytest.mark.parametrize("inplace", [False, True], ids=["out_of_place", "in_place"])


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return emulation.build(tmp_path_factory)


@pytest.fixture(params=["emulated", pytest.param("device", marks=pytest.mark.gpu)])
def where(request):
    """The device that tensors of these tests live on."""
    torch.manual_seed(0)
    if request.param == "device":
        yield emulation.real_device()
    else:
        with emulation.emulated(request.getfixturevalue("core")) as cpu:
            yield cpu


@pytest.fixture(autouse=True)
def _born_nan():
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill


def on(where, *tensors):
    return [tensor.to(where) for tensor in tensors]


@pytest.mark.parametrize(
    ("dtype", "inplace"),
    [(torch.float32, True), (torch.bfloat16, False), (torch.float16, True)],
    ids=str,
)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_every_flag_combination(where, dtype, reduction, weighted, inplace, flags):
    logits, target = on(where, *problem(19, 65, dtype))
    weight = torch.rand(65, device=where) + 0.1 if weighted else None
    upstream = torch.randn(19 if reduction == "none" else (), device=where)
    judge("cuda", logits, target, weight, upstream, inplace, reduction=reduction, **flags)


@FORMS
@DTYPES
@pytest.mark.parametrize("n_classes", [1, 2, 7, 63, 129, 1024, 1025, 20001])
def test_ragged_shapes(where, dtype, inplace, n_classes):
    for n_rows in (1, 3):
        logits, target = on(where, *problem(n_rows, n_classes, dtype, ignored=0))
        judge("cuda", logits, target, inplace=inplace)


@FORMS
@DTYPES
def test_long_rows_with_every_flag(where, dtype, inplace):
    logits, target = on(where, *problem(3, 5003, dtype, ignored=0))
    weight = torch.rand(5003, device=where) + 0.1
    judge("cuda", logits, target, weight, inplace=inplace, **FLAGS["everything"])


def test_more_rows_than_one_block_sums(where):
    logits, target = on(where, *problem(4100, 3))
    weight = torch.tensor([0.5, 1.0, 2.0], device=where)
    judge("cuda", logits, target, weight, **FLAGS["smoothing_z_loss"])


@FORMS
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_no_rows_and_no_live_rows_give_torchs_loss(where, reduction, inplace):
    empty = torch.zeros(0, dtype=torch.int64)
    for logits, target in (
        (torch.randn(0, 7), empty),
        (torch.randn(5, 7), torch.full((5,), -100)),
        (torch.randn(2, 1030), torch.full((2,), -100)),
    ):
        logits, target = on(where, logits, target)
        loss, gradient = run("cuda", logits, target, reduction=reduction, inplace=inplace)
        expected = torch.nn.functional.cross_entropy(logits, target, reduction=reduction)
        torch.testing.assert_close(loss, expected, equal_nan=True)
        assert gradient.shape == logits.shape
        assert not gradient.any()


LAYOUTS = {
    "transposed": lambda x: x.t().contiguous().t(),
    "every_second_row": lambda x: x.repeat_interleave(2, 0)[::2],
    "every_second_class": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view_as(x),
}


@DTYPES
@pytest.mark.parametrize("n_classes", [37, 1100])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts_give_what_a_contiguous_copy_gives(where, dtype, layout, n_classes):
    logits, target = on(where, *problem(6, n_classes, dtype))
    arranged = layout(logits.requires_grad_() * 1)
    expected = run("cuda", arranged.contiguous(), target)
    with gu.use("cross_entropy=cuda"):
        loss = gu.cross_entropy(arranged, target)
    (gradient,) = torch.autograd.grad(loss, arranged)
    torch.testing.assert_close(loss, expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-2, atol=1e-7)


VALUES = {
    "nan": [1.0, math.nan, 2.0],
    "inf": [1.0, math.inf, 2.0],
    "target_is_inf": [1.0, 2.0, math.inf],
    "minus_inf": [1.0, -math.inf, 2.0],
    "target_is_minus_inf": [1.0, 2.0, -math.inf],
    "all_minus_inf": [-math.inf] * 3,
    "huge": [1e38, -1e38, 1e38],
    "low": [-1e38, -1e38, -2e38],
}


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("n_classes", [3, 1030])
def test_extreme_values_give_the_class_torch_gives(where, dtype, inplace, values, n_classes):
    logits = torch.full((3, n_classes), -1e38 if values[0] == -1e38 else 0.0)
    logits[1, [0, 1, n_classes - 1]] = torch.tensor(values)
    if values[0] == -math.inf:
        logits[1] = -math.inf
    logits, target = on(where, logits.to(dtype), torch.tensor([0, n_classes - 1, 1]))
    loss, gradient = run("cuda", logits, target, reduction="none", inplace=inplace)
    eager = loss_and_gradient(torch.nn.functional.cross_entropy, logits, target, reduction="none")
    assert_same_class(loss, eager[0], name="loss")
    assert_same_class(gradient, eager[1], name="dlogits")


@FORMS
@pytest.mark.parametrize("bad", [-1, 7, 2**40, -(2**63)])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_bad_target_gives_nan_and_is_told_at_the_next_call(where, bad, reduction, inplace):
    logits = torch.randn(4, 7, device=where)
    target = torch.tensor([0, -100, bad, 6], device=where)
    loss, gradient = run("cuda", logits, target, reduction=reduction, inplace=inplace)
    good = torch.tensor([0, -100, -100, 6], device=where)
    if where.type == "cuda":
        torch.cuda.synchronize()
    message = rf"got {bad} at row 2 in an earlier call on the device.* that row are nan"
    with pytest.raises(IndexError, match=message):
        run("cuda", logits, good)
    # Told once.
    expected, _ = run("cuda", logits, good, reduction=reduction)
    if reduction == "mean":
        assert loss.isnan()
    else:
        assert loss[2].isnan()
        torch.testing.assert_close(loss[[0, 1, 3]], expected[[0, 1, 3]])
    assert gradient[2].isnan().all()
    assert gradient[[0, 1, 3]].isfinite().all() or reduction == "mean"


@FORMS
@DTYPES
@pytest.mark.parametrize("upstream", [0.0, 1.0, -2.5, math.nan])
def test_the_gradient_scales_with_what_flows_in(where, dtype, upstream, inplace):
    logits, target = on(where, *problem(5, 1029, dtype, ignored=0))
    flowing = torch.tensor(upstream, device=where)
    _, gradient = run("cuda", logits, target, None, flowing, inplace=inplace)
    _, one = run("cuda", logits, target)
    rtol = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(gradient, one * upstream, equal_nan=True, rtol=rtol, atol=1e-7)


@FORMS
def test_two_runs_give_the_same_bits(where, inplace):
    logits, target = on(where, *problem(40, 1200))
    first, second = (run("cuda", logits, target, inplace=inplace) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_fullgraph_opcheck_and_second_derivatives(where):
    logits, target = on(where, *problem(6, 11))
    function = torch.compile(
        lambda x, t: gu.cross_entropy(x * 2, t), fullgraph=True, backend="aot_eager"
    )
    with gu.use("cross_entropy=cuda"):
        compiled = loss_and_gradient(lambda x, t, w: function(x, t), logits, target)
        eager = loss_and_gradient(lambda x, t, w: gu.cross_entropy(x * 2, t), logits, target)
        torch.testing.assert_close(compiled, eager)
        leaf = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(gu.cross_entropy(leaf, target), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="cross_entropy cannot be differentiated twice"):
            gradient.sum().backward()
    arguments = (target, None, -100, 1, 0.1, 1e-3, 3.0, "cuda")
    operator = torch.ops.groundup.cross_entropy_device.default
    torch.library.opcheck(operator, (logits.clone().requires_grad_(), *arguments))
    loss, statistics = operator(logits, *arguments)
    torch.library.opcheck(
        torch.ops.groundup.cross_entropy_device_backward.default,
        (torch.ones_like(loss), statistics, logits, *arguments),
    )
    with pytest.raises(ValueError, match=r"statistics: expected float32 of shape \(15,\) on "):
        torch.ops.groundup.cross_entropy_device_backward(loss, statistics[1:], logits, *arguments)


@pytest.mark.gpu
@pytest.mark.slow
def test_more_than_two_to_the_31_logits_are_exact():
    where = emulation.real_device()
    n_classes = 2**15
    n_rows = 2**31 // n_classes + 3
    level = (torch.arange(n_rows, device=where) % 7).to(torch.bfloat16)
    last = torch.zeros(n_classes, dtype=torch.bfloat16, device=where)
    last[-1] = 8.0
    logits = torch.maximum(level.requires_grad_()[:, None], last)
    target = torch.full((n_rows,), n_classes - 1, device=where)
    with gu.use("cross_entropy=cuda"):
        loss = gu.cross_entropy(logits, target, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    other = torch.exp(level.detach().double() - 8.0)
    total = other * (n_classes - 1) + 1
    torch.testing.assert_close(loss.double(), torch.log(total).sum(), rtol=1e-6, atol=0)
    for column, expected in ((0, other / total), (-1, 1 / total - 1)):
        torch.testing.assert_close(gradient[:, column].double(), expected, rtol=2**-8, atol=0)


def test_on_the_cpu_it_is_refused_in_a_sentence():
    logits, target = problem(4, 7)
    reason = (
        "it runs on CUDA devices, and input is on cpu"
        if device.missing is None
        else r"groundup\._cuda cannot be imported|GROUNDUP_CUDA=0 is set"
    )
    with gu.use("cross_entropy=cuda"), pytest.raises(RuntimeError, match=reason):
        gu.cross_entropy(logits, target)
    with pytest.raises(RuntimeError, match=f"cross_entropy's cuda kernels cannot run: ({reason})"):
        torch.ops.groundup.cross_entropy_device(
            logits, target, None, -100, 1, 0.0, 0.0, 0.0, "cuda"
        )
    with pytest.raises(ValueError, match="form: expected one of cuda, triton"):
        torch.ops.groundup.cross_entropy_device(
            logits, target, None, -100, 1, 0.0, 0.0, 0.0, "fast"
        )
    assert not cross_entropy_device.flag().any()
    assert "cuda" in dispatch.IMPLEMENTATIONS["cross_entropy"]
