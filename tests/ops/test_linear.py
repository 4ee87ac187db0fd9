"""linear: torch's sizes and sentences under every form, and which form is taken."""

import pytest
import torch
from ops.test_linear_cpp import FORMS, judge, problem
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
X, W, B = torch.zeros(3, 8), torch.zeros(5, 8), torch.zeros(5)
LARGE = (torch.randn(256, 256), torch.randn(128, 256))


@pytest.mark.parametrize("name", ["torch", "reference"])
@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 33, 17), (40, 7, 65)])
def test_each_form_errs_like_eager(shape, activation, name):
    with gu.use(f"linear={name}"), dispatch.ran() as log:
        judge(*FORMS[activation], *problem(*shape))
    assert log == [("linear", name)]


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_each_form_takes_a_transposed_weight(name):
    x, weight, bias = torch.randn(9, 8), torch.randn(8, 5), torch.randn(5)
    with gu.use(f"linear={name}"), dispatch.ran() as log:
        found = gu.linear(x, weight, bias, transposed=True)
    assert log == [("linear", name)]
    torch.testing.assert_close(found, F.linear(x, weight.t(), bias))


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_any_number_of_dimensions_before_the_last(name):
    with gu.use(f"linear={name}"):
        for shape in ((8,), (1, 8), (2, 3, 8), (0, 8), (2, 0, 3, 8)):
            x = torch.randn(shape)
            torch.testing.assert_close(gu.linear(x, W, B), F.linear(x, W, B))
        assert gu.linear(torch.randn(4, 0), torch.zeros(5, 0)).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_go_to_torch(dtype):
    tensors = [tensor.to(dtype) for tensor in (torch.randn(64, 256), torch.randn(256, 256))]
    with dispatch.ran() as log:
        assert torch.equal(gu.linear(*tensors), F.linear(*tensors))
    assert log == [("linear", "torch")]


@needs_native
def test_small_products_are_torchs_and_large_ones_ours():
    for tensors, name in (((X, W), "torch"), (LARGE, "cpp"), ((LARGE[0][:1], LARGE[1]), "torch")):
        with dispatch.ran() as log:
            gu.linear(*tensors)
        assert log == [("linear", name)]


@needs_native
def test_autocast_is_torchs():
    with torch.autocast("cpu", torch.bfloat16), dispatch.ran() as log:
        assert gu.linear(*LARGE).dtype is torch.bfloat16
    assert log == [("linear", "torch")]
    forced = pytest.raises(RuntimeError, match=r"linear=cpp is forced .* autocast is on")
    with torch.autocast("cpu", torch.bfloat16), gu.use("linear=cpp"), forced:
        gu.linear(*LARGE)


def test_modes_that_count_products_see_them():
    with FlopCounterMode(display=False) as counter:
        gu.linear(*LARGE)
    assert counter.get_total_flops() == 2 * 256 * 256 * 128


def test_fake_and_meta_tensors_have_the_shape():
    assert gu.linear(LARGE[0].to("meta"), LARGE[1].to("meta")).shape == (256, 128)
    with FakeTensorMode():
        assert gu.linear(torch.empty(2, 256, 128), torch.empty(64, 128)).shape == (2, 256, 64)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: gu.linear([1.0], W), TypeError, r"input: expected a torch\.Tensor, got list"),
        (lambda: gu.linear(X, W, 1.0), TypeError, r"bias: expected a torch\.Tensor, got float"),
        (
            lambda: gu.linear(X, W[0]),
            ValueError,
            r"weight: expected shape \(out, in\), got \(8,\)",
        ),
        (
            lambda: gu.linear(X, W.t()),
            ValueError,
            r"input: expected shape \(\.\.\., in\) with in = 5, as weight is \(out, in\) = "
            r"\(8, 5\), got \(3, 8\); try weight\.t\(\)",
        ),
        (
            lambda: gu.linear(X, W[0], transposed=True),
            ValueError,
            r"weight: expected shape \(in, out\) with transposed=True, got \(8,\)",
        ),
        (lambda: gu.linear(X[0, 0], W), ValueError, r"input: expected shape .* got \(\)"),
        (
            lambda: gu.linear(X, W, X[0]),
            ValueError,
            r"bias: expected shape \(out,\) = \(5,\), got \(8,\)",
        ),
        (
            lambda: gu.linear(X, W, B, activation="relu"),
            ValueError,
            'activation: expected None, "gelu" or "gelu_tanh", got \'relu\'',
        ),
    ],
)
def test_bad_input_raises_a_sentence(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
