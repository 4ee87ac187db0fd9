"""The stations of the demo in their order, and what of each lands in the folder.

tokenizer.json    data/             the vocabulary and the shards
checkpoints/      metrics.jsonl     what training left, with TensorBoard's tensorboard/
loss.png          sample.txt        the curve beside the bigram's line, the model's own text
table.json        demo.json         the race, and everything that was measured
"""

import dataclasses
import json
import platform
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundup._files import write_atomic
from groundup._lock import only_run_in
from groundup._native import core
from groundup._version import __version__
from groundup.data.corpora import Document
from groundup.data.dataset import open_tokens
from groundup.data.prepare import prepare
from groundup.demo import race
from groundup.demo.judging import Verdict, held_out_prompt, judge, sample
from groundup.demo.learning import (
    LARGE_VOCAB_SIZE,
    VOCAB_SIZE,
    Learned,
    find_text,
    learn,
    telling_merges,
    texts_up_to,
)
from groundup.demo.place import MARK, check_place, claim, replace
from groundup.demo.screen import Screen
from groundup.demo.threads import fastest_threads
from groundup.demo.training import demo_config, draw_curve
from groundup.inspect.timing import readable_ratio, readable_seconds
from groundup.models import GPT
from groundup.tokenizer import Tokenizer
from groundup.train import TrainResult, train
from groundup.train.display import TrainDisplay
from groundup.train.run import model_config

_RACE_BYTES = 3_000_000


@dataclass(frozen=True)
class Wish:
    """What the demo is asked for; see `groundup demo --help`."""

    text: tuple[Path, ...]
    out: Path
    seconds: float
    seed: int
    prompt: str | None
    race_seconds: float


def tell(wish: Wish, screen: Screen) -> dict[str, Any]:
    """Run the demo. Returns what demo.json holds; its "beaten" says whether the bigram was.

    Raises ValueError for text or a folder that it cannot use, KeyboardInterrupt where Ctrl-C
    ended the training early.
    """
    begun = time.monotonic()
    documents, what = find_text(wish.text)  # first: unusable text must not cost an earlier run
    check_place(wish.out)
    with only_run_in(wish.out):
        place = claim(wish.out)
        screen.title(f"groundup {__version__}", _machine())
        if place != wish.out:
            screen.line(
                f"Replaces the earlier run in {wish.out}, once this one in {place.name} is done."
            )
        there = dataclasses.replace(wish, out=place)
        record: dict[str, Any] = {"groundup": __version__, "machine": _machine(), "finished": False}

        small, large = _tokenizer_station(there, documents, what, screen, record)
        result = _training_station(there, screen, record)
        model = GPT.from_pretrained(result.checkpoint)
        verdict = _verdict_station(there, model, small.tokenizer, screen, record)
        if wish.race_seconds > 0:
            texts = list(texts_up_to([document.text for document in documents], _RACE_BYTES))
            _race_station(there, texts, large.tokenizer, screen, record)

        record |= {"seconds": round(time.monotonic() - begun, 1), "finished": True}
        _write_json(place / MARK, record)
        if place != wish.out:
            replace(wish.out, place)
    screen.station("Done")
    screen.line(f"{record['seconds']:.0f} s in all; everything is in {wish.out}:")
    screen.line("  tokenizer.json  data/  checkpoints/  metrics.jsonl  loss.png  sample.txt")
    prompt = "" if wish.text else ' --prompt "import "'
    screen.line(f"Try: groundup sample {shlex.quote(str(wish.out))}{prompt}")
    if not verdict.beaten:
        screen.line("The model did NOT beat the bigram; give it more --seconds.", "bold red")
    return record


def _tokenizer_station(
    wish: Wish, documents: list[Document], what: str, screen: Screen, record: dict[str, Any]
) -> tuple[Learned, Learned]:
    screen.station("1  Text becomes tokens")
    texts = [document.text for document in documents]
    screen.line(what)
    with screen.waiting("learning a vocabulary"):
        small = learn(texts, VOCAB_SIZE)
    screen.line(small.sentence())
    if core() is None:
        screen.line("(by the plain-Python reference: the native engine is not built)", "yellow")
        large = small
    else:
        with screen.waiting("learning a larger vocabulary"):
            large = learn(texts, LARGE_VOCAB_SIZE)
        screen.line(large.sentence())
    merges = telling_merges(large.tokenizer, 5)
    screen.line("The longest words it learned, · for a space, and what they were merged from:")
    screen.table(
        ["token", "merged from", "times"],
        [(word, parts, f"{count:,}") for word, parts, count in merges],
        right=[2],
    )
    with screen.waiting("encoding"):
        prepared = prepare(documents, small.tokenizer, wish.out / "data")
    small.tokenizer.save(wish.out / "tokenizer.json")
    screen.line(
        f"{prepared.n_tokens['train']:,} tokens to train on; "
        f"{prepared.n_tokens['validation']:,} tokens of {prepared.n_documents['validation']:,} "
        "other documents to judge by"
    )
    record["text"] = {"bytes": prepared.n_bytes, "documents": len(documents)}
    record["tokens"] = prepared.n_tokens
    record["tokenizer"] = [
        {
            "vocab_size": learned.tokenizer.n_vocab,
            "seconds": learned.seconds,
            "bytes_per_second": learned.n_bytes / learned.seconds,
            "bytes_per_token": learned.bytes_per_token,
        }
        for learned in dict.fromkeys((small, large))
    ]
    record["merges"] = merges
    return small, large


