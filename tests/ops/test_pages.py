"""Large gradients lie in memory that the last one left; nobody sees it."""

import concurrent.futures
import copy
import io
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import groundup as gu
from groundup.ops import native
from groundup.ops.pages import empty_large

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))

SIZE = 40 << 20


@pytest.fixture(autouse=True)
def _buffers_as_users_have_them():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)


def address(pages):
    return np.frombuffer(pages, np.uint8).ctypes.data


def test_memory_of_about_the_size_is_taken_over_and_can_be_written_to_the_last_byte():
    first = native.core.Pages(SIZE)
    place = address(first)
    assert place % (2 << 20) == 0
    del first
    for size in (SIZE, SIZE - 5, SIZE // 2 + 1):
        again = native.core.Pages(size)
        assert address(again) == place
        memory = np.frombuffer(again, np.uint8)
        assert memory.size == size
        memory[:] = 7
        assert memory[-1] == 7
        del memory, again


def test_two_that_live_at_once_share_nothing():
    pages = [native.core.Pages(SIZE) for _ in range(3)]
    views = [np.frombuffer(each, np.uint8) for each in pages]
    for number, view in enumerate(views):
        view[:] = number
    assert [int(view.max()) for view in views] == [0, 1, 2]


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**64 - (1 << 21), 1 << 62])
def test_a_size_that_cannot_be_had_is_a_memory_error(size):
    with pytest.raises(MemoryError):
        native.core.Pages(size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_gradient_is_right_when_its_memory_was_used_before(dtype):
    logits = torch.randn(700, 25013).to(dtype).requires_grad_()
    target = torch.randint(0, 25013, (700,))
    F.cross_entropy(logits.float(), target).backward()
    expected, logits.grad = logits.grad, None
    kept = []
    for _ in range(3):
        gu.cross_entropy(logits, target).backward()
        torch.testing.assert_close(logits.grad, expected)
        assert logits.grad._base is None
        kept, logits.grad = [*kept[-1:], logits.grad], None
    torch.testing.assert_close(kept[0], expected)  # the next one did not write over it


def test_a_large_gradient_is_born_nan_where_torchs_own_tensors_are():
    torch.use_deterministic_algorithms(True)
    assert empty_large(torch.zeros(1025, 8192)).isnan().all()


def test_threads_do_not_share_a_buffer():
    def fill(number):
        for _ in range(5):
            view = np.frombuffer(native.core.Pages(SIZE), np.uint8)
            view[::4096] = number
            if (view[::4096] != number).any():
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(4)))


MIB = 1 << 20


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("new"), st.sampled_from([MIB, 3 * MIB, 4 * MIB, 4 * MIB + 1, 7 * MIB])
            ),
            st.tuples(st.sampled_from(["drop", "drop all but a view"]), st.integers(0, 5)),
        ),
        max_size=25,
    )
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_alive_keeps_what_was_written_to_it(steps):
    """A model of who owns what: each live view must find its own number in every page."""
    live = []  # [pages or None, view, number]
    for number, (what, argument) in enumerate(steps):
        if what == "new":
            pages = native.core.Pages(argument)
            view = np.frombuffer(pages, np.uint8)[::1024]
            view[:] = number
            live.append([pages, view, number])
        elif live:
            place = argument % len(live)
            if what == "drop":
                del live[place]
            else:
                live[place][0] = None
        pages = view = None  # `live` alone holds them
        assert all((each == written).all() for _, each, written in live)


@pytest.mark.parametrize(
    "view",
    [
        lambda tensor: tensor[3:],
        lambda tensor: tensor.detach().view(-1),
        lambda tensor: torch.from_numpy(tensor.numpy()),
        lambda tensor: torch.from_dlpack(torch.utils.dlpack.to_dlpack(tensor)),
        lambda tensor: torch.empty(0).set_(tensor.untyped_storage(), 0, tensor.shape),
    ],
    ids=["part", "flat", "numpy", "dlpack", "storage"],
)
def test_a_view_that_the_user_keeps_outlives_the_tensor(view):
    tensor = empty_large(torch.empty(1025, 8192)).fill_(1)
    place, kept = tensor.data_ptr(), view(tensor)
    del tensor
    assert empty_large(torch.empty(1025, 8192)).fill_(2).data_ptr() != place
    assert (kept == 1).all()


