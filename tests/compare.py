"""The error criterion of every op's tests: judge error by error.

A tolerance says how far a result may be from another; it does not say whether that is good. Here a
result in some precision is judged against the float64 result, beside what eager PyTorch makes of
the same inputs in the same precision:

    RMS(actual - exact) <= factor * RMS(eager - exact)      factor: 2 forward, 3 gradient

with a floor of one unit in the last place of the output's dtype, so that an eager result which
happens to be exact does not forbid an honest rounding. NaN and infinities must stand where eager
has them.
"""

import numpy as np
import torch

FACTORS = {"forward": 2.0, "gradient": 3.0}

# dtype: (bits of the significand with the hidden one, exponent of the smallest subnormal)
_FORMATS = {
    "float16": (11, -24),
    "bfloat16": (8, -133),
    "float32": (24, -149),
    "float64": (53, -1074),
}


def assert_error_like_eager(actual, eager, exact, *, kind="forward", name="result"):
    """Fail with a sentence unless `actual` is about as near to `exact` as `eager` is.

    actual  the result under test, torch tensor or array of any float dtype
    eager   the same from eager PyTorch on the same inputs, in the same precision
    exact   the same computed in float64 from the same (already rounded) inputs
    kind    "forward" (factor 2) or "gradient" (factor 3)
    """
    precision, smallest = _FORMATS[str(actual.dtype).removeprefix("torch.")]
    ours, theirs, truth = (_float64(value) for value in (actual, eager, exact))
    assert ours.shape == theirs.shape == truth.shape, (
        f"{name}: expected shape {truth.shape} (eager {theirs.shape}), got {ours.shape}"
    )
    assert_same_class(ours, theirs, name=name)

    finite = np.isfinite(ours) & np.isfinite(truth)
    if not finite.any():
        return
    ours, theirs, truth = ours[finite], theirs[finite], truth[finite]
    factor = FACTORS[kind]
    error, eager_error = _rms(ours - truth), _rms(theirs - truth)
    ulp = _rms(np.ldexp(1.0, np.maximum(np.frexp(truth)[1] - precision, smallest)))
    worst = int(np.argmax(np.abs(ours - truth)))
    assert error <= max(factor * eager_error, ulp), (
        f"{name}: RMS error {error:.3g} exceeds {factor:g} x eager's {eager_error:.3g} and one ulp "
        f"{ulp:.3g}, over {truth.size} finite elements; worst at finite element {worst}: "
        f"expected {truth[worst]!r}, got {ours[worst]!r}, eager {theirs[worst]!r}"
    )


def assert_same_class(actual, expected, *, name="result"):
    """Fail unless NaN, +inf and -inf stand exactly where `expected` has them."""
    ours, theirs = _float64(actual), _float64(expected)
    for label, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        differs = test(ours) != test(theirs)
        if differs.any():
            index = tuple(int(i) for i in np.argwhere(differs)[0])
            raise AssertionError(
                f"{name}: {label} must stand where eager has it; {int(differs.sum())} of "
                f"{ours.size} elements differ, the first at {index}: eager {theirs[index]!r}, "
                f"got {ours[index]!r}"
            )


def _float64(value):
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def _rms(values):
    """Root mean square, scaled so that squares neither vanish nor overflow."""
    largest = np.max(np.abs(values))
    return float(largest * np.sqrt(np.mean(np.square(values / largest)))) if largest else 0.0
