"""The native decoder's attention by pointer: as accurate as eager, and within what it may touch."""

import math

import pytest
import torch
from compare import assert_error_like_eager, assert_same_class
from hypothesis import given, settings
from hypothesis import strategies as st
from native.attention_calls import Guarded

core = pytest.importorskip("groundup._C", reason="the native core is not built")

DTYPES = [torch.float32, torch.bfloat16]
inf, nan = math.inf, math.nan


def example(heads, lengths, widths=(64, 64), batch=1, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    (n, key_heads), (n_queries, n_keys), (width, value_width) = heads, lengths, widths
    shapes = ((n, n_queries, width), (key_heads, n_keys, width), (key_heads, n_keys, value_width))
    return [torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes]


def decode(query, key, value, spans=None, left=-1, softcap=0.0, statistics=True, **layout):
    """(out, statistics) of _C on guarded buffers; spans: (key_begin, key_end), a list each."""
    (batch, heads, n_queries, width), (n_keys, value_width) = query.shape, value.shape[2:]
    buffers = [Guarded(tuple(t.shape), t.dtype, **layout) for t in (query, key, value)]
    for buffer, tensor in zip(buffers, (query, key, value), strict=True):
        buffer.tensor.copy_(tensor)
    out = Guarded((batch, heads, n_queries, value_width), query.dtype, **layout)
    sums = Guarded((batch, heads, n_queries, 2), torch.float32)
    core.attention_decode_cpu(
        *(each.tensor.data_ptr() for each in (*buffers, out)),
        sums.tensor.data_ptr() if statistics else 0,
        int(query.dtype is torch.bfloat16),
        (batch, heads, key.shape[1], n_queries, n_keys, width, value_width),
        [stride for each in (*buffers, out) for stride in each.tensor.stride()[:3]],
        *(spans or ((), ())),
        n_keys - n_queries,
        left,
        1 / math.sqrt(width),
        softcap,
    )
    assert not any(each.written_outside() for each in (*buffers, out, sums))
    return out.tensor, sums.tensor


def eager(query, key, value, dtype, spans=None, left=-1, softcap=0.0):
    """Sequence by sequence; rows without keys are zeros."""
    n = query.shape[1] // max(1, key.shape[1])
    outs = []
    for b, query_row in enumerate(query):
        begin, end = (0, key.shape[2]) if spans is None else (spans[0][b], spans[1][b])
        q, k, v = (t.to(dtype) for t in (query_row, key[b, :, begin:end], value[b, :, begin:end]))
        scores = q @ k.repeat_interleave(n, 0).mT / math.sqrt(q.shape[-1])
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        place = torch.arange(q.shape[1])[:, None] + (end - begin) - q.shape[1]
        distance = place - torch.arange(end - begin)
        seen = (distance >= 0) & ((distance <= left) if left >= 0 else True)
        out = scores.masked_fill(~seen, -inf).softmax(-1) @ v.repeat_interleave(n, 0)
        outs.append(torch.where(seen.any(1)[:, None], out, 0))
    return torch.stack(outs)


def judge(tensors, **options):
    layout = {name: options.pop(name) for name in ("order", "gap", "offset") if name in options}
    ours, _ = decode(*tensors, **options, **layout)
    near, exact = (
        eager(*tensors, tensors[0].dtype, **options),
        eager(*tensors, torch.float64, **options),
    )
    assert_error_like_eager(ours, near, exact)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("left", [-1, 0, 300])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (7, 1)], ids=str)
def test_every_flag_is_as_accurate_as_eager(dtype, softcap, left, heads):
    for n_queries in (1, 3):
        judge(example(heads, (n_queries, 700), dtype=dtype, batch=2), left=left, softcap=softcap)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("widths", [(1, 1), (17, 80), (63, 65), (128, 16), (200, 256), (257, 3)])
def test_any_width_at_every_alignment(widths, dtype):
    for offset in (0, 1, 7):
        judge(example((2, 1), (2, 270), widths, dtype=dtype), offset=offset, gap=offset)


