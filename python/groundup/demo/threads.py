"""How many threads a small model trains fastest on, which is not always all of them.

A step of the demo's model is a hundred short parallel regions. On a machine that is busy with
something else, or in a container whose share of the processor is smaller than its number of
cores, each region waits for the thread that is not running: one thread can be eight times faster
than two. So a few steps are tried before the training, and their fastest time decides.
"""

import time

import torch

from groundup.demo.steps import groundup_step
from groundup.models import GPT, GPTConfig

_STEPS = 4
_PATIENCE_SECONDS = 3.0


def fastest_threads(config: GPTConfig, batch_size: int) -> int:
    """torch's thread count, or a power of two below it that steps are at least a tenth faster on.

    Takes about a second; leaves torch's thread count and random state as they were.
    """
    usable = torch.get_num_threads()
    best, best_seconds = usable, _seconds_per_step(config, batch_size, usable)
    for threads in sorted({1 << power for power in range(usable.bit_length())} - {usable}):
        seconds = _seconds_per_step(config, batch_size, threads)
        if seconds < 0.9 * best_seconds:
            best, best_seconds = threads, seconds
    return best


def _seconds_per_step(config: GPTConfig, batch_size: int, threads: int) -> float:
    """The median of a few steps, the first of which is not counted."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        step = groundup_step(config, GPT(config).state_dict())
        ids = torch.randint(config.vocab_size, (batch_size, config.n_positions))
        torch.set_num_threads(threads)
        try:
            step(ids, ids)
            seconds: list[float] = []
            begun = time.perf_counter()
            while len(seconds) < _STEPS and time.perf_counter() - begun < _PATIENCE_SECONDS:
                start = time.perf_counter()
                step(ids, ids)
                seconds.append(time.perf_counter() - start)
        finally:
            torch.set_num_threads(before)
    return sorted(seconds)[len(seconds) // 2]
