"""The training loop: batch, loss, gradients, step, until steps, time or Ctrl-C end it."""

from collections.abc import Callable

from groundup._files import write_atomic
from groundup._lock import only_run_in
from groundup.data.dataset import open_tokens
from groundup.train import checkpoint
from groundup.train.config import TrainConfig
from groundup.train.device import named_device, own_randomness
from groundup.train.interrupt import Interrupt
from groundup.train.metrics import FILE as METRICS_FILE
from groundup.train.metrics import event_writer
from groundup.train.report import Report, TrainResult
from groundup.train.run import Run


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop_at: int | None = None,
    progress: Callable[[Report], None] | None = None,
) -> TrainResult:
    """Train a GPT on the shards of config.data; everything it makes lands in config.out.

    resume     continue config.out's newest checkpoint; with the same config, thread count and a
               run measured in steps, the weights are bit for bit those of an uninterrupted run
               on the CPU
    overwrite  remove the checkpoints and metrics that config.out holds; without it and without
               resume, finding some raises ValueError
    stop_at    stop after this step as Ctrl-C does, on the way to the same end
    progress   called after every step

    Ctrl-C or SIGTERM ends the run after the step in progress with a checkpoint and
    stopped="interrupted". A time budget counts the seconds of all parts of a run, evaluation
    included; as its schedule follows the clock, resuming it is faithful but not bit-identical.
    Raises FileNotFoundError or ValueError for data and checkpoints that do not fit and where
    another run is at work in config.out, OSError when
    the disk is full, DivergedError when the loss is no longer a number; the last good checkpoint
    stays. A damaged shard raises DamagedShardError once the steps before it are saved. The caller's
    random state and thread count are as before afterwards.
    """
    checkpoints = config.out / "checkpoints"
    # First what may be missing: a run that cannot begin costs none that is there, makes no folder.
    if resume:
        checkpoint.of_run(config.out)
    training, validation = open_tokens(config.data, "train"), open_tokens(config.data, "validation")
    device = named_device(config.device)
    if config.tensorboard:
        event_writer()
    with own_randomness(config, device), Interrupt() as interrupt, only_run_in(config.out):
        before = checkpoint.newest(checkpoints)
        if before is not None and not resume and not overwrite:
            raise ValueError(
                f"{config.out}: holds a run already ({before.name}); pass --resume to go on with "
                "it, --overwrite to replace it, or another --out"
            )
        run = Run(config, training, validation, device)
        if resume and before is not None:
            run.restore(before)
        else:
            checkpoint.remove_all(checkpoints)
            (config.out / METRICS_FILE).unlink(missing_ok=True)
        _keep_tokenizer(config)
        return run.until_done(interrupt, stop_at, progress)


def _keep_tokenizer(config: TrainConfig) -> None:
    """A copy beside the checkpoints, so that the run's folder is enough to sample from."""
    source = config.data / "tokenizer.json"
    if source.is_file() and source.resolve() != (config.out / source.name).resolve():
        write_atomic(config.out / source.name, source.read_bytes())
