"""One run: its model, data and optimizer, the steps it takes, what it measures and saves."""

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

import groundup as gu
from groundup.data.batches import Batches, even_windows
from groundup.data.shards import DamagedShardError, Tokens
from groundup.evaluate.loss import validation_loss
from groundup.models import GPT, GPTConfig
from groundup.train import checkpoint
from groundup.train.config import TrainConfig
from groundup.train.device import check_memory, random_state, set_random_state
from groundup.train.interrupt import Interrupt
from groundup.train.metrics import Metrics
from groundup.train.report import DivergedError, Report, TrainResult
from groundup.train.schedule import learning_rate


class Run:
    """Everything that a step needs, and where in its course the run is."""

    def __init__(
        self, config: TrainConfig, training: Tokens, validation: Tokens, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.model_config = model_config(config, training)
        if validation.tokenizer_hash != training.tokenizer_hash:
            raise ValueError(f"{config.data}: train and validation are of different tokenizers")
        self.tokenizer_hash = training.tokenizer_hash
        self.validation = validation
        self.batches = Batches(training, config.batch_size, config.block_size, config.seed)
        even_windows(validation, config.block_size, config.evaluate_windows)  # or raises now
        check_memory(self.model_config, device)
        self.model = GPT(self.model_config).to(device)
        self.loss = torch.compile(self.model.loss) if config.compile else self.model.loss
        self.optimizer = gu.optim.AdamW(
            _decay_groups(self.model, config.weight_decay),
            betas=(config.beta1, config.beta2),
            fused=True,
            max_grad_norm=config.max_grad_norm,
            zero_grad_after_step=True,
        )
        self.step = 0
        self.validation_loss: float | None = None
        self.recent_losses: deque[float] = deque(maxlen=50)
        self.recent_seconds: deque[float] = deque(maxlen=50)
        self._elapsed_before = 0.0
        self._begun = time.monotonic()

    def restore(self, path: Path) -> None:
        state = checkpoint.read_state(path)
        if state.get("tokenizer_hash") != self.tokenizer_hash.hex():
            raise ValueError(
                f"{path}: the run began on tokens of another tokenizer than those in "
                f"{self.config.data}; resume with its own data"
            )
        checkpoint.restore(path, state, self.model, self.model_config, self.optimizer)
        try:
            self.step = state["step"]
            self._elapsed_before = float(state["elapsed_seconds"])
            loss = state["validation_loss"]
            self.validation_loss = None if loss is None else float(loss)
            self.recent_losses.extend(map(float, state["recent_losses"]))
            set_random_state(state["random"], self.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path / checkpoint.STATE}: the file is damaged") from error

    def until_done(
        self,
        interrupt: Interrupt,
        stop_at: int | None,
        progress: Callable[[Report], None] | None,
    ) -> TrainResult:
        config = self.config
        metrics = Metrics(config.out, self.step, config.tensorboard)
        saved = checkpoint.newest(config.out / "checkpoints")
        saved_step, evaluated_step = (self.step if saved else -1), -1
        self._begun = time.monotonic()
        try:
            while (
                not (done := self._fraction() >= 1.0)
                and not interrupt.requested
                and (stop_at is None or self.step < stop_at)
            ):
                report = self._one_step()
                if self.step % config.evaluate_every == 0:
                    report = self._evaluated(report, metrics)
                    evaluated_step = self.step
                if self.step % config.log_every == 0 or self.step == 1:
                    metrics.write(
                        self.step,
                        loss=report.loss,
                        learning_rate=report.learning_rate,
                        grad_norm=report.grad_norm,
                        tokens_per_second=round(report.tokens_per_second, 1),
                        elapsed_seconds=round(report.elapsed_seconds, 3),
                    )
                if progress is not None:
                    progress(report)
                if self.step % config.checkpoint_every == 0:
                    saved, saved_step = self._save(), self.step
            if done and evaluated_step != self.step:
                # An interrupted run skips this: whoever stopped it waits, and resuming must see
                # the evaluations of an uninterrupted one.
                self._evaluate(metrics)
            if saved is None or saved_step != self.step:
                saved = self._save()
        except DamagedShardError as error:
            if saved is None or saved_step != self.step:
                saved = self._save()
            raise DamagedShardError(
                f"{error}; what was learnt until step {self.step} is in {saved}, and resuming goes "
                "on from there"
            ) from error
        finally:
            metrics.close()
        losses = self.recent_losses or [math.nan]
        return TrainResult(
            step=self.step,
            loss=sum(losses) / len(losses),
            validation_loss=math.nan if self.validation_loss is None else self.validation_loss,
            elapsed_seconds=self._elapsed(),
            tokens_per_second=self._tokens_per_second(),
            n_parameters=sum(p.numel() for p in self.model.parameters()),
            checkpoint=saved,
            stopped="finished" if done else "interrupted",
        )

    def _one_step(self) -> Report:
        config, begun = self.config, time.monotonic()
        rate = learning_rate(
            self._fraction(next_step=True),
            peak=config.learning_rate,
            final_share=config.final_learning_rate,
            warmup=config.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        first = self.step * config.accumulation
        # All of them before any is computed with: a damaged shard then finds the run between steps.
        batches = [self.batches.batch(first + part) for part in range(config.accumulation)]
        total = 0.0
        for ids, targets in batches:
            with self._precision():
                loss = self.loss(ids.to(self.device), targets.to(self.device))
            torch.autograd.backward(loss / config.accumulation)
            total += loss.item() / config.accumulation
        if not math.isfinite(total):
            raise self._diverged("loss", total, rate)
        self.optimizer.step()
        norm = float(self.optimizer.grad_norm) if self.optimizer.grad_norm is not None else 0.0
        if not math.isfinite(norm):
            raise self._diverged("gradient norm", norm, rate)
        self.step += 1
        self.recent_losses.append(total)
        self.recent_seconds.append(time.monotonic() - begun)
        return Report(
            step=self.step,
            last_step=config.last_step,
            fraction=self._fraction(),
            loss=total,
            validation_loss=self.validation_loss,
            evaluated=False,
            learning_rate=rate,
            grad_norm=norm,
            tokens_per_second=self._tokens_per_second(),
            elapsed_seconds=self._elapsed(),
        )

    def _fraction(self, next_step: bool = False) -> float:
        """How much of the run is done, by steps or by time, whichever is further.

        With next_step, counting the step about to be taken: the first one then has a rate above
        zero and the last one ends on the schedule's end.
        """
        last, budget = self.config.last_step, self.config.budget_seconds
        by_step = 0.0 if last is None else (self.step + next_step) / last
        by_time = 0.0 if budget is None else self._elapsed() / budget
        return min(1.0, max(by_step, by_time))

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._begun

    def _tokens_per_second(self) -> float:
        config = self.config
        tokens = config.batch_size * config.block_size * config.accumulation
        return tokens * len(self.recent_seconds) / (sum(self.recent_seconds) or math.inf)

    def _evaluate(self, metrics: Metrics) -> float:
        with self._precision():
            loss = validation_loss(
                self.model,
                self.validation,
                self.config.block_size,
                batch_size=self.config.batch_size,
                n_windows=self.config.evaluate_windows,
            )
        self.validation_loss = loss
        metrics.write(self.step, validation_loss=loss, elapsed_seconds=round(self._elapsed(), 3))
        return loss

    def _evaluated(self, report: Report, metrics: Metrics) -> Report:
        loss = self._evaluate(metrics)
        return Report(**{**asdict(report), "validation_loss": loss, "evaluated": True})

    def _save(self) -> Path:
        state: dict[str, Any] = {
            "groundup": gu.__version__,
            "config": self.config.to_mapping(),
            "tokenizer_hash": self.tokenizer_hash.hex(),
            "elapsed_seconds": self._elapsed(),
            "validation_loss": self.validation_loss,
            "recent_losses": list(self.recent_losses),
            "random": random_state(self.device),
        }
        return checkpoint.save(
            self.config.out / "checkpoints",
            self.step,
            self.model,
            self.model_config,
            self.optimizer,
            state,
            keep=self.config.keep_checkpoints,
        )

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _diverged(self, what: str, value: float, rate: float) -> DivergedError:
        last = checkpoint.newest(self.config.out / "checkpoints")
        kept = f"{last} is the last good checkpoint" if last else "no checkpoint was written yet"
        return DivergedError(
            f"{what} became {value} at step {self.step + 1} (learning rate {rate:.3g}): training "
            f"has diverged and stops; {kept}; try a lower learning_rate or a longer warmup"
        )


def model_config(config: TrainConfig, tokens: Tokens) -> GPTConfig:
    """The model that a run trains. Raises ValueError for a vocabulary smaller than the tokens'."""
    vocab_size = config.vocab_size or tokens.vocab_size
    if vocab_size < tokens.vocab_size:
        raise ValueError(
            f"vocab_size: expected at least the {tokens.vocab_size} of the tokens in "
            f"{config.data}, got {vocab_size}; leave it out"
        )
    return GPTConfig(
        vocab_size=vocab_size,
        n_positions=config.block_size,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        embd_pdrop=config.dropout,
        resid_pdrop=config.dropout,
        attn_pdrop=config.dropout,
    )


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and embeddings decay; biases and norms, which are vectors, do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
