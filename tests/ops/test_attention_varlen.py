"""causal_attention_varlen is causal_attention of each document by itself, in every form."""

import pytest
import torch
from compare import assert_error_like_eager
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.test_attention import with_gradients
from torch.library import opcheck

import groundup as gu
from groundup.ops import dispatch, native
from groundup.ops.attention_varlen_forms import Options

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
FORMS = ["torch", "reference", pytest.param("cpp", marks=needs_native)]


def starts(lengths, first=0):
    return torch.tensor([first, *lengths]).cumsum(0)


def problem(lengths_q, lengths_k=None, heads=(2, 2), width=8, rest=0, dtype=torch.float32):
    lengths_k = lengths_q if lengths_k is None else lengths_k
    n_queries, n_keys = sum(lengths_q) + rest, sum(lengths_k) + rest
    tensors = tuple(
        torch.randn(n, h, w).to(dtype).requires_grad_()
        for n, h, w in (
            (n_queries, heads[0], width),
            (n_keys, heads[1], width),
            (n_keys, heads[1], width + 3),
        )
    )
    return tensors, (starts(lengths_q), starts(lengths_k))


def one_by_one(query, key, value, cu_q, cu_k, **options):
    """causal_attention of each document, on torch; what is after the last one is zero."""
    outs = []
    with gu.use("causal_attention=torch"):
        for d in range(len(cu_q) - 1):
            q, k, v = (
                each[cu[d] : cu[d + 1]].transpose(0, 1)[None]
                for each, cu in ((query, cu_q), (key, cu_k), (value, cu_k))
            )
            out = gu.causal_attention(q, k, v, enable_gqa=True, **options)
            outs.append(out[0].transpose(0, 1))
    rest = query[cu_q[-1] :, :, :1] * 0 * (key.sum() + value.sum())
    return torch.cat([*outs, rest.expand(-1, -1, value.shape[2])])


def same(lengths_q, lengths_k=None, form=None, heads=(2, 2), rest=0, **options):
    tensors, rows = problem(lengths_q, lengths_k, heads, rest=rest)
    upstream = torch.randn(tensors[0].shape[0], heads[0], 11)
    with gu.use(f"causal_attention_varlen={form}" if form else ""), dispatch.ran() as log:
        ours = with_gradients(
            lambda *t: gu.causal_attention_varlen(*t, *rows, enable_gqa=True, **options),
            tensors,
            upstream,
        )
    assert not form or log == [("causal_attention_varlen", form)]
    double = tuple(t.detach().double().requires_grad_() for t in tensors)
    exact = with_gradients(lambda *t: one_by_one(*t, *rows, **options), double, upstream)
    for name, a, b in zip(("out", "dquery", "dkey", "dvalue"), ours, exact, strict=True):
        torch.testing.assert_close(
            a, b.float(), rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [{}, {"window_size": (5, 0), "softcap": 2.0, "scale": 0.5}, {"alignment": "upper_left"}],
    ids=["plain", "flags", "upper_left"],
)
def test_every_form_is_causal_attention_of_each_document(form, options):
    same([3, 0, 70, 1], form=form, heads=(4, 2), rest=2, **options)
    same([3, 9, 0, 5], [7, 2, 4, 0], form=form, **options)


