"""decode_attention is causal_attention's last rows; its forms agree, and what lies outside a
sequence is never seen. What the kernel makes of it: tests/native/test_attention_decode.py."""

import contextlib

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
FORMS = ["torch", "reference", pytest.param("cpp", marks=needs_native)]


def problem(n_queries=1, n_keys=40, batch=3, heads=(4, 2), dtype=torch.float32):
    n, key_heads = heads
    shapes = ((n, n_queries, 8), (key_heads, n_keys, 8), (key_heads, n_keys, 6))
    return tuple(torch.randn(batch, *shape).to(dtype) for shape in shapes)


def row_by_row(query, key, value, begins, ends, **options):
    """The same from causal_attention on each sequence's own keys, in float64 on torch."""
    with gu.use("causal_attention=torch"):
        rows = [
            gu.causal_attention(
                query[b : b + 1].double(),
                key[b : b + 1, :, begin:end].double(),
                value[b : b + 1, :, begin:end].double(),
                enable_gqa=True,
                **options,
            )
            for b, (begin, end) in enumerate(zip(begins, ends, strict=True))
        ]
    return torch.cat(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_queries", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"window_size": (4, 0)}, {"softcap": 2.0, "scale": 0.7}, {"scale": -0.5}],
    ids=str,
)
def test_every_form_is_causal_attention_of_each_sequence(form, n_queries, options):
    query, key, value = problem(n_queries)
    begins, ends = [0, 3, 20], [40, 17, 21]  # 21 - 20 keys: fewer than queries
    for b in range(3):  # nobody looks there
        for cache in (key, value):
            cache[b, :, : begins[b]], cache[b, :, ends[b] :] = torch.nan, torch.nan
    with gu.use(f"decode_attention={form}"), dispatch.ran() as log:
        ours = gu.decode_attention(
            query,
            key,
            value,
            torch.tensor(ends),
            cache_leftpad=torch.tensor(begins, dtype=torch.int32),
            **options,
        )
    assert log == [("decode_attention", form)]
    exact = row_by_row(query, key, value, begins, ends, **options)
    torch.testing.assert_close(ours, exact.float())


@pytest.mark.parametrize("form", FORMS)
def test_lengths_may_be_one_number_or_the_whole_cache(form):
    query, key, value = problem(2)
    with gu.use(f"decode_attention={form}"):
        for lengths, end in ((None, 40), (40, 40), (25, 25), (0, 0)):
            ours = gu.decode_attention(query, key, value, lengths)
            exact = row_by_row(query, key, value, [0] * 3, [end] * 3)
            torch.testing.assert_close(ours, exact.float())


@needs_native
def test_which_form_runs():
    double = problem(dtype=torch.float64)
    with dispatch.ran() as log:
        gu.decode_attention(*problem())
        gu.decode_attention(*double)
    assert log == [("decode_attention", "cpp"), ("decode_attention", "torch")]
    with (
        gu.use("decode_attention=cpp"),
        pytest.raises(RuntimeError, match="takes float32 and bfloat16, and query is"),
    ):
        gu.decode_attention(*double)


@needs_native
def test_any_layout_of_the_cache_gives_the_same():
    query, key, value = problem(2)
    expected = gu.decode_attention(query, key, value, 33)
    by_time = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (query, key, value))
    assert torch.equal(gu.decode_attention(*by_time, 33), expected)
    strided = (t.mT.contiguous().mT for t in (query, key, value))
    assert torch.equal(gu.decode_attention(*strided, 33), expected)


@needs_native
def test_opcheck_fullgraph_fake_and_meta():
    query, key, value = problem(2)
    lengths, leftpad = torch.tensor([40, 9, 21]), torch.tensor([0, 2, 3])
    operator = torch.ops.groundup.decode_attention.default
    utils = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    opcheck(operator, (query, key, value, lengths, leftpad, 0.4, 5, 0.0), test_utils=utils)
    expected = gu.decode_attention(query, key, value, lengths, cache_leftpad=leftpad)
    torch._dynamo.reset()
    compiled = torch.compile(gu.decode_attention, fullgraph=True, backend="aot_eager")
    ours = compiled(query, key, value, lengths, cache_leftpad=leftpad)
    assert torch.equal(ours, expected)
    assert gu.decode_attention(*(t.to("meta") for t in (query, key, value))).shape == (3, 4, 2, 6)
    with FakeTensorMode() as mode:
        fake = gu.decode_attention(*(mode.from_tensor(t) for t in (query, key, value)), 7)
    assert fake.shape == (3, 4, 2, 6)


