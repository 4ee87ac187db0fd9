"""The same work by groundup and by others, in turns on this machine, and whether it was the same.

Each entry is timed for as many rounds as fit its share of time, at least seven, and says how many.
The figures are of this run alone; `groundup bench` measures at leisure and keeps records.
"""

import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import groundup as gu
from groundup.data.batches import Batches
from groundup.data.dataset import open_tokens
from groundup.demo.logits import LossOf, forward_and_backward
from groundup.demo.steps import (
    Step,
    Weights,
    can_compile,
    compiled_step,
    eager_step,
    groundup_step,
    strongest_step,
)
from groundup.inspect.timing import Contender, Timing, interleaved, ratio
from groundup.models import GPT, GPTConfig
from groundup.tokenizer import Tokenizer

LEAST_ROUNDS, MOST_ROUNDS = 7, 25


@dataclass(frozen=True)
class Entry:
    """One piece of work, by whom, in which time.

    agreement  what shows that all did the same work: "same ids as tiktoken"
    agrees     whether it was so
    absent     name -> why it did not run
    """

    work: str
    timings: Mapping[str, Timing]
    agreement: str
    agrees: bool
    absent: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        ours = self.timings["groundup"]
        return {
            "work": self.work,
            "rounds": len(ours.seconds),
            "contenders": {
                name: {
                    "median_s": timing.median,
                    "spread": round(timing.spread, 4),
                    "groundup_is_faster_by": ratio(ours, timing),
                }
                for name, timing in self.timings.items()
            },
            "agreement": self.agreement,
            "agrees": self.agrees,
            "absent": dict(self.absent),
        }


class CompileBudget:
    """Seconds that torch.compile may take in all; what it took last says whether more fits."""

    def __init__(self, seconds: float) -> None:
        self._left, self._last = seconds, 0.0
        self._why = "left out, compiling takes too long here"
        if not can_compile():
            self._left, self._why = 0.0, "left out, it needs a C++ compiler and there is none"

    def admits(self, times_the_last: float) -> bool:
        """Whether something so many times as large as the last would still be done in time."""
        return self._left > 0 and self._left >= times_the_last * self._last

    def spend(self, contender: Contender) -> None:
        """Let the contender compile, which its first run does."""
        start = time.perf_counter()
        if contender.prepare is not None:
            contender.prepare()
        contender.run()
        self._last = time.perf_counter() - start
        self._left -= self._last

    @property
    def why(self) -> str:
        return self._why


def in_turns(contenders: Mapping[str, Contender], seconds: float) -> dict[str, Timing]:
    """`interleaved`, for as many rounds as fit in about so many seconds."""
    start = time.perf_counter()
    for contender in contenders.values():
        if contender.prepare is not None:
            contender.prepare()
        contender.run()
    one_round = time.perf_counter() - start
    rounds = int(seconds / max(one_round, 1e-6))
    return interleaved(contenders, max(LEAST_ROUNDS, min(MOST_ROUNDS, rounds)))


def race_training(texts: Sequence[str], vocab_size: int, seconds: float) -> Entry:
    """BPE training against Hugging Face tokenizers, by its own rule for ties."""
    n_bytes = sum(len(text.encode()) for text in texts)
    work = f"BPE training, {n_bytes / 1e6:.1f} MB to {vocab_size:,} tokens"

    def ours() -> Tokenizer:
        return Tokenizer.train(texts, vocab_size, pattern="gpt2", ties="huggingface")

    contenders = {"groundup": Contender(ours)}
    if importlib.util.find_spec("tokenizers") is None:
        absent = {"Hugging Face tokenizers": "not installed"}
        return Entry(work, in_turns(contenders, seconds), "", True, absent)
    import tokenizers as hf

    def theirs() -> Any:
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    contenders["Hugging Face tokenizers"] = Contender(theirs)
    timings = in_turns(contenders, seconds)
    same = _merges(ours().to_hf()) == _merges(theirs())
    agreement = "the same merges in the same order" if same else "merges differ"
    return Entry(work, timings, agreement, same)


def _merges(tokenizer: Any) -> list[Any]:
    merges: list[Any] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