def _training_station(wish: Wish, screen: Screen, record: dict[str, Any]) -> TrainResult:
    screen.station("2  Tokens become a model")
    config = demo_config(wish.out, wish.seconds, wish.seed)
    shape = model_config(config, open_tokens(config.data, "train"))
    with screen.waiting("trying thread counts"):
        threads = fastest_threads(shape, config.batch_size)
    config = dataclasses.replace(config, threads=threads)
    screen.line(
        f"GPT-2's architecture, {shape.n_layer} layers of {shape.n_embd}, for "
        f"{wish.seconds:.0f} s on {_count(threads, 'thread')}"
    )
    with TrainDisplay(screen.console) as display:
        result = train(config, overwrite=True, progress=display)
    if result.stopped == "interrupted":
        screen.line(f"Stopped at step {result.step:,}; its checkpoint is {result.checkpoint}.")
        raise KeyboardInterrupt
    screen.line(
        f"{result.n_parameters:,} parameters, {result.step:,} steps, "
        f"{result.tokens_per_second:,.0f} tokens/s; loss {result.loss:.2f} in training, "
        f"{result.validation_loss:.2f} in validation"
    )
    record["training"] = {
        **dataclasses.asdict(result),
        "checkpoint": str(result.checkpoint.relative_to(wish.out)),
        "threads": threads,
        "config": {k: v for k, v in config.to_mapping().items() if k not in ("data", "out")},
    }
    return result


def _verdict_station(
    wish: Wish, model: GPT, tokenizer: Tokenizer, screen: Screen, record: dict[str, Any]
) -> Verdict:
    screen.station("3  Is it any good?")
    training = open_tokens(wish.out / "data", "train")
    validation = open_tokens(wish.out / "data", "validation")
    with screen.waiting("judging"):
        verdict = judge(model, training, validation)
    screen.line(f"Surprise at {verdict.n_targets:,} held-out tokens, in nats a token:")
    better = verdict.bigram - verdict.model
    screen.table(
        ["", "nats"],
        [
            ("the model", f"{verdict.model:.3f}"),
            (
                f"interpolated bigram of the same training tokens, weight {verdict.weight:.3f}",
                f"{verdict.bigram:.3f}",
            ),
            ("better by" if verdict.beaten else "WORSE by", f"{abs(better):.3f}"),
        ],
        right=[1],
        bold=[2],
    )
    title = f"groundup demo: {record['training']['n_parameters']:,} parameters, "
    title += f"{wish.seconds:.0f} s on {_count(record['training']['threads'], 'thread')}"
    picture = draw_curve(wish.out, verdict.bigram, title)
    if picture is None:
        screen.line("No loss.png: matplotlib is not installed (pip install 'groundup[train]').")
    prompt = wish.prompt
    if prompt is None:
        prompt = held_out_prompt(validation, tokenizer)
        screen.line("It continues the beginning of a document that it has not seen:")
    with screen.waiting("writing"):
        text = sample(model, tokenizer, prompt, wish.seed)
    screen.quote(text)
    write_atomic(wish.out / "sample.txt", text.encode())
    record["verdict"] = {**dataclasses.asdict(verdict), "beaten": verdict.beaten}
    record["sample"] = {"prompt": prompt, "text": text}
    return verdict


def _race_station(
    wish: Wish, texts: list[str], large: Tokenizer, screen: Screen, record: dict[str, Any]
) -> None:
    screen.station("4  How fast was that?")
    screen.line(
        "The same work by groundup (bold) and by others, in turns: medians of this run on this "
        "machine, and by how much groundup was faster."
    )
    config = model_config(
        demo_config(wish.out, wish.seconds, wish.seed), open_tokens(wish.out / "data", "train")
    )
    with screen.waiting("racing, and compiling torch's side"):
        torch.manual_seed(wish.seed)
        threads = torch.get_num_threads()
        torch.set_num_threads(record["training"]["threads"])
        try:
            entries = race.all_entries(
                texts,
                large,
                config,
                race.demo_batches(wish.out / "data", config.n_positions, wish.seed),
                wish.race_seconds,
            )
        finally:
            torch.set_num_threads(threads)
    rows: list[tuple[str, ...]] = []
    bold: list[int] = []
    for entry in entries:
        ours = entry.timings["groundup"]
        rows.append((entry.work, readable_seconds(ours.median), ""))
        bold.append(len(rows) - 1)
        for name, timing in entry.timings.items():
            if name != "groundup":
                faster = readable_ratio(timing.median / ours.median)
                rows.append((f"  {name}", readable_seconds(timing.median), faster))
        rows.extend((f"  {name}", "left out", "") for name in entry.absent)
        if entry.agreement:
            rows.append((f"  {'=' if entry.agrees else '!'} {entry.agreement}", "", ""))
    screen.table(["", "time", "faster by"], rows, right=[1, 2], bold=bold)
    reasons = {
        name.split(" of ")[0]: why for entry in entries for name, why in entry.absent.items()
    }
    for name, why in reasons.items():
        screen.line(f"{name}: {why}.")
    record["race"] = [entry.record() for entry in entries]
    _write_json(wish.out / "table.json", record["race"])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _machine() -> str:
    native = core()
    isa = native.isa() if native is not None else "no native core"
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{_count(torch.get_num_threads(), 'thread')}, {isa}"
    )


def _write_json(path: Path, content: Any) -> None:
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
