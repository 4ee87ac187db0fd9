"""What the model is worth: its surprise at held-out text beside a bigram's, and its own text."""

from dataclasses import dataclass

import numpy as np
import torch

from groundup.data.batches import even_windows, windows_at
from groundup.data.prepare import END_OF_TEXT
from groundup.data.shards import Tokens
from groundup.evaluate.bigram import fit_bigram
from groundup.evaluate.loss import validation_loss
from groundup.generate.text import stream_text
from groundup.models import GPT
from groundup.tokenizer import Tokenizer

_WINDOWS = 2_000


@dataclass(frozen=True)
class Verdict:
    """Nats per held-out token, of both on the same targets; the bigram's weight of pair counts."""

    model: float
    bigram: float
    weight: float
    n_targets: int

    @property
    def beaten(self) -> bool:
        return self.model < self.bigram


def judge(model: GPT, training: Tokens, validation: Tokens) -> Verdict:
    """Score the model and a bigram of the training tokens on the same held-out targets.

    The bigram always knows the token before; the model begins each window with one token only.
    """
    block_size = model.config.n_positions
    loss = validation_loss(model, validation, block_size, batch_size=64, n_windows=_WINDOWS)
    bigram = fit_bigram(training.read(0, len(training)), training.vocab_size)
    starts = even_windows(validation, block_size, _WINDOWS)
    ids, targets = windows_at(validation, starts, block_size)
    surprise = -np.log(bigram.probability(ids.numpy(), targets.numpy()))
    return Verdict(loss, float(surprise.mean()), bigram.weight, targets.numel())


def held_out_prompt(validation: Tokens, tokenizer: Tokenizer, words: int = 4) -> str:
    """The first words of the first held-out document whose first line has so many."""
    text = tokenizer.decode(validation.read(0, min(len(validation), 200_000)))
    for document in text.split(END_OF_TEXT):
        first = document.lstrip('"#! \n').split("\n")[0].split()
        if len(first) >= words:
            return " ".join(first[:words])
    return "\n"


def sample(model: GPT, tokenizer: Tokenizer, prompt: str, seed: int, tokens: int = 240) -> str:
    """The prompt and what the model says after it, until it ends the text or has said so much."""
    generator = torch.Generator().manual_seed(seed)
    pieces = stream_text(
        model, tokenizer, prompt, tokens, temperature=0.8, top_k=50, generator=generator
    )
    return prompt + "".join(pieces)
