"""Large gradients lie in memory that the last one left; nobody sees it."""

import concurrent.futures

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import groundup as gu
from groundup.ops import native

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
    from groundup.ops.pages import empty_large

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
