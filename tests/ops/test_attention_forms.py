"""causal_attention's implementations agree; autograd, torch.compile and the gate around the native
one. What the formula is, test_attention.py says; what the kernel makes of it, tests/native."""

import pytest
import torch
from ops.test_attention import problem, with_gradients, written_out
from torch._subclasses import FakeTensorMode
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

import groundup as gu
from groundup.ops import dispatch, native
from groundup.ops.attention import Options

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
FORMS = ["torch", "reference", pytest.param("cpp", marks=needs_native)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.5, "window_size": (3, 0), "softcap": 2.0, "enable_gqa": True},
        {"alignment": "upper_left"},
    ],
    ids=["plain", "flags", "upper_left"],
)
def test_every_form_gives_the_formula(form, options):
    tensors = problem(9, 13, key_heads=2 if options.get("enable_gqa") else 4)
    with gu.use(f"causal_attention={form}"), dispatch.ran() as log:
        ours = with_gradients(gu.causal_attention, tensors, **options)
    assert log == [("causal_attention", form)]
    torch.testing.assert_close(ours, with_gradients(written_out, tensors, **options))


@needs_native
def test_kernel_and_reference_drop_the_same_weights():
    tensors = problem(20, 20)
    results = []
    for form in ("cpp", "reference"):
        torch.manual_seed(5)
        with gu.use(f"causal_attention={form}"):
            results.append(with_gradients(gu.causal_attention, tensors, dropout_p=0.4))
    torch.testing.assert_close(*results)