def race_encoding(texts: Sequence[str], tokenizer: Tokenizer, seconds: float) -> Entry:
    """Encoding to arrays against tiktoken, with the same vocabulary, on one thread each."""
    n_bytes = sum(len(text.encode()) for text in texts)
    work = f"BPE encoding, {n_bytes / 1e6:.1f} MB, {tokenizer.n_vocab:,} tokens"

    def ours() -> list[Any]:
        return [tokenizer.encode_to_numpy(text, disallowed_special=()) for text in texts]

    contenders = {"groundup": Contender(ours)}
    if importlib.util.find_spec("tiktoken") is None:
        absent = {"tiktoken": "not installed"}
        return Entry(work, in_turns(contenders, seconds), "", True, absent)
    encoding = tokenizer.to_tiktoken()

    def theirs() -> list[Any]:
        return [encoding.encode_to_numpy(text, disallowed_special=()) for text in texts]

    contenders["tiktoken"] = Contender(theirs)
    timings = in_turns(contenders, seconds)
    same = all((a == b).all() for a, b in zip(ours(), theirs(), strict=True))
    return Entry(work, timings, "the same ids" if same else "ids differ", same)


def race_cross_entropy(
    n_rows: int, n_classes: int, seconds: float, compiling: CompileBudget
) -> Entry:
    """Forward and backward on float32 logits; ours in place, as the model calls it."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(n_rows, n_classes, generator=generator)
    target = torch.randint(n_classes, (n_rows,), generator=generator)
    losses: dict[str, float] = {}

    def contender(name: str, loss_of: LossOf) -> Contender:
        return forward_and_backward(loss_of, source, target, lambda x: losses.update({name: x}))

    contenders = {
        "groundup": contender("groundup", lambda x, y: gu.cross_entropy(x, y, inplace=True)),
        "torch eager": contender("torch eager", F.cross_entropy),
    }
    absent = {}
    if compiling.admits(1.5):
        contenders["torch.compile"] = contender("torch.compile", torch.compile(F.cross_entropy))
        compiling.spend(contenders["torch.compile"])
    else:
        absent["torch.compile"] = compiling.why
    timings = in_turns(contenders, seconds)
    apart = max(abs(loss - losses["torch eager"]) for loss in losses.values())
    agreement = f"losses within {apart:.0e} nats"
    work = f"cross-entropy and its gradient, ({n_rows}, {n_classes})"
    return Entry(work, timings, agreement, apart < 1e-4, absent)


def race_step(
    config: GPTConfig,
    batches: Sequence[tuple[Tensor, Tensor]],
    seconds: float,
    compiling: CompileBudget,
) -> Entry:
    """Whole training steps from the same weights; a contender's n-th step uses the n-th batch."""
    weights = GPT(config).state_dict()
    losses: dict[str, list[float]] = {}

    def contender(name: str, make: Callable[[GPTConfig, Weights], Step]) -> Contender:
        step, told = make(config, weights), losses.setdefault(name, [])

        def run() -> None:
            told.append(step(*batches[len(told) % len(batches)]))

        return Contender(run)

    makers = {
        "groundup": groundup_step,
        "torch eager, as people write it": eager_step,
        "torch eager, its best path": strongest_step,
    }
    contenders = {name: contender(name, make) for name, make in makers.items()}
    absent, compiled = {}, "torch.compile of its best path"
    if compiling.admits(3.0):
        contenders[compiled] = contender(compiled, compiled_step)
        compiling.spend(contenders[compiled])
    else:
        absent[compiled] = compiling.why
    timings = in_turns(contenders, seconds)
    steps = min(map(len, losses.values()))
    ours = losses["groundup"][:steps]
    apart = max(abs(a - b) for told in losses.values() for a, b in zip(ours, told, strict=False))
    agreement = f"losses of {steps} steps within {apart:.0e} nats"
    work = f"training step, {batches[0][0].numel()} tokens, forward to AdamW"
    return Entry(work, timings, agreement, apart < 1e-2, absent)


def demo_batches(data: Path, block_size: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """A few batches of the demo's own shards."""
    batches = Batches(open_tokens(data, "train"), 12, block_size, seed)
    return [
        (ids.contiguous(), targets.contiguous()) for ids, targets in map(batches.batch, range(16))
    ]


def all_entries(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    config: GPTConfig,
    batches: Sequence[tuple[Tensor, Tensor]],
    seconds: float,
) -> list[Entry]:
    """Every row of the demo's table, in about so many seconds and twice as many to compile."""
    ids, compiling = batches[0][0], CompileBudget(2 * seconds)
    return [
        race_training(texts, 8_192, 0.3 * seconds),
        race_encoding(texts, tokenizer, 0.2 * seconds),
        race_cross_entropy(ids.numel(), config.vocab_size, 0.1 * seconds, compiling),
        race_cross_entropy(1_024, 50_257, 0.2 * seconds, compiling),
        race_step(config, batches, 0.2 * seconds, compiling),
    ]
