"""Text to tokenizer to GPT to text in a few minutes, with a table of speeds."""

import json
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli._command import run


def main(args: list[str]) -> int:
    """`groundup demo`."""
    return run(args, demo, example="groundup demo --text book.txt --out runs/book --seconds 60")


def demo(
    text: tuple[Path, ...] = (),
    out: Path = Path("runs/demo"),
    seconds: float = 100.0,
    seed: int = 1337,
    prompt: str | None = None,
    race_seconds: float = 30.0,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Turn text into a tokenizer, a trained GPT and generated text, and measure each of them.

    Trains a tokenizer natively, writes token shards, trains a small GPT, compares its held-out
    loss with an interpolated bigram of the same tokens, samples from it, and times each op and
    the whole training step against eager PyTorch and its best path. Exit code 1 where the model
    does not beat the bigram.

    Args:
        text: UTF-8 text files or folders of them; by default the Python library's own text.
        out: folder for everything it makes; an earlier demo there is replaced at the end.
        seconds: wall-clock time for training the model.
        seed: of weights, batches and the sample.
        prompt: what the model continues; by default the beginning of a held-out document.
        race_seconds: about how long to time groundup against others; 0 leaves that out.
        as_json: print what was measured as one line of JSON instead.
    """
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds: expected a positive number, got {seconds}")
    if not 0 <= race_seconds < float("inf"):
        raise ValueError(f"--race-seconds: expected 0 or more, got {race_seconds}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"--seed: expected a whole number from 0, got {seed}")
    from groundup.demo.screen import Screen
    from groundup.demo.story import Wish, tell

    record = tell(Wish(text, out, seconds, seed, prompt, race_seconds), Screen(quiet=as_json))
    if as_json:
        print(json.dumps(record))
    wrong = [entry["work"] for entry in record.get("race", ()) if not entry["agrees"]]
    return 0 if record["verdict"]["beaten"] and not wrong else 1
