"""Buffers are born NaN in these tests, so that an output nobody wrote shows."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _buffers_born_nan():
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill
