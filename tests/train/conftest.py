"""A small dataset whose next token can be learnt, and a run that takes a second."""

from pathlib import Path

import numpy as np
import pytest

from groundup.data.dataset import DatasetWriter
from groundup.train import TrainConfig


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Documents that count upwards in steps of 1 to 3, modulo 61."""
    folder = tmp_path_factory.mktemp("dataset")
    random = np.random.default_rng(0)
    with DatasetWriter(folder, vocab_size=61, shard_tokens=3000) as writer:
        for document in range(40):
            ids = np.cumsum(random.integers(1, 4, 250)) % 61
            writer.add("validation" if document % 8 == 0 else "train", ids)
    return folder


@pytest.fixture
def config(dataset, tmp_path) -> TrainConfig:
    """Two layers of 32, dropout on, so that the random state matters."""
    return TrainConfig(
        data=dataset, out=tmp_path / "run", n_layer=2, n_embd=32, n_head=4, block_size=16,
        batch_size=8, steps=20, dropout=0.1, evaluate_every=5, checkpoint_every=5, log_every=1,
        threads=1,
    )  # fmt: skip
