"""Implementations by name: what is forced runs or raises, and what ran can be seen."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
import torch

import groundup as gu
from groundup.ops import dispatch, native

LOGITS = torch.linspace(-1, 1, 28).view(4, 7)
TARGET = torch.tensor([0, 1, 2, -100])
needs_native = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))


def which():
    with dispatch.ran() as log:
        gu.cross_entropy(LOGITS, TARGET)
    return log


@needs_native
def test_the_native_kernel_runs_by_default():
    assert which() == [("cross_entropy", "cpp")]


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_a_block_forces_and_takes_back(name):
    before = which()
    with gu.use(f"cross_entropy={name}"):
        assert which() == [("cross_entropy", name)]
    assert which() == before


def test_a_call_forces_until_it_is_undone():
    before = which()
    choice = gu.use("cross_entropy=reference")
    try:
        assert which() == [("cross_entropy", "reference")]
    finally:
        choice.undo()
    choice.undo()
    assert which() == before


def test_a_later_choice_goes_first_and_blocks_may_leave_in_any_order():
    first, second = gu.use("cross_entropy=reference"), gu.use("cross_entropy=torch")
    assert which() == [("cross_entropy", "torch")]
    first.undo()
    assert which() == [("cross_entropy", "torch")]
    second.undo()
    assert dispatch.forced == {}


def test_an_exception_takes_the_choice_back():
    with pytest.raises(ZeroDivisionError), gu.use("cross_entropy=torch"):
        _ = 1 / 0
    assert dispatch.forced == {}


def test_several_ops_in_one_choice():
    with gu.use("cross_entropy = torch, adamw=torch") as choice:
        assert dispatch.forced == {"cross_entropy": "torch", "adamw": "torch"}
        assert repr(choice) == "use('cross_entropy=torch,adamw=torch')"


def test_a_bare_name_applies_where_the_form_exists_and_lists_the_rest():
    with pytest.warns(dispatch.ImplementationWarning, match="no such implementation of") as seen:
        choice = gu.use("triton")
    with choice:
        having = {op for op, names in dispatch.IMPLEMENTATIONS.items() if "triton" in names}
        assert dispatch.forced == dict.fromkeys(having, "triton")
        assert set(choice.without) == set(dispatch.IMPLEMENTATIONS) - having
        assert "gelu" in choice.without
        assert all(op in str(seen[0].message) for op in choice.without)
        assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("torch", "reference"):
            with gu.use(name) as choice:
                assert choice.without == ()
                assert dispatch.forced == dict.fromkeys(dispatch.IMPLEMENTATIONS, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "implementation 'fast' does not exist; there are reference, cpp, cuda, triton"),
        ("softmax=cpp", "op 'softmax' does not exist; there are cross_entropy, causal_attention"),
        ("gelu=triton", "gelu has no implementation 'triton'; it has cpp, torch, reference"),
        (
            "cross_entropy=",
            "cross_entropy has no implementation ''; it has cpp, torch, cuda, triton",
        ),
    ],
)
def test_unknown_names_raise_with_the_list(text, message):
    with pytest.raises(ValueError, match=message):
        gu.use(text)
    assert dispatch.forced == {}


@needs_native
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_forced_kernel_that_cannot_run_raises_why(dtype):
    message = (
        r"cross_entropy=cpp is forced through groundup.use or GROUNDUP_IMPL and cannot run: it "
        rf"takes float32 and bfloat16, and input is {dtype}"
    )
    with gu.use("cross_entropy=cpp"), pytest.raises(RuntimeError, match=message):
        gu.cross_entropy(LOGITS.to(dtype), TARGET)


META, Q = LOGITS.to("meta"), torch.zeros(1, 2, 3, 4, device="meta")
REFERENCES = {
    "cross_entropy": lambda: gu.cross_entropy(META, TARGET.to("meta")),
    "causal_attention": lambda: gu.causal_attention(Q, Q, Q),
    "causal_attention_varlen": lambda: gu.causal_attention_varlen(
        Q[0], Q[0], Q[0], torch.tensor([0, 2])
    ),
    "decode_attention": lambda: gu.decode_attention(Q, Q, Q),
    "layer_norm": lambda: gu.layer_norm(META, 7),
    "gelu": lambda: gu.gelu(META),
    "linear": lambda: gu.linear(META, META),
}


def test_every_op_has_a_reference():
    having = {op for op, names in dispatch.IMPLEMENTATIONS.items() if "reference" in names}
    assert having == set(dispatch.IMPLEMENTATIONS) == {*REFERENCES, "adamw"}


@pytest.mark.parametrize("op", REFERENCES)
def test_the_reference_raises_where_it_cannot_see_values(op):
    message = rf"^{op}=reference is forced .* cannot run: it computes with NumPy"
    with gu.use(f"{op}=reference"), pytest.raises(RuntimeError, match=message):
        REFERENCES[op]()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: gu.cross_entropy(t, torch.zeros(3, dtype=torch.int64)),
        lambda t: gu.causal_attention(*[t.view(1, 1, 3, 5)] * 3),
        lambda t: gu.causal_attention_varlen(*[t.view(3, 1, 5)] * 3, torch.tensor([0, 3])),
        lambda t: gu.decode_attention(*[t.view(1, 1, 3, 5)] * 3),
        lambda t: gu.layer_norm(t, 5),
        gu.gelu,
        lambda t: gu.linear(t, torch.zeros(4, 5)),
    ],
)
def test_the_reference_reads_no_memory_that_was_released(call):
    released = torch.zeros(3, 5)
    released.untyped_storage().resize_(0)
    with gu.use("reference"), pytest.raises(ValueError, match="expected a tensor with memory"):
        call(released)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


REPORT = """
    import torch, groundup as gu
    from groundup.ops import dispatch
    with dispatch.ran() as log:
        loss = gu.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 1]))
    print(log, round(loss.item(), 4))