@needs_native
def test_dropout_follows_torchs_seed_and_changes_from_call_to_call():
    tensors = problem(20, 20)
    torch.manual_seed(5)
    first, second = (gu.causal_attention(*tensors, dropout_p=0.4) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(gu.causal_attention(*tensors, dropout_p=0.4), first)
    assert not torch.equal(second, first)


@needs_native
def test_checkpointing_drops_the_same_weights_again():
    tensors = problem(20, 20)
    plain = with_gradients(gu.causal_attention, (torch.manual_seed(3), tensors)[1], dropout_p=0.4)
    torch.manual_seed(3)
    again = with_gradients(
        lambda *t: checkpoint(gu.causal_attention, *t, dropout_p=0.4, use_reentrant=False), tensors
    )
    assert all(torch.equal(a, b) for a, b in zip(again, plain, strict=True))


@needs_native
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_other_dtypes_go_to_torch_and_a_forced_kernel_says_why_not(dtype):
    tensors = problem(dtype=dtype)
    with dispatch.ran() as log:
        assert gu.causal_attention(*tensors).dtype is dtype
    assert log == [("causal_attention", "torch")]
    with (
        gu.use("causal_attention=cpp"),
        pytest.raises(RuntimeError, match=f"takes float32 and bfloat16, and query is {dtype}"),
    ):
        gu.causal_attention(*tensors)


@needs_native
@pytest.mark.parametrize("n_queries", [1, 3, 4, 5])
def test_few_queries_take_the_decoders_kernel_and_give_the_formula(n_queries):
    tensors = problem(n_queries, 300, key_heads=2)
    options = {"enable_gqa": True, "window_size": (270, 0), "softcap": 3.0}
    with dispatch.ran() as log:
        ours = with_gradients(gu.causal_attention, tensors, **options)
    assert log == [("causal_attention", "cpp")]
    torch.testing.assert_close(ours, with_gradients(written_out, tensors, **options))


@needs_native
@pytest.mark.parametrize("forward", ["contiguous", "by time", "last dimension strided", "expanded"])
def test_layouts_give_what_a_contiguous_copy_gives(forward):
    layouts = {
        "contiguous": lambda t: t,
        "by time": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
        "last dimension strided": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": lambda t: t[:1, :1].expand(2, 4, -1, -1),
    }
    plain = problem(12, 12)
    if forward == "expanded":
        plain = tuple(t.detach()[:1, :1].repeat(2, 4, 1, 1).requires_grad_() for t in plain)
    tensors = tuple(layouts[forward](t.detach()).requires_grad_() for t in plain)
    ours = with_gradients(gu.causal_attention, tensors, torch.ones(1).expand(2, 4, 12, 8))
    assert all(
        torch.equal(a, b)
        for a, b in zip(ours, with_gradients(gu.causal_attention, plain), strict=True)
    )


@needs_native
def test_heads_side_by_side_again_are_free_of_a_copy():
    out = gu.causal_attention(*problem())
    assert out.transpose(1, 2).is_contiguous()


@needs_native
def test_a_second_derivative_raises_and_never_returns_a_number():
    tensors = problem()
    out = gu.causal_attention(*tensors)
    gradients = torch.autograd.grad(out.square().sum(), tensors, create_graph=True)
    with pytest.raises(RuntimeError, match="causal_attention cannot be differentiated twice"):
        torch.autograd.grad(gradients[0].sum(), tensors)
    with gu.use("causal_attention=torch"):
        torch.autograd.gradgradcheck(
            lambda q, k, v: gu.causal_attention(q, k, v, softcap=2.0),
            problem(3, 3, torch.float64, heads=1, key_heads=1, width=2),
        )


@needs_native
def test_transforms_and_tangents_raise_a_sentence():
    tensors = tuple(t.detach() for t in problem())
    with pytest.raises(RuntimeError, match=r"causal_attention does not run inside torch\.func"):
        torch.vmap(gu.causal_attention)(*(t[None] for t in tensors))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(tensors[0], tensors[0])
        with pytest.raises(RuntimeError, match="has no forward-mode derivative and query carries"):
            gu.causal_attention(dual, *tensors[1:])


@needs_native
def test_a_change_between_forward_and_backward_raises():
    tensors = problem()
    out = gu.causal_attention(*(2 * t for t in tensors))
    with torch.no_grad():
        out.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@needs_native
def test_only_what_needs_a_gradient_gets_one():
    query, key, value = problem()
    gu.causal_attention(query.detach(), key.detach(), value).sum().backward()
    assert value.grad is not None
    assert not gu.causal_attention(query.detach(), key.detach(), value.detach()).requires_grad


@needs_native
@pytest.mark.parametrize("dropped", [False, True])
def test_opcheck_is_clean(dropped):
    query, key, value = problem(6, 9, key_heads=2)
    seed = torch.tensor([3, 4]) if dropped else None
    options = Options(0.4, 0.3 if dropped else 0.0, 3, 4, 2.0)
    operator = torch.ops.groundup.causal_attention.default
    opcheck(operator, (query, key, value, seed, *options))
    plain = [t.detach() for t in (query, key, value)]
    out, statistics = operator(*plain, seed, *options)
    opcheck(
        torch.ops.groundup.causal_attention_backward.default,
        (torch.ones_like(out), out, statistics, *plain, seed, *options),
    )


@needs_native
@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_fullgraph_runs_the_kernel_and_gives_the_eager_result(dropout_p):
    torch._dynamo.reset()
    tensors = problem(10, 10)
    compiled = torch.compile(gu.causal_attention, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, gu.causal_attention):
        torch.manual_seed(2)
        with dispatch.ran() as log:
            results.append(with_gradients(function, tensors, dropout_p=dropout_p))
        assert ("causal_attention", "cpp") in log
    torch.testing.assert_close(*results)


@needs_native
def test_fake_and_meta_tensors_give_shapes():
    query, key, value = (t.detach() for t in problem(5, 9))
    meta = gu.causal_attention(query.to("meta"), key.to("meta"), value.to("meta")[..., :3])
    assert meta.shape == (2, 4, 5, 3)
    with FakeTensorMode() as mode:
        fake = gu.causal_attention(*(mode.from_tensor(t) for t in (query, key, value)))
    assert fake.stride() == gu.causal_attention(query, key, value).stride()


@needs_native
def test_autocast_runs_the_kernel_in_its_dtype():
    tensors = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16), dispatch.ran() as log:
        ours = with_gradients(gu.causal_attention, tensors)
    assert log == [("causal_attention", "cpp")]
    assert ours[0].dtype is torch.bfloat16
    assert ours[1].dtype is torch.float32
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        gu.use("causal_attention=cpp"),
        pytest.raises(RuntimeError, match="it takes one dtype, and got"),
    ):
        gu.causal_attention(tensors[0], tensors[1].double(), tensors[2])
