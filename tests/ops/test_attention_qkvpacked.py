"""causal_attention_qkvpacked is causal_attention of its three parts, by whatever way it takes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
FORMS = ["torch", "reference", pytest.param("cpp", marks=needs_native)]


def parts_of(qkv):
    return tuple(part.transpose(1, 2) for part in qkv.unbind(2))


def apart(qkv, **options):
    return gu.causal_attention(*parts_of(qkv), **options).transpose(1, 2)


def with_gradient(function, qkv, **options):
    leaf = qkv.detach().requires_grad_()
    torch.manual_seed(3)  # for dropout
    out = function(leaf, **options)
    torch.manual_seed(4)
    (gradient,) = torch.autograd.grad(out, leaf, torch.randn(out.shape).to(out.dtype))
    return out.detach(), gradient


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [{}, {"scale": 0.5, "window_size": (3, 0), "softcap": 2.0}, {"dropout_p": 0.3}],
    ids=["plain", "flags", "dropout"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_form_gives_what_it_gives_of_the_parts(form, options, dtype):
    qkv = torch.randn(2, 21, 3, 4, 8).to(dtype)
    with gu.use(f"causal_attention={form}"), dispatch.ran() as log:
        ours = with_gradient(gu.causal_attention_qkvpacked, qkv, **options)
        expected = with_gradient(apart, qkv, **options)
    assert log == [("causal_attention", form)] * 2
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a, b)


@needs_native
@given(
    batch=st.integers(0, 3),
    length=st.sampled_from([0, 1, 3, 5, 16, 63, 64, 65, 130]),
    heads=st.integers(1, 3),
    width=st.sampled_from([1, 5, 16, 40]),
    left=st.integers(-1, 70),
)
@settings(max_examples=25, deadline=None)
def test_bits_are_those_of_the_parts_at_any_size(batch, length, heads, width, left):
    qkv = torch.randn(batch, length, 3, heads, width)
    for a, b in zip(
        with_gradient(gu.causal_attention_qkvpacked, qkv, window_size=(left, 0)),
        with_gradient(apart, qkv, window_size=(left, 0)),
        strict=True,
    ):
        assert torch.equal(a, b)


@needs_native
@pytest.mark.parametrize("layout", ["heads before time", "last dimension strided", "expanded"])
def test_layouts_give_what_a_contiguous_copy_gives(layout):
    base = torch.randn(2, 12, 3, 4, 8)
    qkv = {
        "heads before time": lambda t: t.transpose(1, 3).contiguous().transpose(1, 3),
        "last dimension strided": lambda t: t.transpose(3, 4).contiguous().transpose(3, 4),
        "expanded": lambda t: t[:1].expand(2, -1, -1, -1, -1),
    }[layout](base)
    strided = with_gradient(gu.causal_attention_qkvpacked, qkv)
    copied = with_gradient(gu.causal_attention_qkvpacked, qkv.contiguous())
    assert all(map(torch.equal, strided, copied))


@needs_native
def test_output_and_gradient_lie_as_a_linear_layer_wants_them():
    qkv = torch.randn(2, 6, 3, 4, 8, requires_grad=True)
    out = gu.causal_attention_qkvpacked(qkv)
    assert out.shape == (2, 6, 4, 8)
    assert out.is_contiguous()
    out.add_(1.0)  # no view, so it may be changed, until backward asks for it
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    (gradient,) = torch.autograd.grad(gu.causal_attention_qkvpacked(qkv).sum(), qkv)
    assert gradient.is_contiguous()
    with torch.no_grad():
        assert gu.causal_attention_qkvpacked(qkv).is_contiguous()


@needs_native
def test_a_second_derivative_raises():
    qkv = torch.randn(1, 5, 3, 2, 4, requires_grad=True)
    out = gu.causal_attention_qkvpacked(qkv)
    (gradient,) = torch.autograd.grad(out.square().sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError, match="causal_attention cannot be differentiated twice"):
        gradient.sum().backward()


@needs_native
def test_fullgraph_runs_the_kernel_with_a_changing_batch():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(gu.causal_attention_qkvpacked, fullgraph=True, backend=counter)
    for batch in (2, 3, 5):
        qkv = torch.randn(batch, 9, 3, 2, 8)
        with dispatch.ran() as log:
            ours = with_gradient(compiled, qkv)
        assert ("causal_attention", "cpp") in log
        torch.testing.assert_close(ours, with_gradient(gu.causal_attention_qkvpacked, qkv))
    assert counter.frame_count <= 2


def test_autocast_is_that_of_causal_attention():
    qkv = torch.randn(1, 9, 3, 2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, expected = (
            with_gradient(gu.causal_attention_qkvpacked, qkv),
            with_gradient(apart, qkv),
        )
    assert ours[0].dtype is torch.bfloat16
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize(
    ("qkv", "kind", "message"),
    [
        ([1.0], TypeError, "qkv: expected a torch.Tensor, got list"),
        (
            torch.zeros(2, 3, 12),
            ValueError,
            r"qkv: expected 5 dimensions \(B, T, 3, H, D\), got shape \(2, 3, 12\); split the last "
            r"one of \(B, T, 3 H D\) with \.unflatten\(-1, \(3, H, D\)\)",
        ),
        (torch.zeros(1, 2, 4, 3, 8), ValueError, r"got shape \(1, 2, 4, 3, 8\)"),
        (torch.zeros(1, 2, 3, 1, 8).long(), TypeError, "expected a floating point dtype, got"),
    ],
)
def test_bad_input_raises_a_sentence(qkv, kind, message):
    with pytest.raises(kind, match=message):
        gu.causal_attention_qkvpacked(qkv)


@needs_native
def test_options_out_of_range_are_refused_with_a_gradient_too():
    qkv = torch.zeros(1, 2, 3, 1, 8, requires_grad=True)
    with pytest.raises(ValueError, match=r"dropout_p: expected a probability in \[0, 1\), got 1.0"):
        gu.causal_attention_qkvpacked(qkv, dropout_p=1.0)
    with pytest.raises(RuntimeError, match=r"causal_attention does not run inside torch\.func"):
        torch.vmap(gu.causal_attention_qkvpacked)(qkv[None])
