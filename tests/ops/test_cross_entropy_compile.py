"""cross_entropy as a registered operator: opcheck, torch.compile, export."""

import pytest
import torch
from ops.cross_entropy_cases import FLAGS, loss_and_gradient
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

import groundup as gu
from groundup.ops import dispatch, native

needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def problem(n_rows=6, n_classes=11):
    target = torch.randint(0, n_classes, (n_rows,))
    target[0] = -100
    return torch.randn(n_rows, n_classes), target


def compiled(backend="aot_eager", **options):
    counter = CompileCounterWithBackend(backend)

    def function(logits, target, weight=None):
        return gu.cross_entropy(logits * 2, target, weight, **options)

    return torch.compile(function, fullgraph=True, backend=counter), counter


@needs_native
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck_is_clean(reduction, weighted):
    logits, target = problem()
    arguments = (target, torch.rand(11) if weighted else None, -100, reduction, 0.1, 1e-3, 3.0)
    operator = torch.ops.groundup.cross_entropy.default
    opcheck(operator, (logits.clone().requires_grad_(), *arguments))
    loss, statistics = operator(logits, *arguments)
    opcheck(
        torch.ops.groundup.cross_entropy_backward.default,
        (torch.ones_like(loss), statistics, logits, *arguments),
    )


def test_opcheck_of_the_target_check_is_clean():
    opcheck(torch.ops.groundup.checked_target.default, (problem()[1], 11, -100))


@pytest.mark.parametrize("implementation", dispatch.IMPLEMENTATIONS["cross_entropy"][:2])
@pytest.mark.parametrize("inplace", [False, True], ids=["out_of_place", "in_place"])
@pytest.mark.parametrize("flags", [FLAGS["plain"], FLAGS["everything"]], ids=["plain", "flags"])
def test_fullgraph_gives_the_eager_result(implementation, inplace, flags):
    if implementation == "cpp" and native.missing:
        pytest.skip(native.missing)
    logits, target = problem()
    function, _ = compiled(inplace=inplace, **flags)
    with gu.use(f"cross_entropy={implementation}"), dispatch.ran() as log:
        result = loss_and_gradient(function, logits, target)
        kernels = list(log)
        eager = loss_and_gradient(
            lambda x, t, w: gu.cross_entropy(x * 2, t, w, **flags), logits, target
        )
    assert kernels == ([("cross_entropy", "cpp")] if implementation == "cpp" else [])
    torch.testing.assert_close(result, eager)


@needs_native
def test_a_changing_batch_recompiles_at_most_once():
    function, counter = compiled()
    for n_rows in (8, 9, 17, 64, 33):
        logits, target = problem(n_rows)
        result = loss_and_gradient(function, logits, target)
        eager = loss_and_gradient(lambda x, t, w: gu.cross_entropy(x * 2, t, w), logits, target)
        torch.testing.assert_close(result, eager)
    assert counter.frame_count <= 2


def test_a_forced_implementation_recompiles_and_going_back_does_not():
    function, counter = compiled()
    logits, target = problem()
    function(logits, target)
    frames = counter.frame_count
    with gu.use("cross_entropy=torch"), dispatch.ran() as log:
        function(logits, target)
    assert ("cross_entropy", "cpp") not in log
    assert counter.frame_count <= frames + 1
    frames = counter.frame_count
    function(logits, target)
    assert counter.frame_count == frames


@pytest.mark.parametrize("implementation", dispatch.IMPLEMENTATIONS["cross_entropy"][:2])
def test_a_bad_target_raises_from_a_compiled_graph(implementation):
    if implementation == "cpp" and native.missing:
        pytest.skip(native.missing)
    function, _ = compiled()
    logits, target = problem()
    target[3] = 11
    with (
        gu.use(f"cross_entropy={implementation}"),
        pytest.raises(IndexError, match="got 11 at row 3"),
    ):
        function(logits, target)


@needs_native
def test_export_keeps_the_operator():
    class Model(torch.nn.Module):
        def forward(self, logits, target):
            return gu.cross_entropy(logits, target)

    program = torch.export.export(Model(), problem())
    assert any("cross_entropy" in str(node.target) for node in program.graph.nodes)
    logits, target = problem()
    torch.testing.assert_close(program.module()(logits, target), gu.cross_entropy(logits, target))


@pytest.mark.slow
@needs_native
def test_inductor_gives_the_eager_result():
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        pytest.skip(str(error))
    function, counter = compiled("inductor")
    for n_rows in (8, 9, 17):
        logits, target = problem(n_rows)
        result = loss_and_gradient(function, logits, target)
        eager = loss_and_gradient(lambda x, t, w: gu.cross_entropy(x * 2, t, w), logits, target)
        torch.testing.assert_close(result, eager)
    assert counter.frame_count <= 2


@needs_native
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_a_jit_trace_records_the_operator_and_not_one_result(grad):
    logits, target = problem()
    traced = torch.jit.trace(gu.cross_entropy, (logits.detach().requires_grad_(grad), target))
    other = torch.randn_like(logits)
    torch.testing.assert_close(traced(other, target), gu.cross_entropy(other, target))