"""


@pytest.mark.parametrize("text", ["cross_entropy=reference", "reference"])
def test_the_environment_forces(text):
    done = run_python(REPORT, GROUNDUP_IMPL=text)
    assert done.stdout.strip() == "[('cross_entropy', 'reference')] 1.3863", done.stderr
    assert "no such implementation of" not in done.stderr


def test_a_wrong_environment_raises_and_names_the_variable():
    done = run_python(REPORT, GROUNDUP_IMPL="fast")
    assert "ValueError: GROUNDUP_IMPL=fast: implementation 'fast' does not exist" in done.stderr


def test_without_the_native_core_ops_run_on_torch_and_warn_once():
    code = """
        import sys, warnings
        sys.modules["groundup._C"] = None
        import torch, groundup as gu
        from groundup.ops import dispatch
        logits, target = torch.zeros(2, 4, requires_grad=True), torch.tensor([0, 1])
        with warnings.catch_warnings(record=True) as seen, dispatch.ran() as log:
            warnings.simplefilter("always")
            for inplace in (False, True, False):
                gu.cross_entropy(logits * 1, target, inplace=inplace).backward()
        assert log == 3 * [("cross_entropy", "torch")], log
        assert len(seen) == 1, seen
        print(seen[0].message)
        try:
            with gu.use("cross_entropy=cpp"):
                gu.cross_entropy(logits, target)
        except RuntimeError as error:
            print(error)
        with gu.use("cross_entropy=reference"):
            print(round(gu.cross_entropy(logits, target).item(), 4))
    """
    done = run_python(code)
    warning, refusal, reference = done.stdout.splitlines() or [done.stderr] * 3
    assert "groundup ops run on torch, without the native core: groundup._C cannot be" in warning
    assert "install a C++ compiler" in warning
    assert "cross_entropy=cpp is forced" in refusal
    assert reference == "1.3863"


def test_without_the_native_core_a_first_call_under_compile_warns_too():
    code = """
        import sys
        sys.modules["groundup._C"] = None
        import torch, groundup as gu
        function = torch.compile(gu.cross_entropy, fullgraph=True, backend="aot_eager")
        for rows in (2, 3, 4):
            print(round(function(torch.zeros(rows, 4), torch.zeros(rows).long()).item(), 4))
    """
    done = run_python(code)
    assert done.stdout.split() == ["1.3863"] * 3, done.stderr
    assert done.stderr.count("groundup ops run on torch") == 1


def test_eight_threads_on_one_op_agree():
    logits = torch.randn(64, 501)
    target = torch.randint(0, 501, (64,))

    def once(_):
        leaf = logits.clone().requires_grad_()
        loss = gu.cross_entropy(leaf * 1, target, inplace=True)
        loss.backward()
        return loss.detach(), leaf.grad

    expected = once(0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result in pool.map(once, range(64)):
            torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_threads_with_blocks_of_their_own_leave_nothing_forced():
    start = threading.Barrier(8)

    def enter(_):
        start.wait()
        for _ in range(50):
            with gu.use("cross_entropy=torch"):
                gu.cross_entropy(LOGITS, TARGET)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(8)))
    assert dispatch.forced == {}


def _forked(queue, logits, target):
    # torch's own parallel loops, as the fill of new buffers, hang in a forked child.
    torch.use_deterministic_algorithms(False)
    leaf = logits.requires_grad_()
    loss = gu.cross_entropy(leaf, target)
    loss.backward()
    queue.put((loss.item(), float(abs(leaf.grad.numpy().sum(1)).max())))


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_returns():
    logits, target = torch.randn(256, 1024), torch.randint(0, 1024, (256,))
    expected = gu.cross_entropy(logits, target).item()  # a parallel region before the fork
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_forked, args=(queue, logits, target))
    child.start()
    child.join(60)
    alive = child.is_alive()
    if alive:
        child.kill()
    assert not alive, "the forked child hangs"
    loss, row_sum = queue.get()
    assert loss == pytest.approx(expected, rel=1e-6)
    assert row_sum < 1e-6