@settings(deadline=None, max_examples=80)
@given(
    lengths=st.tuples(st.integers(0, 9), st.integers(0, 600)),
    widths=st.tuples(st.integers(1, 70), st.integers(0, 70)),
    heads=st.sampled_from([(1, 1), (3, 3), (4, 2), (6, 1)]),
    batch=st.integers(0, 3),
    dtype=st.sampled_from(DTYPES),
    left=st.integers(-1, 610),
    softcap=st.sampled_from([0.0, 1.0]),
    order=st.permutations([0, 1, 2]),
    gap=st.integers(0, 3),
    offset=st.integers(0, 15),
    seed=st.integers(0, 2**31),
    given_spans=st.booleans(),
)
def test_any_shape_layout_and_span_reads_and_writes_its_own(
    lengths, widths, heads, batch, dtype, left, softcap, order, gap, offset, seed, given_spans
):
    tensors, spans = example(heads, lengths, widths, batch, dtype, seed), None
    if given_spans:
        n_keys, generator = lengths[1], torch.Generator().manual_seed(seed)
        ends = torch.randint(n_keys + 1, (batch,), generator=generator)
        begins = (torch.rand(batch, generator=generator) * (ends + 1)).long()
        spans = (begins.tolist(), ends.tolist())
        for b, (begin, end) in enumerate(zip(*spans, strict=True)):
            for tensor in tensors[1:]:  # what is no sequence's is never read
                tensor[b, :, :begin], tensor[b, :, end:] = nan, nan
    layout = {"order": tuple(order), "gap": gap, "offset": offset}
    ours, _ = decode(*tensors, spans, left, softcap, **layout)
    if batch:
        exact = eager(*tensors, torch.float64, spans, left, softcap)
        slack = 1e-4 if dtype is torch.float32 else 0.1
        torch.testing.assert_close(ours.double(), exact, rtol=slack, atol=slack)


def test_its_statistics_are_those_that_backward_rebuilds_weights_from():
    query, key, value = example((4, 2), (3, 500))
    _, statistics = decode(query, key, value)
    scores = query.double() @ key.double().repeat_interleave(2, 1).mT / 8
    scores.masked_fill_(torch.ones(3, 500, dtype=torch.bool).triu(498), -inf)
    lse = statistics[..., 0].double() + statistics[..., 1].double().log()
    torch.testing.assert_close(lse, scores.logsumexp(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(statistics[..., 0], scores.amax(-1).float())
    assert torch.equal(decode(query, key, value, statistics=False)[0], decode(query, key, value)[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("which", "place", "number"),
    [
        (0, (0, 0, 0), nan),
        (0, (0, 0, 0, 3), inf),
        (1, (0, 0, 290, 2), nan),
        (1, (0, 0, 290, 2), inf),
        (1, (0, 0, 0), -inf),
        (1, (0, 0), -inf),
        (2, (0, 0, 299, 1), inf),
        (2, (0, 0, 299, 1), nan),
        (0, (0, 0), 1e30),
    ],
)
def test_special_values_give_the_class_torch_gives(which, place, number, dtype):
    tensors = example((1, 1), (1, 300), (16, 16), dtype=dtype)
    tensors[which][place] = number
    if place == (0, 0) and which == 1:
        tensors[0].fill_(1)  # every score -inf
    ours, _ = decode(*tensors)
    assert_same_class(ours, eager(*tensors, torch.float64).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sequences_bits_depend_on_neither_threads_nor_batch(dtype):
    tensors = example((4, 2), (2, 900), batch=3, dtype=dtype)
    spans = ([0, 5, 300], [900, 700, 900])
    before, results = torch.get_num_threads(), []
    for n in (1, 2, 8):
        torch.set_num_threads(n)
        results.append(decode(*tensors, spans)[0])
    torch.set_num_threads(before)
    assert torch.equal(results[1], results[0])
    assert torch.equal(results[2], results[0])
    alone = decode(*(t[1:2] for t in tensors), ([5], [700]))[0]
    assert torch.equal(alone, results[0][1:2])


def test_spans_outside_the_cache_are_refused_in_a_sentence():
    tensors = example((1, 1), (1, 8), batch=2)
    for spans, message in (
        (([0, 0], [8, 9]), r"keys of entry 1: expected within \[0, 8\), got \[0, 9\)"),
        (([-1, 0], [8, 8]), r"keys of entry 0: expected within \[0, 8\), got \[-1, 8\)"),
        (([5, 0], [4, 8]), r"got \[5, 4\)"),
        (([0], [8]), "expected one number a batch entry"),
    ):
        with pytest.raises(ValueError, match=message):
            decode(*tensors, spans)
