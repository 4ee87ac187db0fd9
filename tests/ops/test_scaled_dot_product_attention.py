"""scaled_dot_product_attention is torch's: the same results for the same call, ours or torch's."""

import inspect

import pytest
import torch
from torch.nn import functional as F

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
ours = gu.scaled_dot_product_attention


def problem(leading=(2, 4), n_queries=7, n_keys=7, key_leading=None, dtype=torch.float32):
    key_leading = leading if key_leading is None else key_leading
    shapes = (
        (*leading, n_queries, 8),
        (*key_leading, n_keys, 8),
        (*key_leading, n_keys, 6),
    )
    return tuple(torch.randn(shape).to(dtype).requires_grad_() for shape in shapes)


def same_as_torch(tensors, form, **options):
    results = []
    for function in (ours, F.scaled_dot_product_attention):
        with dispatch.ran() as log:
            out = function(*tensors, **options)
        if function is ours:
            name = "causal_attention" if form == "cpp" else "scaled_dot_product_attention"
            assert log == [(name, form)]
        upstream = torch.arange(float(out.numel())).cos().view(out.shape).to(out.dtype)
        results.append((out, *torch.autograd.grad(out, tensors, upstream)))
    torch.testing.assert_close(*results, rtol=2e-5, atol=2e-5)


def test_the_signature_is_torchs():
    given = inspect.signature(ours).parameters
    # As torch's schema has it, with its defaults; the last two by name only.
    defaults = {name: p.default for name, p in given.items() if p.default is not p.empty}
    assert list(given) == [
        "query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"
    ]  # fmt: skip
    assert list(defaults.values()) == [None, 0.0, False, None, False]
    by_name = [name for name, p in given.items() if p.kind is p.KEYWORD_ONLY]
    assert by_name == ["scale", "enable_gqa"]


@needs_native
@pytest.mark.parametrize("leading", [(), (4,), (2, 4), (2, 3, 4), (2, 1, 3, 2)], ids=str)
@pytest.mark.parametrize("lengths", [(7, 7), (5, 9), (9, 5), (1, 6)], ids=str)
def test_causal_runs_on_the_kernel_with_any_leading_dimensions(leading, lengths):
    same_as_torch(problem(leading, *lengths), "cpp", is_causal=True)


@needs_native
@pytest.mark.parametrize("leading", [(4,), (2, 4), (2, 3, 4)], ids=str)
def test_one_query_without_a_mask_sees_every_key(leading):
    same_as_torch(problem(leading, 1, 9), "cpp")
    same_as_torch(problem(leading, 1, 9), "cpp", scale=0.3)


@needs_native
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
def test_key_heads_are_shared_with_enable_gqa(leading):
    tensors = problem((*leading, 4), key_leading=(*leading, 2))
    same_as_torch(tensors, "cpp", is_causal=True, enable_gqa=True)


@needs_native
def test_strides_and_half_precision():
    tensors = tuple(
        t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in problem()
    )
    same_as_torch(tensors, "cpp", is_causal=True)
    half = problem(dtype=torch.bfloat16)
    out = ours(*half, is_causal=True)
    assert out.dtype is torch.bfloat16
    expected = F.scaled_dot_product_attention(*half, is_causal=True)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)


MASK = torch.ones(7, 7, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    ("tensors", "options"),
    [
        (problem(), {}),
        (problem(), {"attn_mask": MASK}),
        (problem(), {"attn_mask": torch.zeros(7, 7)}),
        (problem(dtype=torch.float64), {"attn_mask": MASK}),
        (problem(key_leading=(1, 4)), {"is_causal": True}),
        (problem((2, 4), 1, 7, (1, 4)), {}),
    ],
    ids=["no mask", "a mask", "a bias", "float64", "broadcast", "broadcast, one query"],
)
def test_what_we_do_not_have_runs_on_torch(tensors, options):
    same_as_torch(tensors, "torch", **options)


def test_transforms_tangents_and_subclasses_are_torchs():
    tensors = tuple(t.detach() for t in problem())
    expected = F.scaled_dot_product_attention(*tensors, is_causal=True)

    def causal(q, k, v):
        return ours(q, k, v, is_causal=True)

    torch.testing.assert_close(torch.vmap(causal)(*tensors), expected)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, tangent = torch.func.jvp(causal, tensors, tensors)
    assert tangent.isfinite().all()

    class Own(torch.Tensor):
        pass

    own = tuple(t.as_subclass(Own) for t in tensors)
    assert type(causal(*own)) is Own
    nested = tuple(
        torch.nested.nested_tensor([t[0], t[1, :, :5]], layout=torch.strided) for t in tensors
    )
    assert ours(*nested).is_nested


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda q, k, v: (q, k[..., :5], v), {"is_causal": True}),
        (lambda q, k, v: (q, k.double(), v), {"is_causal": True}),
        (lambda q, k, v: (q, k[:, :3], v[:, :3]), {"is_causal": True, "enable_gqa": True}),
        (lambda q, k, v: (q, k, v), {"is_causal": True, "attn_mask": MASK}),
        (lambda q, k, v: (q[0, 0, 0], k, v), {}),
        (lambda q, k, v: (q, [], v), {"is_causal": True}),
    ],
    ids=["widths", "dtypes", "heads", "mask and causal", "one dimension", "a list"],
)
def test_a_wrong_call_raises_what_torch_raises(change, options):
    tensors = change(*(t.detach() for t in problem()))
    with pytest.raises((RuntimeError, ValueError, TypeError)) as theirs:
        F.scaled_dot_product_attention(*tensors, **options)
    with pytest.raises(theirs.type) as raised:
        ours(*tensors, **options)
    assert str(raised.value) == str(theirs.value)


@needs_native
def test_dropout_follows_torchs_seed():
    query, key, _ = (t.detach() for t in problem((1, 1), 30, 30))
    value = torch.eye(30)[None, None]
    torch.manual_seed(3)
    first, second = (ours(query, key, value, None, 0.5, True) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(ours(query, key, value, None, 0.5, True), first)
    assert not torch.equal(first, second)
    kept = first[0, 0].tril() != 0
    assert 0.4 < kept.sum() / (30 * 31 / 2) < 0.6
    everything = ours(query, key, value, None, 1.0, True)  # torch's
    assert not everything.nan_to_num().any()


@needs_native
def test_fullgraph_with_and_without_a_mask():
    torch._dynamo.reset()
    tensors = problem()
    for options in ({"is_causal": True}, {"attn_mask": MASK}):
        compiled = torch.compile(
            lambda q, k, v, o=options: ours(q, k, v, **o), fullgraph=True, backend="aot_eager"
        )
        torch.testing.assert_close(compiled(*tensors), ours(*tensors, **options))