@needs_native
@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150)), max_size=6),
    equal=st.booleans(),
    heads=st.sampled_from([(1, 1), (4, 2), (17, 17)]),
    rest=st.integers(0, 2),
    left=st.integers(-1, 160),
    alignment=st.sampled_from(["lower_right", "upper_left"]),
)
def test_any_documents(lengths, equal, heads, rest, left, alignment):
    lengths_q = [q for q, _ in lengths]
    lengths_k = lengths_q if equal else [k for _, k in lengths]
    same(lengths_q, lengths_k, "cpp", heads, rest, window_size=(left, 0), alignment=alignment)


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_error_is_like_that_of_torch_on_each_document(dtype):
    tensors, rows = problem([100, 30, 65], heads=(4, 2), width=32, dtype=dtype)
    upstream = torch.randn(195, 4, 35)
    ours = with_gradients(
        lambda *t: gu.causal_attention_varlen(*t, *rows, enable_gqa=True), tensors, upstream
    )
    eager = with_gradients(lambda *t: one_by_one(*t, *rows), tensors, upstream)
    double = tuple(t.detach().double().requires_grad_() for t in tensors)
    exact = with_gradients(lambda *t: one_by_one(*t, *rows), double, upstream)
    for name, *results in zip(("out", "dquery", "dkey", "dvalue"), ours, eager, exact, strict=True):
        kind = "forward" if name == "out" else "gradient"
        assert_error_like_eager(*results, kind=kind, name=name)


@needs_native
def test_the_bits_are_those_of_the_document_alone():
    tensors, rows = problem([130, 5, 64], heads=(2, 1))
    whole = gu.causal_attention_varlen(*tensors, *rows, enable_gqa=True)
    for begin, end in zip(rows[0][:-1], rows[0][1:], strict=True):
        q, k, v = (t[begin:end].transpose(0, 1)[None] for t in tensors)
        with gu.use("causal_attention=cpp"):
            alone = gu.causal_attention(q, k, v, enable_gqa=True)[0].transpose(0, 1)
        if end - begin > 4:  # fewer take the decoder's kernel
            assert torch.equal(alone, whole[begin:end])


@needs_native
def test_kernel_and_reference_drop_the_same_weights():
    tensors, rows = problem([20, 33])
    results = []
    for form in ("cpp", "reference"):
        torch.manual_seed(5)
        with gu.use(f"causal_attention_varlen={form}"):
            results.append(
                with_gradients(
                    lambda *t: gu.causal_attention_varlen(*t, *rows, dropout_p=0.4), tensors
                )
            )
    torch.testing.assert_close(*results)


@needs_native
def test_any_number_of_threads_gives_the_same_bits():
    tensors, rows = problem([200, 7, 90], heads=(6, 2))
    before, results = torch.get_num_threads(), []
    for n in (1, 2, 8):
        torch.set_num_threads(n)
        results.append(
            with_gradients(
                lambda *t: gu.causal_attention_varlen(*t, *rows, enable_gqa=True), tensors
            )
        )
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@needs_native
def test_layouts_and_index_dtypes_do_not_matter():
    tensors, rows = problem([30, 12])
    expected = with_gradients(lambda *t: gu.causal_attention_varlen(*t, *rows), tensors)
    strided = tuple(t.detach().mT.contiguous().mT.requires_grad_() for t in tensors)
    by_head = tuple(
        t.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for t in tensors
    )
    for others, index in ((strided, torch.int32), (by_head, torch.int64)):
        cu = rows[0].to(index)
        ours = with_gradients(lambda *t, cu=cu: gu.causal_attention_varlen(*t, cu), others)
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@needs_native
def test_a_second_derivative_raises():
    tensors, rows = problem([5, 9])
    out = gu.causal_attention_varlen(*tensors, *rows)
    gradients = torch.autograd.grad(out.square().sum(), tensors, create_graph=True)
    with pytest.raises(RuntimeError, match="causal_attention_varlen cannot be differentiated twic"):
        torch.autograd.grad(gradients[0].sum(), tensors)


@needs_native
def test_opcheck_and_fullgraph_with_changing_documents():
    (query, key, value), rows = problem([5, 9])
    options = Options(0.4, 0.0, True, 4, 2.0)
    operator = torch.ops.groundup.causal_attention_varlen.default
    opcheck(operator, (query, key, value, *rows, None, *options))
    torch._dynamo.reset()
    compiled = torch.compile(gu.causal_attention_varlen, fullgraph=True, backend="aot_eager")
    for cu in map(starts, ([5, 9], [7, 7], [14])):
        results = [
            with_gradients(lambda *t, f=f, cu=cu: f(*t, cu), (query, key, value))
            for f in (compiled, gu.causal_attention_varlen)
        ]
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with pytest.raises(ValueError, match="within the 14 rows there are, got an end at 15"):
        compiled(query, key, value, starts([5, 10]))


