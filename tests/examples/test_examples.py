"""Every example runs to its end and learns something."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.reference import gpt
from groundup.reference.layers import Linear

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHAKESPEARE = EXAMPLES / "shakespeare.py"  # hours, unless it is told to be small
SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "32", "--block", "16", "--steps", "60"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=[] if path.stem == "one_kernel" else pytest.mark.slow
        )
        for path in sorted(EXAMPLES.glob("*.py"))
    ],
)
def test_example_runs_and_its_loss_falls(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "data/tinyshakespeare/input.txt"
    text.parent.mkdir(parents=True)
    text.write_text("abcdefgh ijklm\n" * 400)
    done = subprocess.run(
        [sys.executable, path, *(SMALL if path == SHAKESPEARE else [])],
        cwd=tmp_path,
        env={**os.environ, "GROUNDUP_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(number) for number in re.findall(r"([\d.]+) nats", done.stdout)]
    assert losses[-1] < 0.7 * losses[0], done.stdout


def test_the_large_models_parts_are_the_references() -> None:
    spec = importlib.util.spec_from_file_location("shakespeare", SHAKESPEARE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    rng = np.random.default_rng(0)
    layers = [
        gpt.Block(
            gpt.Attention(16, 2, rng, bias=False), gpt.FeedForward(16, rng, activation="relu"), 16
        )
        for _ in range(2)
    ]
    ours = gpt.GPT(11, 8, 16, layers, rng, head=Linear(16, 11, rng))
    theirs = example.GPT(11, 8, 16, 2, 2).double().eval()
    theirs.load_state_dict(
        {
            name: torch.tensor(p.data.T if is_product(name) else p.data)
            for name, p in ours.named_parameters().items()
        }
    )
    ids = rng.integers(0, 11, (3, 8))
    np.testing.assert_allclose(
        theirs(torch.tensor(ids)).detach().numpy(), ours(ids).data, atol=1e-12
    )
    assert sum(p.numel() for p in theirs.parameters()) == ours.n_parameters()


def is_product(name: str) -> bool:
    """Whether a weight is of a linear layer, which torch keeps transposed."""
    return name.endswith("weight") and ("c_" in name or "head" in name)
