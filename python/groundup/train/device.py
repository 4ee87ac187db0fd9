"""Where a run computes, with how many threads, and from which random numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from groundup.models.config import GPTConfig
from groundup.train.config import TrainConfig

# A float32 each of weight, gradient and AdamW's two moments.
_BYTES_PER_PARAMETER = 16


def named_device(name: str) -> torch.device:
    """What "cpu", "cuda" or "auto" means here; ValueError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda is not available to this torch; try device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def check_memory(model: GPTConfig, device: torch.device) -> None:
    """Raise ValueError for a model that cannot be trained in the device's memory.

    Before it is built: a machine that runs out of memory page by page hangs and then kills. What
    activations need comes on top and is found out by allocating.
    """
    needed = model.n_parameters * _BYTES_PER_PARAMETER
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"model: expected one that this machine's {there / 1e9:,.1f} GB of memory can train, "
            f"got {model.n_parameters:,} parameters, which need {needed / 1e9:,.1f} GB; make "
            "n_layer, n_embd, vocab_size or block_size smaller"
        )


@contextmanager
def own_randomness(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Seed torch and set its threads, and put the caller's back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def random_state(device: torch.device) -> dict[str, str]:
    """torch's generators in hex; the loop draws from no other."""
    state = {"cpu": torch.get_rng_state().numpy().tobytes().hex()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).numpy().tobytes().hex()
    return state


def set_random_state(state: dict[str, str], device: torch.device) -> None:
    """Put back what random_state returned; raises KeyError, ValueError or RuntimeError for else."""

    def tensor(text: str) -> torch.Tensor:
        return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

    torch.set_rng_state(tensor(state["cpu"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(tensor(state["cuda"]), device)
