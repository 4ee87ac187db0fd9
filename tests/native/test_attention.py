"""The native causal attention, called by pointer: values, shapes, layouts, what it may touch."""

import itertools
import math

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from native.attention_calls import Flags, eager, native

core = pytest.importorskip("groundup._C", reason="the native core is not built")

DTYPES = [torch.float32, torch.bfloat16]
NAMES = ("out", "dquery", "dkey", "dvalue")
inf, nan = math.inf, math.nan


@pytest.fixture(autouse=True)
def _one_thread():
    """Small problems: on a busy machine the threads' waiting for each other is most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(lengths, widths=(64, 64), heads=(2, 2), batch=1, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    (n_queries, n_keys), (width, value_width), (n, key_heads) = lengths, widths, heads
    return [
        torch.randn(batch, *shape, generator=generator).to(dtype)
        for shape in (
            (n, n_queries, width),
            (key_heads, n_keys, width),
            (key_heads, n_keys, value_width),
            (n, n_queries, value_width),
        )
    ]


def judge(tensors, flags=None, name="", **layout):
    flags = flags or Flags()
    result = native(core, *tensors, flags, **layout)
    assert not result.wrote_outside(), f"{name}: something outside the buffers was written"
    near = eager(*tensors, flags, tensors[0].dtype)
    exact = eager(*tensors, flags, torch.float64)
    for part, ours, *others in zip(
        NAMES, (result.out, *result.gradients), near, exact, strict=True
    ):
        if ours.numel():
            kind = "forward" if part == "out" else "gradient"
            assert_error_like_eager(ours, *others, kind=kind, name=f"{name} {part}")
    return result


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=["a key head each", "shared"])
def test_every_flag_combination_is_as_accurate_as_eager(dtype, heads):
    for scale, left, softcap, alignment, p in itertools.product(
        (None, 0.3), (-1, 40), (0.0, 2.0), ("lower_right", "upper_left"), (0.0, 0.2)
    ):
        flags = Flags(scale, left, softcap, alignment, p)
        judge(example((100, 130), (32, 48), heads, dtype=dtype), flags, name=f"{flags}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("widths", [(1, 1), (17, 80), (63, 65), (128, 16), (200, 256), (257, 3)])
def test_any_width_at_every_alignment(widths, dtype):
    for offset in (0, 1, 7):
        judge(example((70, 70), widths, dtype=dtype), name=f"offset {offset}", offset=offset)


@pytest.mark.parametrize("alignment", ["lower_right", "upper_left"])
@pytest.mark.parametrize("left", [-1, 0, 1, 15, 16, 63, 64, 100])
@pytest.mark.parametrize(
    "lengths", [(1, 1), (1, 200), (63, 64), (65, 129), (129, 65), (200, 3), (64, 64), (150, 150)]
)
def test_every_length_against_every_window(lengths, left, alignment):
    flags = Flags(left=left, alignment=alignment)
    judge(example(lengths, (16, 16), (4, 4), batch=4), flags)


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    widths=st.tuples(st.integers(1, 70), st.integers(0, 70)),
    heads=st.sampled_from([(1, 1), (3, 3), (4, 2), (6, 1)]),
    batch=st.integers(0, 2),
    dtype=st.sampled_from(DTYPES),
    left=st.integers(-1, 210),
    softcap=st.sampled_from([0.0, 1.0]),
    alignment=st.sampled_from(["lower_right", "upper_left"]),
    dropout_p=st.sampled_from([0.0, 0.5]),
    order=st.permutations([0, 1, 2]),
    gap=st.integers(0, 3),
    offset=st.integers(0, 15),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout_writes_every_element_and_none_beside(
    lengths, widths, heads, batch, dtype, left, softcap, alignment, dropout_p, seed, order, **layout
):
    tensors = example(lengths, widths, heads, batch, dtype, seed)
    flags = Flags(None, left, softcap, alignment, dropout_p, (seed, -seed))
    result = native(core, *tensors, flags, order=tuple(order), **layout)
    assert not result.wrote_outside()
    exact = eager(*tensors, flags, torch.float64)
    slack = 1e-4 if dtype is torch.float32 else 0.1
    for name, ours, truth in zip(NAMES, (result.out, *result.gradients), exact, strict=True):
        torch.testing.assert_close(
            ours.double(), truth, rtol=slack, atol=slack, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("left", [-1, 5])
def test_rows_without_keys_give_exact_zeros_and_pass_no_gradient(left):
    query, key, value, dout = example((90, 20))
    dout[:, :, :70] = nan  # whatever flows into an empty row goes nowhere
    result = native(core, query, key, value, dout, Flags(left=left))
    assert not result.out[:, :, :70].any()
    assert not result.statistics[:, :, :70].any()
    assert not result.gradients[0][:, :, :70].any()
    assert all(gradient.isfinite().all() for gradient in result.gradients)
    late = native(core, query, key, value, dout, Flags(left=left, alignment="upper_left"))
    first_empty = 90 if left < 0 else 20 + left
    assert not late.out[:, :, first_empty:].any()
    assert late.out[:, :, :first_empty].any(-1).all()


def test_dropout_drops_exactly_the_weights_of_the_reference():
    # Values are unit vectors: the output is the weights themselves.
    n = 70
    query, key, _, dout = example((n, n), (8, n), (2, 2), batch=2)
    value = torch.eye(n).expand(2, 2, n, n)
    flags = Flags(dropout_p=0.3, dropout_key=(2**62 + 3, -(2**63)))
    judge([query, key, value, dout], flags)


@pytest.mark.parametrize("p", [0.0, 1e-10, 0.999])
def test_dropout_near_its_bounds(p):
    judge(example((40, 40), (16, 16)), Flags(dropout_p=p))


SPECIAL = {
    "a query row is nan": ("query", (0, 0, 5), nan),
    "a query element is inf": ("query", (0, 0, 5, 3), inf),
    "a key is nan": ("key", (0, 0, 50, 2), nan),
    "a key is inf": ("key", (0, 0, 50, 2), inf),
    "a key is -inf": ("key", (0, 0, 0), -inf),
    "a query is huge": ("query", (0, 0, 5), 1e30),
    "queries overflow": ("query", (0, 0), 3e38),
    "keys are huge": ("key", (0, 0), 1e37),
    "the last value is inf": ("value", (0, 0, 99, 1), inf),
    "the last value is nan": ("value", (0, 0, 99, 1), nan),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("which", "place", "number"), SPECIAL.values(), ids=SPECIAL.keys())
def test_special_values_give_the_class_torch_gives(which, place, number, dtype):
    tensors = example((100, 100), (16, 16), (1, 1), dtype=dtype)
    tensors[("query", "key", "value").index(which)][place] = number
    if number == 3e38:
        tensors[1] *= 100  # scores overflow whether the scale comes before the sum or after
    result = native(core, *tensors)
    expected = eager(*tensors, Flags(), torch.float32)[0].to(dtype)
    if which == "value":  # eager's 0 * inf carries a value to rows that do not see it; ours is
        rows = slice(99, 100)  # compared where it is seen
        assert_same_class(result.out[:, :, rows], expected[:, :, rows])
        assert result.out[:, :, :64].isfinite().all()
        return
    assert_same_class(result.out, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_nan_query_row_is_nan_and_reaches_the_keys_it_sees_alone(dtype):
    query, key, value, dout = example((100, 100), (16, 16), (1, 1), dtype=dtype)
    query[0, 0, 40] = nan
    result = native(core, query, key, value, dout)
    near = eager(query, key, value, dout, Flags(), dtype)
    assert_same_class(result.out, near[0])
    dquery, dkey, dvalue = result.gradients
    assert_same_class(dquery, near[1])
    for gradient in (dkey, dvalue):
        assert gradient[:, :, :41].isnan().all()
        assert gradient[:, :, 64:].isfinite().all()  # eager has NaN there too: 0 times NaN


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_scores_minus_infinity_are_nan_as_in_torch_but_hidden_ones_are_not(dtype):
    query, key, value, dout = example((70, 70), (4, 4), (1, 1), dtype=dtype)
    query.fill_(1)
    key[:, :, :40] = -inf  # rows before 40 see nothing else
    result = native(core, query, key, value, dout)
    assert result.out[:, :, :40].isnan().all()
    assert result.out[:, :, 40:].isfinite().all()
    assert_same_class(result.out, eager(query, key, value, dout, Flags(), torch.float64)[0])


def test_scores_far_apart_neither_overflow_nor_vanish():
    query, key, value, dout = example((130, 130), (16, 16))
    judge([100 * query, 10 * key, value, dout], name="scores in the thousands")
    judge([query, key, 1e30 * value, 1e-30 * dout], name="values at 1e30")


def test_the_past_of_a_row_does_not_see_its_future():
    query, key, value, dout = example((150, 150))
    before = native(core, query, key, value, dout).out
    key[:, :, 100:], value[:, :, 100:] = nan, 1e3
    after = native(core, query, key, value, dout).out
    assert torch.equal(after[:, :, :100], before[:, :, :100])
    assert after[:, :, 100:].isnan().all()


def test_bad_sizes_are_refused_in_a_sentence():
    good = [1, 2, 2, 3, 3, 4, 4]
    for place, size, message in (
        (3, -1, "sizes: expected none below 0, got -1"),
        (2, 0, "expected the query heads to be a multiple of the key heads, got 2 and 0"),
        (1, 3, "expected the query heads to be a multiple of the key heads, got 3 and 2"),
    ):
        sizes = [*good[:place], size, *good[place + 1 :]]
        with pytest.raises(ValueError, match=message):
            core.attention_forward_cpu(*[0] * 5, 0, sizes, [0] * 12, 0, -1, 1.0, 0.0, 0.0, 0, 0)
    with pytest.raises(ValueError, match=r"dtype: expected 0 \(float32\) or 1 \(bfloat16\), got 2"):
        core.attention_forward_cpu(*[0] * 5, 2, good, [0] * 12, 0, -1, 1.0, 0.0, 0.0, 0, 0)
