"""Where a run computes, with how many threads, and from which random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from groundup.train.config import TrainConfig


def named_device(name: str) -> torch.device:
    """What "cpu", "cuda" or "auto" means here; ValueError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda is not available to this torch; try device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


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
