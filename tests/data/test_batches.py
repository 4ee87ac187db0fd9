"""A batch is a function of seed and number; an epoch sees every window once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.batches import Batches, even_windows, windows_at
from groundup.data.shards import Tokens, write_shard


@pytest.fixture(scope="module")
def tokens_of(tmp_path_factory):
    def make(n: int) -> Tokens:
        path = tmp_path_factory.mktemp("tokens") / "a"
        write_shard(path, np.arange(n), vocab_size=70_000)
        return Tokens([path])

    return make


def test_targets_are_the_inputs_one_token_on(tokens_of):
    ids, targets = Batches(tokens_of(1000), 5, 8, seed=0).batch(3)
    assert ids.shape == targets.shape == (5, 8)
    assert ids.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, ids + 1)  # the tokens count upwards


def test_batches_are_the_same_in_any_order_and_process(tokens_of):
    tokens = tokens_of(500)
    forward, backward = Batches(tokens, 4, 8, seed=3), Batches(tokens, 4, 8, seed=3)
    numbers = range(60)
    seen = [forward.batch(number)[0] for number in numbers]
    for number in reversed(numbers):
        assert torch.equal(backward.batch(number)[0], seen[number])


def test_seeds_differ(tokens_of):
    tokens = tokens_of(5000)
    assert not torch.equal(
        Batches(tokens, 4, 8, 1).batch(0)[0], Batches(tokens, 4, 8, 2).batch(0)[0]
    )


@settings(max_examples=30, deadline=None)
@given(n=st.integers(10, 400), block=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_sees_every_window_once_and_epochs_differ(tokens_of, n, block, seed):
    batches = Batches(tokens_of(n), 1, block, seed)
    per_epoch = batches.windows_per_epoch
    assert per_epoch >= max(1, (n - 1) // block - 1)
    for epoch in range(3):
        starts = [
            batches.batch(number)[0][0, 0].item()
            for number in range(epoch * per_epoch, (epoch + 1) * per_epoch)
        ]
        gaps = np.diff(sorted(starts))
        assert (gaps == block).all()
        assert min(starts) >= 0
        assert max(starts) + block + 1 <= n


def test_epochs_are_shuffled_anew(tokens_of):
    batches = Batches(tokens_of(801), 1, 8, seed=0)
    n = batches.windows_per_epoch
    order = [batches.batch(number)[0][0, 0].item() for number in range(2 * n)]
    assert order[:n] != sorted(order[:n])
    assert np.argsort(order[:n]).tolist() != np.argsort(order[n:]).tolist()


def test_too_few_tokens_are_told(tokens_of):
    assert Batches(tokens_of(9), 3, 8, 0).batch(7)[0].shape == (3, 8)
    with pytest.raises(ValueError, match=r"expected at least block_size \+ 1 = 9, got 8"):
        Batches(tokens_of(8), 3, 8, 0)
    with pytest.raises(ValueError, match=r"block_size \+ 1 = 9 for evaluation, got 8"):
        even_windows(tokens_of(8), 8, None)
    with pytest.raises(
        ValueError, match="batch_size and block_size: expected at least 1, got 0, 8"
    ):
        Batches(tokens_of(9), 0, 8, 0)


@pytest.mark.parametrize(("n_windows", "expected"), [(None, 12), (5, 5), (99, 12)])
def test_evaluation_windows_spread_over_all_tokens(tokens_of, n_windows, expected):
    tokens = tokens_of(100)
    starts = even_windows(tokens, 8, n_windows)
    assert len(set(starts.tolist())) == expected
    assert starts[0] == 0
    assert starts[-1] >= 60
    ids, targets = windows_at(tokens, starts, 8)
    assert ids[:, 0].tolist() == starts.tolist()
    assert torch.equal(targets, ids + 1)