@pytest.mark.parametrize("form", FORMS)
def test_it_has_no_gradient_and_says_so(form):
    query, key, value = problem()
    query.requires_grad_()
    with gu.use(f"decode_attention={form}"):
        with pytest.raises(RuntimeError, match=r"no gradient: call it under torch\.no_grad\(\)"):
            gu.decode_attention(query, key, value)
        with torch.no_grad():
            gu.decode_attention(query, key, value)


BAD = {
    "dtype": ({"lengths": torch.tensor([1.0, 2, 3])}, TypeError, "int64 or int32, got torch.float"),
    "kind": ({"lengths": [1, 2, 3]}, TypeError, "lengths: expected a tensor, an int or None, got"),
    "pad": ({"cache_leftpad": 3}, TypeError, r"cache_leftpad: expected a torch\.Tensor, got int"),
    "shape": (
        {"lengths": torch.tensor([1, 2])},
        ValueError,
        r"lengths: expected one number a sequence, shape \(3,\), got \(2,\)",
    ),
    "device": (
        {"lengths": torch.tensor([1, 2, 3], device="meta")},
        ValueError,
        "lengths: expected the device of query, cpu, got meta",
    ),
    "beyond": (
        {"lengths": torch.tensor([1, 41, 3])},
        ValueError,
        "lengths: expected up to the cache's 40 keys, got 41 for sequence 1",
    ),
    "beyond, one": ({"lengths": 41}, ValueError, "expected up to the cache's 40 keys, got 41"),
    "below": ({"lengths": torch.tensor([1, -1, 3])}, ValueError, "got -1 for sequence 1"),
    "pad beyond": (
        {"lengths": 5, "cache_leftpad": torch.tensor([0, 6, 0])},
        ValueError,
        "cache_leftpad: expected within the 5 keys of sequence 1, got 6",
    ),
    "window": ({"window_size": 3}, ValueError, r"window_size: expected \(left, right\)"),
    "softcap": ({"softcap": 0.0}, ValueError, "softcap: expected a positive finite number"),
}


@needs_native
@pytest.mark.parametrize(("options", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_options_raise_a_sentence(options, kind, message):
    with pytest.raises(kind, match=message):
        gu.decode_attention(*problem(), **options)


def test_bad_tensors_raise_a_sentence():
    query, key, value = problem()
    for tensors, kind, message in (
        ((query[0], key, value), ValueError, r"query: expected 4 dimensions \(B, H, T, D\)"),
        ((query, key[..., :3], value), ValueError, "key_cache: expected the width of query, D = 8"),
        ((query, key, value[:, :, :3]), ValueError, "key_cache and value_cache: expected the same"),
        ((query, key.double(), value), TypeError, "key_cache: expected the dtype of query"),
        ((query[:, :3], key, value), ValueError, "3 query heads to be a multiple of the key heads"),
    ):
        with pytest.raises(kind, match=message):
            gu.decode_attention(*tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [None, "torch"])
def test_lengths_outside_of_the_cache_are_refused_wherever_it_runs(form, dtype):
    query, cache = torch.randn(2, 3, 1, 8, dtype=dtype), torch.randn(2, 3, 9, 8, dtype=dtype)
    with gu.use(f"decode_attention={form}") if form else contextlib.nullcontext():
        for lengths in ([3, 10], [3, -4]):
            with pytest.raises(ValueError, match="lengths: expected up to the cache's 9 keys, got"):
                gu.decode_attention(query, cache, cache, torch.tensor(lengths))
        spans = torch.tensor([3, 3]), torch.tensor([0, 5])
        with pytest.raises(ValueError, match="expected within the 3 keys of sequence 1, got 5"):
            gu.decode_attention(query, cache, cache, spans[0], cache_leftpad=spans[1])
