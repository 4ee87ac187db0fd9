"""What a training run is told: a typed dataclass, from a TOML or YAML file or the command line."""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

# OpenMP ends the process when it cannot start as many threads as it was told.
_MOST_THREADS = 1024


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; the defaults train a small GPT within minutes on two cores.

    Within minutes width and many small steps learn more than depth and large batches, and a slow
    machine takes a few hundred steps only: a long rise of the learning rate is then worth more
    than anything else. docs/log.md has the figures.
    Raises ValueError for values out of range.
    """

    data: Path = Path("data")  # folder that `groundup prepare` wrote
    out: Path = Path("runs/train")  # folder for checkpoints and metrics

    n_layer: int = 2  # blocks
    n_head: int = 4  # attention heads
    n_embd: int = 256  # width, a multiple of n_head
    block_size: int = 64  # tokens the model sees at once
    dropout: float = 0.0  # of embeddings, attention weights and residual branches
    vocab_size: int | None = None  # rows of the embedding; None is the data's vocabulary

    batch_size: int = 12  # sequences per forward pass
    accumulation: int = 1  # forward passes per step
    steps: int | None = None  # None is 1,000, or without limit where there is a budget
    budget_seconds: float | None = None  # wall-clock time to train for
    learning_rate: float = 2e-3  # at its peak
    final_learning_rate: float = 0.1  # where the cosine ends, as a share of the peak
    warmup: float = 0.1  # share of the run over which the rate rises
    weight_decay: float = 0.1  # on matrices and embeddings only
    beta1: float = 0.9  # AdamW's memory of gradients
    beta2: float = 0.99  # AdamW's memory of their squares
    max_grad_norm: float = 1.0  # all gradients together are scaled down to this norm

    evaluate_every: int = 250  # steps between validation losses
    evaluate_windows: int | None = 256  # validation windows of block_size; None is all of them
    checkpoint_every: int = 500  # steps between checkpoints
    keep_checkpoints: int = 2  # how many of the newest stay
    log_every: int = 10  # steps between lines of metrics

    seed: int = 1337  # of weights, batches and dropout
    threads: int | None = None  # None is torch's choice; a bit-identical resume needs the same
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the matrix products; weights are float32
    compile: bool = False  # run the model through torch.compile
    tensorboard: bool = False  # write event files too (extra: groundup[train])

    def __post_init__(self) -> None:
        for name in (
            "n_layer", "n_head", "n_embd", "block_size", "batch_size", "accumulation",
            "evaluate_every", "checkpoint_every", "keep_checkpoints", "log_every",
        ):  # fmt: skip
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("steps", "vocab_size", "evaluate_windows", "threads"):
            value = getattr(self, name)
            self._require(name, value is None or value >= 1, "at least 1, or nothing")
        self._require(
            "threads", self.threads is None or self.threads <= _MOST_THREADS,
            f"at most {_MOST_THREADS:,}",
        )  # fmt: skip
        for name in ("learning_rate", "max_grad_norm"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a positive number")
        for name in ("dropout", "beta1", "beta2"):
            self._require(name, 0 <= getattr(self, name) < 1, "a number in [0, 1)")
        for name in ("final_learning_rate", "warmup"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a share in [0, 1]")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self._require("seed", 0 <= self.seed < 1 << 63, "a whole number from 0")
        budget = self.budget_seconds
        self._require("budget_seconds", budget is None or budget > 0, "a positive number")
        if self.n_embd % self.n_head:
            wider = self.n_embd + self.n_head - self.n_embd % self.n_head
            raise ValueError(
                f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}; "
                f"try {wider}"
            )

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)}")

    @property
    def last_step(self) -> int | None:
        """The step at which the run ends, or None where only the budget ends it."""
        if self.steps is None and self.budget_seconds is None:
            return 1000
        return self.steps

    def to_mapping(self) -> dict[str, Any]:
        """Names and plain values, as a file holds them; None is left out."""
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return {name: value for name, value in plain.items() if value is not None}

    def with_mapping(self, settings: Mapping[str, Any], source: str) -> "TrainConfig":
        """These settings, changed by `settings` as read from `source`.

        Raises ValueError for an unknown name, proposing a near one, or a value of a wrong type.
        """
        kinds = get_type_hints(type(self))
        changed = {}
        for name, value in settings.items():
            if name not in kinds:
                near = difflib.get_close_matches(str(name), kinds, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(kinds)}"
                raise ValueError(f"{source}: there is no setting {name!r}; {hint}")
            changed[name] = _typed(value, kinds[name], f"{source}: {name}")
        try:
            return replace(self, **changed)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error


def read_config(path: Path, base: TrainConfig | None = None) -> TrainConfig:
    """`base` (the defaults) with the settings of a .toml, .yaml or .yml file.

    The file is data: nothing in it is run. Raises FileNotFoundError, ValueError for what it
    should not say, ImportError naming the extra where YAML needs one.
    """
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ValueError(f"{path}: expected a .toml, .yaml or .yml file")
    contents = path.read_bytes()
    try:
        settings = tomllib.loads(contents.decode()) if path.suffix == ".toml" else _yaml(contents)
    except ValueError as error:
        raise ValueError(f"{path}: expected {path.suffix[1:].upper()}; {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected names and values, got {type(settings).__name__}")
    return (base or TrainConfig()).with_mapping(settings, str(path))


def _yaml(contents: bytes) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "reading YAML needs PyYAML: pip install 'groundup[train]', or write TOML"
        ) from error
    try:
        return yaml.safe_load(contents) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _typed(value: Any, kind: Any, where: str) -> Any:
    """`value` as `kind`, or a ValueError that begins with `where`."""
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        if value not in choices:
            raise ValueError(f"{where}: expected one of {', '.join(choices)}; got {value!r}")
        return value
    if NoneType in choices:
        if value is None:
            return None
        kind = next(choice for choice in choices if choice is not NoneType)
    if kind is float and isinstance(value, str):
        value = _number(value)  # YAML 1.1 takes 1e-3, without a point, for text
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind:
        noun = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
        raise ValueError(f"{where}: expected {noun[kind]}, got {value!r}")
    return value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
