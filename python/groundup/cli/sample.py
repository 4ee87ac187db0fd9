"""Continue a prompt with a trained model."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli._command import run


def main(args: list[str]) -> int:
    """`groundup sample`."""
    return run(args, sample, example='groundup sample runs/book --prompt "Once upon a time"')


def sample(
    model: Annotated[Path, tyro.conf.Positional] = Path("runs/train"),
    /,
    *,
    prompt: str = "",
    tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    tokenizer: Path | None = None,
    json: bool = False,
) -> int:
    """Print a prompt and what the model writes after it, as it writes it.

    Args:
        model: a run's folder, a checkpoint, or a folder with Hugging Face's gpt2
        prompt: the text to continue; empty begins a document
        tokens: at most how many tokens to write; the model may end the document sooner
        temperature: 0 takes the likeliest token, below 1 is careful, above 1 is wild
        top_k: draw from the k likeliest tokens only
        top_p: draw from the fewest tokens whose probability reaches p
        seed: of the draw; the same seed gives the same text
        tokenizer: tokenizer file; by default the one in the run's folder
        json: print prompt and text as one line of JSON at the end
    """
    import torch

    from groundup.generate.text import load, stream_text

    gpt, words = load(model, tokenizer)
    generator = torch.Generator()
    if seed is not None and not 0 <= seed < 1 << 64:
        raise ValueError(f"--seed: expected a whole number from 0 to 2**64 - 1, got {seed}")
    if seed is None:
        seed = generator.seed()
    generator.manual_seed(seed)
    pieces = stream_text(gpt, words, prompt, tokens, temperature, top_k, top_p, generator=generator)
    if json:
        print(json_format.dumps({"prompt": prompt, "text": "".join(pieces), "seed": seed}))
        return 0
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
