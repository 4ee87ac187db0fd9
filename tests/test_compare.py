"""The error criterion itself: it must fail what is wrong and pass what eager passes."""

import numpy as np
import pytest
import torch
from compare import assert_error_like_eager, assert_same_class

EXACT = torch.linspace(-3, 3, 1000, dtype=torch.float64).exp()


def noisy(scale):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(EXACT.shape, generator=generator, dtype=torch.float64)
    return (EXACT * (1 + scale * noise)).float()


@pytest.mark.parametrize(("kind", "factor"), [("forward", 2), ("gradient", 3)])
def test_error_up_to_the_factor_passes_and_beyond_it_fails(kind, factor):
    eager = noisy(1e-5)
    assert_error_like_eager(noisy(0.97e-5 * factor), eager, EXACT, kind=kind)
    with pytest.raises(AssertionError, match=f"exceeds {factor} x eager's .* worst at finite"):
        assert_error_like_eager(noisy(1.05e-5 * factor), eager, EXACT, kind=kind, name="loss")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_one_ulp_is_allowed_where_eager_is_exact(dtype):
    exact = EXACT.to(dtype)
    ulp = torch.finfo(dtype).eps * torch.exp2(torch.floor(torch.log2(exact.double())))
    assert_error_like_eager((exact.double() + ulp).to(dtype), exact, exact)
    with pytest.raises(AssertionError, match="RMS error"):
        assert_error_like_eager((exact * 1.02).to(dtype), exact, exact)


def test_nan_and_infinities_must_stand_where_eager_has_them():
    values = torch.tensor([1.0, float("nan"), float("inf"), float("-inf")])
    assert_error_like_eager(values, values, values.double())
    for index, value in [(0, float("nan")), (2, float("-inf")), (1, 0.0)]:
        wrong = values.clone()
        wrong[index] = value
        with pytest.raises(AssertionError, match="must stand where eager has it"):
            assert_same_class(wrong, values)


def test_shapes_must_agree():
    with pytest.raises(AssertionError, match=r"expected shape \(1000,\)"):
        assert_error_like_eager(noisy(0)[None], noisy(0), EXACT)


def test_tiny_and_huge_values_are_compared_without_overflow():
    for scale in (1e-300, 1e300):
        exact = np.array([1.0, 2.0]) * scale
        assert_error_like_eager(exact, exact, exact)
        with pytest.raises(AssertionError, match="RMS error"):
            assert_error_like_eager(exact * 1.01, exact, exact)
