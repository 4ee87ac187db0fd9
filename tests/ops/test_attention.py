"""causal_attention against the formula written out in float64."""

import math

import pytest
import torch
from compare import assert_error_like_eager
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend

import groundup as gu
from groundup.ops import dispatch, native


def written_out(
    query,
    key,
    value,
    *,
    scale=None,
    enable_gqa=False,
    window_size=None,
    softcap=None,
    alignment="lower_right",
):
    """Scores, a mask, a softmax that is zero where a row is empty; every step in one dtype."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    n_queries, n_keys = query.shape[2], key.shape[2]
    place = torch.arange(n_queries)[:, None]
    place = place + (n_keys - n_queries if alignment == "lower_right" else 0)
    distance = place - torch.arange(n_keys)
    visible = distance >= 0
    if window_size is not None and window_size[0] >= 0:
        visible &= distance <= window_size[0]
    factor = 1 / math.sqrt(query.shape[3]) if scale is None else scale
    scores = query @ key.transpose(2, 3) * factor
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.where(visible, scores, -1e30).softmax(-1) * visible
    return weights @ value


def problem(n_queries=7, n_keys=7, dtype=torch.float32, heads=4, key_heads=4, width=8):
    return tuple(
        torch.randn(2, h, n, width).to(dtype).requires_grad_()
        for h, n in ((heads, n_queries), (key_heads, n_keys), (key_heads, n_keys))
    )


def with_gradients(function, tensors, upstream=None, **options):
    out = function(*tensors, **options)
    upstream = torch.ones_like(out) if upstream is None else upstream.to(out.dtype)
    return out.detach(), *torch.autograd.grad(out, tensors, upstream)


def same(tensors, **options):
    """Compare output and three gradients to the formula, in float64."""
    tensors = tuple(t.detach().double().requires_grad_() for t in tensors)
    ours = with_gradients(gu.causal_attention, tensors, **options)
    torch.testing.assert_close(ours, with_gradients(written_out, tensors, **options))


@pytest.mark.parametrize("alignment", ["lower_right", "upper_left"])
@pytest.mark.parametrize("window_size", [None, (-1, 0), (0, 0), (2, -1), (50, 3)])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(
    "lengths", [(7, 7), (1, 1), (1, 9), (4, 9), (9, 4), (9, 1), (4, 0), (0, 4), (0, 0)]
)
def test_every_length_window_and_alignment(lengths, window_size, softcap, alignment):
    same(problem(*lengths), window_size=window_size, softcap=softcap, alignment=alignment)


@given(
    n_queries=st.integers(0, 20),
    n_keys=st.integers(0, 20),
    left=st.integers(-1, 20),
    right=st.integers(-1, 20),
    softcap=st.sampled_from([None, 0.5]),
    scale=st.sampled_from([None, 0.3]),
    alignment=st.sampled_from(["lower_right", "upper_left"]),
)
@settings(max_examples=60, deadline=None)
def test_any_lengths_and_window(n_queries, n_keys, left, right, **options):
    same(problem(n_queries, n_keys), window_size=(left, right), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"softcap": 5.0}, {"window_size": (16, 0)}], ids=str)
def test_error_is_like_eagers(dtype, options):
    errors_like_eagers(problem(65, 65, dtype, width=32), **options)


@pytest.mark.parametrize("n_queries", [2, 3, 4, 16])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_short_sequences_are_as_near(n_queries, scale):
    """One weight of nearly 1 hides eager's rounding, and shows every other."""
    errors_like_eagers(problem(n_queries, n_queries, heads=12, key_heads=12, width=64), scale=scale)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("n_queries", [1, 4])
def test_the_gradient_passes_a_single_key_unrounded(n_queries, softcap):
    query, key, value = problem(n_queries, 1, width=64)
    upstream = torch.randn(2, 4, n_queries, 64)
    options = {"softcap": softcap, "alignment": "upper_left"}
    out, dquery, dkey, dvalue = with_gradients(
        gu.causal_attention, (query, key, value), upstream, **options
    )
    assert torch.equal(out, value.expand_as(out))
    assert dquery.count_nonzero() == dkey.count_nonzero() == 0
    if n_queries == 1:
        assert torch.equal(dvalue, upstream)


