"""layer_norm and gelu: torch's results under our argument checks."""

import pytest
import torch
from compare import assert_error_like_eager
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch


@pytest.fixture
def on_torch():
    with gu.use("gelu=torch,layer_norm=torch"):
        yield


@pytest.mark.usefixtures("on_torch")
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 5), (2, 3, 768)])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_torchs(shape, approximate):
    x = torch.randn(shape)
    with dispatch.ran() as log:
        out = gu.gelu(x, approximate)
    assert log == [("gelu", "torch")]
    eager = F.gelu(x, approximate=approximate)
    assert_error_like_eager(out, eager, F.gelu(x.double(), approximate=approximate))


@pytest.mark.usefixtures("on_torch")
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("normalized_shape", [8, (8,), (5, 8)])
def test_layer_norm_is_torchs(affine, normalized_shape):
    x = torch.randn(3, 5, 8)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    weight, bias = (torch.randn(shape), torch.randn(shape)) if affine else (None, None)
    with dispatch.ran() as log:
        out = gu.layer_norm(x, normalized_shape, weight, bias, 1e-3)
    assert log == [("layer_norm", "torch")]
    torch.testing.assert_close(out, F.layer_norm(x, shape, weight, bias, 1e-3))


def test_both_compile_fullgraph():
    def function(x, weight):
        return gu.gelu(gu.layer_norm(x, 8, weight), "tanh")

    x, weight = torch.randn(3, 8), torch.randn(8)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight), function(x, weight))


X = torch.zeros(3, 8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: gu.gelu([1.0]), TypeError, "input: expected a torch.Tensor, got list"),
        (
            lambda: gu.gelu(X.long()),
            TypeError,
            "input: expected a floating point dtype, got torch.int64",
        ),
        (
            lambda: gu.gelu(X, "erf"),
            ValueError,
            'approximate: expected "none" or "tanh", got \'erf\'',
        ),
        (
            lambda: gu.layer_norm(X.long(), 8),
            TypeError,
            "input: expected a floating point dtype, got torch.int64",
        ),
        (
            lambda: gu.layer_norm(X, 8, [1.0] * 8),
            TypeError,
            "weight: expected a torch.Tensor, got list",
        ),
        (lambda: gu.layer_norm(3.0, 8), TypeError, "input: expected a torch.Tensor, got float"),
        (
            lambda: gu.layer_norm(X, 7),
            ValueError,
            r"input: expected the last dimensions to be normalized_shape = \(7,\), got shape",
        ),
        (
            lambda: gu.layer_norm(X, ()),
            ValueError,
            r"input: expected the last dimensions to be normalized_shape = \(\), got shape",
        ),
        (
            lambda: gu.layer_norm(X, 8, torch.ones(7)),
            ValueError,
            r"weight: expected shape normalized_shape = \(8,\), got \(7,\)",
        ),
        (
            lambda: gu.layer_norm(X, 8, None, torch.ones(7)),
            ValueError,
            r"bias: expected shape normalized_shape = \(8,\), got \(7,\)",
        ),
    ],
)
def test_bad_input_raises_a_sentence(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
