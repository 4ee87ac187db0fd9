import pytest


@pytest.fixture
def threads():
    """torch.set_num_threads, undone afterwards."""
    import torch  # here, for the tokenizer's tests beside this need none

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