def errors_like_eagers(tensors, **options):
    dtype, upstream = tensors[0].dtype, torch.randn(tensors[0].shape)
    ours = with_gradients(gu.causal_attention, tensors, upstream, **options)
    eager = with_gradients(written_out, tensors, upstream, **options)
    double = tuple(t.detach().double().requires_grad_() for t in tensors)
    exact = with_gradients(written_out, double, upstream, **options)
    names = ("out", "dquery", "dkey", "dvalue")
    for name, *results in zip(names, ours, eager, exact, strict=True):
        kind = "forward" if name == "out" else "gradient"
        assert_error_like_eager(*results, kind=kind, name=name)
    assert ours[0].dtype is dtype


@pytest.mark.parametrize("alignment", ["lower_right", "upper_left"])
def test_rows_without_keys_give_zeros_and_zero_gradient(alignment):
    query, key, value = problem(9, 3)
    out, dquery, _, _ = with_gradients(
        gu.causal_attention, (query, key, value), window_size=(1, 0), alignment=alignment
    )
    empty = slice(0, 6) if alignment == "lower_right" else slice(4, 9)
    assert not out[:, :, empty].any()
    assert not dquery[:, :, empty].any()
    assert out.isfinite().all()


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_query_heads_share_key_heads(key_heads, softcap):
    same(problem(5, 9, key_heads=key_heads), enable_gqa=True, softcap=softcap)


def test_equal_lengths_are_torchs_is_causal_and_so_is_upper_left():
    for lengths in ((7, 7), (4, 9), (9, 4)):
        query, key, value = problem(*lengths)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True
        )
        out = gu.causal_attention(query, key, value, alignment="upper_left")
        torch.testing.assert_close(out, expected)


def test_the_future_never_leaks():
    query, key, value = (t.detach() for t in problem(12, 12))
    out = gu.causal_attention(query, key, value)
    key[:, :, 8:], value[:, :, 8:] = 1e3, 1e3
    changed = gu.causal_attention(query, key, value)
    torch.testing.assert_close(changed[:, :, :8], out[:, :, :8])
    assert not torch.allclose(changed[:, :, 8:], out[:, :, 8:])


def test_one_query_at_a_time_equals_all_at_once():
    query, key, value = (t.detach() for t in problem(9, 9))
    out = gu.causal_attention(query, key, value, window_size=(3, 0))
    for t in range(9):
        step = gu.causal_attention(
            query[:, :, t : t + 1], key[:, :, : t + 1], value[:, :, : t + 1], window_size=(3, 0)
        )
        torch.testing.assert_close(step, out[:, :, t : t + 1])


def test_strides_do_not_matter():
    packed = torch.randn(2, 7, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    same(tuple(packed[:, :, i].transpose(1, 2) for i in range(3)))


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_dropout_keeps_the_mean_and_drops_weights(softcap):
    query, key = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 50, 4)
    value = torch.eye(50)[None, None]
    outs = torch.stack(
        [gu.causal_attention(query, key, value, dropout_p=0.5, softcap=softcap) for _ in range(200)]
    )
    assert 0.4 < (outs == 0).float().mean() < 0.6
    assert outs.mean().item() == pytest.approx(1 / 50, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"window_size": (3, 0)}, {"softcap": 2.0}], ids=str)
def test_fullgraph_with_changing_lengths(options):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    function = torch.compile(
        lambda q, k, v: gu.causal_attention(q, k, v, **options), fullgraph=True, backend=counter
    )
    for length in (8, 9, 17, 33):
        tensors = problem(length, length)
        torch.testing.assert_close(function(*tensors), gu.causal_attention(*tensors, **options))
    assert counter.frame_count <= 2


def test_which_implementation_ran():
    with dispatch.ran() as log:
        gu.causal_attention(*problem())
    assert log == [("causal_attention", "torch" if native.missing else "cpp")]


BAD = {
    "list": (lambda q, k, v: ([], k, v), {}, TypeError, "query: expected a torch.Tensor, got list"),
    "three dimensions": (
        lambda q, k, v: (q[0], k, v),
        {},
        ValueError,
        r"query: expected 4 dimensions \(B, H, T, D\), got shape \(4, 7, 8\); split the heads with",
    ),
    "integers": (
        lambda q, k, v: (q.long(), k, v),
        {},
        TypeError,
        "query: expected a floating point dtype, got torch.int64",
    ),
    "dtypes": (
        lambda q, k, v: (q, k.double(), v),
        {},
        TypeError,
        r"key: expected the dtype of query, torch.float32, got torch.float64; try key.to\(torch",
    ),
    "devices": (
        lambda q, k, v: (q, k, v.to("meta")),
        {},
        ValueError,
        "value: expected the device of query, cpu, got meta",
    ),
    "batches": (
        lambda q, k, v: (q[:1], k, v),
        {},
        ValueError,
        "expected one batch size in query, key and value, got 1, 2 and 2",
    ),
    "key and value": (
        lambda q, k, v: (q, k, v[:, :, :3]),
        {},
        ValueError,
        r"key and value: expected the same \(B, H, S\), got \(2, 4, 7\) and \(2, 4, 3\)",
    ),
    "widths": (
        lambda q, k, v: (q, k[..., :5], v),
        {},
        ValueError,
        "key: expected the width of query, D = 8, got 5",
    ),
    "heads": (
        lambda q, k, v: (q, k[:, :2], v[:, :2]),
        {},
        ValueError,
        "key: expected the 4 heads of query, got 2; pass enable_gqa=True",
    ),
    "shared heads": (
        lambda q, k, v: (q, k[:, :3], v[:, :3]),
        {"enable_gqa": True},
        ValueError,
        "enable_gqa: expected the 4 query heads to be a multiple of the key heads, got 3",
    ),
    "scale": (
        lambda q, k, v: (q, k, v),
        {"scale": float("nan")},
        ValueError,
        "scale: expected a finite number or None, got nan",
    ),
    "dropout": (
        lambda q, k, v: (q, k, v),
        {"dropout_p": 1.0},
        ValueError,
        r"dropout_p: expected a probability in \[0, 1\), got 1.0",
    ),
    "softcap": (
        lambda q, k, v: (q, k, v),
        {"softcap": -1.0},
        ValueError,
        "softcap: expected a positive finite number or None, got -1.0",
    ),
    "alignment": (
        lambda q, k, v: (q, k, v),
        {"alignment": "right"},
        ValueError,
        'alignment: expected "lower_right" or "upper_left", got \'right\'',
    ),
    "window": (
        lambda q, k, v: (q, k, v),
        {"window_size": (-2, 0)},
        ValueError,
        r"window_size: expected \(left, right\), integers of at least -1.*got \(-2, 0\)",
    ),
    "window of one": (
        lambda q, k, v: (q, k, v),
        {"window_size": 128},
        ValueError,
        r"window_size: expected \(left, right\).*got 128",
    ),
}


@pytest.mark.parametrize(("change", "options", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_raises_a_sentence(change, options, kind, message):
    tensors = change(*(t.detach() for t in problem()))
    with pytest.raises(kind, match=message):
        gu.causal_attention(*tensors, **options)


def test_autocast_admits_mixed_dtypes():
    query, key, value = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = gu.causal_attention(query.bfloat16(), key, value)
    torch.testing.assert_close(
        out.float(), gu.causal_attention(query, key, value), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("scale", [0.0, -0.5])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_a_scale_may_be_zero_or_negative(scale, softcap):
    same(problem(), scale=scale, softcap=softcap)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["query", "key", "value"])
def test_a_tensor_without_memory_is_refused_and_not_read(which):
    tensors = [torch.zeros(1, 2, 8, 4) for _ in range(3)]
    tensors[which].untyped_storage().resize_(0)
    if native.missing is not None:
        pytest.skip(native.missing)
    with pytest.raises(ValueError, match="expected a tensor with memory"):
        gu.causal_attention(*tensors)
