"""Train a GPT on token shards; Ctrl-C saves, --resume goes on."""

import argparse
import dataclasses
import json as json_format
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli._command import guard, run
from groundup.train.config import TrainConfig, read_config

_EXAMPLE = "groundup train --data data/book --out runs/book --steps 2000"


@dataclass(frozen=True)
class Arguments:
    """Train a GPT on the shards of a folder that `groundup prepare` wrote.

    Settings come, later ones winning, from the defaults, the checkpoint (with --resume), the
    --config file, and the command line.
    """

    settings: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes]
    config: Path | None = None  # TOML or YAML file of settings
    resume: bool = False  # go on from the newest checkpoint in --out
    overwrite: bool = False  # replace the run that --out holds
    stop_at: int | None = None  # stop after this step as Ctrl-C does, to go on another time
    json: bool = False  # print the result as one line of JSON on stdout


def main(args: list[str]) -> int:
    """`groundup train`."""
    base = TrainConfig()

    def read_base() -> None:
        nonlocal base
        base = _base(args)

    if code := guard(read_base, "groundup train"):
        return code

    return run(
        args,
        Arguments,
        name="train",
        description=" ".join((Arguments.__doc__ or "").split()),
        example=_EXAMPLE,
        default=Arguments(settings=base),
        then=_train,
    )


def _base(args: Sequence[str]) -> TrainConfig:
    """The settings under the command line's own: they are the defaults that --help shows."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--out", type=Path)
    early.add_argument("--resume", action="store_true")
    try:
        known, _ = early.parse_known_args(list(args))
    except argparse.ArgumentError:
        return TrainConfig()  # tyro sees the same fault and tells it
    base = TrainConfig()
    if known.config is not None:
        base = read_config(known.config)
    if known.resume and not {"-h", "--help"} & {*args}:
        base = _resumed(known.out or base.out)
        if known.config is not None:
            base = read_config(known.config, base)
    return base


def _resumed(out: Path) -> TrainConfig:
    from groundup.train import checkpoint

    path = checkpoint.of_run(out)
    state = checkpoint.read_state(path)
    settings = state.get("config")
    if not isinstance(settings, dict):
        raise ValueError(f"{path / checkpoint.STATE}: the file is damaged")
    config = TrainConfig().with_mapping(settings, str(path / checkpoint.STATE))
    if config.data.is_relative_to(config.out):  # the run's folder may have moved since
        config = dataclasses.replace(config, data=out / config.data.relative_to(config.out))
    return config


def _plain(value: object) -> object:
    """As JSON has it: it knows no NaN, which a run stopped before its first evaluation gives."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _train(arguments: Arguments) -> int:
    from rich.console import Console

    from groundup.train import train
    from groundup.train.display import TrainDisplay, clock

    console = Console(stderr=True)
    config = arguments.settings
    with TrainDisplay(console) as display:
        result = train(
            config,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            stop_at=arguments.stop_at,
            progress=display,
        )
    if arguments.json:
        plain = {name: _plain(value) for name, value in dataclasses.asdict(result).items()}
        print(json_format.dumps(plain))
    told = f"step {result.step:,} in {clock(result.elapsed_seconds)}, loss {result.loss:.4f}"
    out = shlex.quote(str(config.out))
    if result.stopped == "interrupted":
        lines = [
            f"Stopped at {told}; saved {result.checkpoint}.",
            f"Resume with: groundup train --resume --out {out}",
        ]
    else:
        lines = [
            f"Done: {told}, validation {result.validation_loss:.4f}; saved {result.checkpoint}.",
            f"Sample with: groundup sample {out}",
        ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    sys.stderr.flush()
    return 0