def test_copies_and_what_was_saved_are_ones_own_memory():
    tensor = empty_large(torch.empty(1025, 8192)).fill_(1)
    saved = io.BytesIO()
    torch.save(tensor, saved)
    copies = [copy.deepcopy(tensor), tensor.clone(), pickle.loads(pickle.dumps(tensor))]  # noqa: S301
    saved.seek(0)
    copies.append(torch.load(saved))
    del tensor
    empty_large(torch.empty(1025, 8192)).fill_(2)
    assert all((each == 1).all() for each in copies)


def test_a_gradient_that_moves_to_shared_memory_leaves_its_own_to_the_next():
    tensor = empty_large(torch.empty(1025, 8192)).fill_(1)
    place = tensor.data_ptr()
    tensor.share_memory_()
    assert empty_large(tensor).fill_(2).data_ptr() == place
    assert tensor.is_shared()
    assert (tensor == 1).all()


def test_a_gradient_cannot_grow_and_can_shrink_in_place():
    tensor = empty_large(torch.empty(1025, 8192)).fill_(1)
    with pytest.raises(RuntimeError, match="not resizable"):
        tensor.untyped_storage().resize_(2 * tensor.nbytes)
    tensor.resize_(4, 5)
    empty_large(torch.empty(1025, 8192)).fill_(2)
    assert (tensor == 1).all()


def test_a_gradient_is_real_whatever_the_default_device_and_mode():
    like = torch.empty(1025, 8192)
    with torch.device("meta"):
        assert empty_large(like).fill_(3).sum() > 0
    with torch.inference_mode():
        assert empty_large(like).fill_(3).is_inference()


def test_an_error_half_way_gives_nothing_away():
    held = native.core.Pages(SIZE)
    np.frombuffer(held, np.uint8)[:] = 1
    with pytest.raises(MemoryError):
        native.core.Pages(1 << 62)
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        native.core.Pages(-1)
    held.__init__(2 * SIZE)  # nothing: it keeps the memory that its views look at
    other = np.frombuffer(native.core.Pages(SIZE), np.uint8)
    other[:] = 2
    assert memoryview(held).nbytes == SIZE
    assert (np.frombuffer(held, np.uint8) == 1).all()


def test_a_forked_child_and_its_parent_do_not_see_each_others_bytes():
    kept = np.frombuffer(native.core.Pages(SIZE), np.uint8)
    kept[:] = 1
    native.core.Pages(SIZE)  # and one at rest, which both inherit
    child = os.fork()
    if child == 0:
        status = 1
        try:
            inherited = kept
            taken = np.frombuffer(native.core.Pages(SIZE), np.uint8)
            taken[:] = 2
            fine = bool((inherited == 1).all())
            inherited[:] = 3
            del kept, inherited
            again = np.frombuffer(native.core.Pages(SIZE), np.uint8)
            again[:] = 4
            status = 0 if fine and (taken == 2).all() else 1
        finally:
            os._exit(status)
    own = np.frombuffer(native.core.Pages(SIZE), np.uint8)
    own[:] = 5
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (kept == 1).all()
    assert (own == 5).all()


def test_pages_are_not_copied_or_pickled_and_must_be_made_by_calling_them():
    pages = native.core.Pages(SIZE)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            way(pages)
    hollow = native.core.Pages.__new__(native.core.Pages)
    with pytest.raises(BufferError, match="Pages: expected one made by calling it, got one from"):
        memoryview(hollow)

    class Hollow(native.core.Pages):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"__init__\(\) must be called"):
        Hollow()