def test_which_form_runs():
    with dispatch.ran() as log:
        gu.causal_attention_varlen(*problem([5])[0], starts([5]))
        gu.causal_attention_varlen(*problem([5], dtype=torch.float64)[0], starts([5]))
    first = "torch" if native.missing else "cpp"
    assert log == [("causal_attention_varlen", first), ("causal_attention_varlen", "torch")]


BAD = {
    "falls": (
        [0, 5, 3, 9],
        None,
        ValueError,
        "cu_seqlens_q: expected rows that never fall, got 3 after 5 at document 1",
    ),
    "beyond": ([0, 5, 10], None, ValueError, "within the 9 rows there are, got an end at 10"),
    "first": ([1, 9], None, ValueError, "expected 0 first, where the first document begins, got 1"),
    "below": ([0, -4, 9], None, ValueError, "never fall, got -4 after 0 at document 0"),
    "keys": ([0, 9], [0, 10], ValueError, "cu_seqlens_k: expected documents within the 9 rows"),
    "number": ([0, 9], [0, 5, 9], ValueError, "as many documents as cu_seqlens_q has, 1, got 2"),
    "empty": ([], None, ValueError, r"expected shape \(N \+ 1,\) for N documents, got \(0,\)"),
    "shape": ([[0, 9]], None, ValueError, r"expected shape \(N \+ 1,\) for N documents, got \(1,"),
    "dtype": ([0.0, 9.0], None, TypeError, "cu_seqlens_q: expected int64 or int32, got torch.floa"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("cu_q", "cu_k", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_documents_raise_a_sentence(form, cu_q, cu_k, kind, message):
    tensors, _ = problem([9])
    rows = [torch.tensor(cu_q), None if cu_k is None else torch.tensor(cu_k)]
    if cu_q == []:
        rows[0] = rows[0].long()
    with gu.use(f"causal_attention_varlen={form}"), pytest.raises(kind, match=message):
        gu.causal_attention_varlen(*tensors, *rows)


def test_bad_tensors_raise_a_sentence():
    (q, k, v), (cu, _) = problem([9])
    for tensors, options, kind, message in (
        (
            (q[None], k, v),
            {},
            ValueError,
            r"query: expected 3 dimensions \(T, H, D\), tokens of all",
        ),
        ((q, k, v[:3]), {}, ValueError, r"key and value: expected the same \(S, H\)"),
        (
            (q, k[:, :1], v[:, :1]),
            {},
            ValueError,
            "key: expected the 2 heads of query, got 1; pass",
        ),
        ((q, k[..., :3], v), {}, ValueError, "key: expected the width of query, D = 8, got 3"),
        ((q, k.double(), v), {}, TypeError, "key: expected the dtype of query"),
        ((q, k, v), {"dropout_p": 1.0}, ValueError, "dropout_p: expected a probability"),
        ((q, k, v), {"alignment": "left"}, ValueError, "alignment: expected"),
    ):
        with pytest.raises(kind, match=message):
            gu.causal_attention_varlen(*tensors, cu, **options)


@needs_native
def test_the_core_itself_refuses_documents_outside_the_tensors():
    core = native.core
    for rows, message in (
        ([0, 5], "query_starts: expected rows that rise from 0 up to 4 at most, got 5 after 0"),
        ([0, 3, 2], "expected 2 rows for as many documents as sizes says, got 3"),
        ([-1, 4], "got -1 after 0"),
    ):
        with pytest.raises(ValueError, match=message):
            core.attention_varlen_forward_cpu(
                *[0] * 5, 0, [1, 1, 1, 4, 4, 8, 8], [0] * 12, rows, [0, 4], True, -1, 1.0, 0.0,
                0.0, 0, 0,
            )  # fmt: skip
