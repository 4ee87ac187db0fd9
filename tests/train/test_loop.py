"""A run learns, reports, saves, stops as asked, and resumes to the same bits."""

import dataclasses
import json
import math
import os
import resource
import shutil
import signal
import struct
import sys
import threading

import pytest
import torch

from groundup.data.dataset import DatasetWriter
from groundup.data.shards import DamagedShardError
from groundup.models import GPT
from groundup.train import DivergedError, checkpoint, train
from groundup.train.metrics import read_metrics


def _weights(path):
    return {name: p.detach() for name, p in GPT.from_pretrained(path).named_parameters()}


def _assert_equal_weights(one, two):
    first, second = _weights(one), _weights(two)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_run_learns_what_there_is_to_learn(config):
    # Three equally likely successors: ln 3 = 1.10 is the least; a uniform guess is ln 61 = 4.11.
    longer = dataclasses.replace(config, steps=300, learning_rate=1e-2, dropout=0.0)
    result = train(longer)
    assert result.step == 300
    assert result.stopped == "finished"
    assert math.log(3) - 0.02 < result.validation_loss < 1.35
    assert result.n_parameters == sum(p.numel() for p in _weights(result.checkpoint).values())


def test_reports_and_metrics_tell_the_run(config):
    reports = []
    result = train(config, progress=reports.append)
    assert [report.step for report in reports] == list(range(1, 21))
    assert reports[0].learning_rate > 0
    assert reports[-1].fraction == 1.0
    assert reports[-1].learning_rate == pytest.approx(0.1 * config.learning_rate)
    assert [report.step for report in reports if report.evaluated] == [5, 10, 15, 20]
    lines = read_metrics(config.out / "metrics.jsonl")
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert losses == {report.step: report.loss for report in reports}
    validation = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert len(validation) == 4
    assert validation[-1] == result.validation_loss
    assert result.loss == pytest.approx(sum(losses.values()) / 20)
    kept = sorted(path.name for path in (config.out / "checkpoints").iterdir())
    assert kept == ["step-00000015", "step-00000020"]


def test_the_caller_keeps_its_random_state_and_threads(config):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(dataclasses.replace(config, steps=2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_stop_and_resume_twice_equals_an_uninterrupted_run(config):
    whole = train(config)
    parted = dataclasses.replace(config, out=config.out.with_name("parted"))
    first = train(parted, stop_at=7)
    assert (first.step, first.stopped) == (7, "interrupted")
    second = train(parted, resume=True, stop_at=13)
    assert (second.step, second.stopped) == (13, "interrupted")
    last = train(parted, resume=True)
    assert (last.step, last.stopped) == (20, "finished")
    _assert_equal_weights(whole.checkpoint, last.checkpoint)
    assert last.validation_loss == whole.validation_loss
    assert last.loss == whole.loss
    moments = [run.checkpoint / "optimizer.safetensors" for run in (whole, last)]
    assert moments[0].read_bytes() == moments[1].read_bytes()


def test_a_run_stopped_before_its_first_step_goes_on_as_if_it_had_begun(config):
    whole = train(config)
    parted = dataclasses.replace(config, out=config.out.with_name("parted"))
    first = train(parted, stop_at=0)
    assert (first.step, first.stopped, math.isnan(first.loss)) == (0, "interrupted", True)
    _assert_equal_weights(whole.checkpoint, train(parted, resume=True).checkpoint)


def test_a_full_disk_while_writing_metrics_names_the_file(config):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*metrics\.jsonl"):
            train(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_trains_to_the_same_losses(config):
    plain = dataclasses.replace(config, dropout=0.0, steps=3)
    compiled = dataclasses.replace(plain, compile=True, out=config.out.with_name("compiled"))
    assert train(compiled).loss == pytest.approx(train(plain).loss, rel=1e-4)


def test_metrics_after_the_checkpoint_are_dropped_on_resume(config):
    train(config, stop_at=6)
    path = config.out / "metrics.jsonl"
    with path.open("a") as stream:  # what a killed run leaves: steps beyond, and half a line
        stream.write('{"step": 7, "loss": 99.0}\n{"step": 8, "lo')
    train(config, resume=True)
    steps = [line["step"] for line in read_metrics(path) if "loss" in line]
    assert steps == list(range(1, 21))
    assert "99.0" not in path.read_text()


def test_resuming_a_finished_run_changes_nothing(config):
    result = train(config)
    again = train(config, resume=True)
    assert again.checkpoint == result.checkpoint
    assert again.step == 20
    assert again.stopped == "finished"


def test_a_finished_run_goes_on_with_more_steps(config):
    train(config)
    result = train(dataclasses.replace(config, steps=24), resume=True)
    assert result.step == 24


def test_a_run_that_is_there_is_not_lost_by_accident(config):
    train(dataclasses.replace(config, steps=2))
    with pytest.raises(ValueError, match=r"holds a run already \(step-00000002\); pass --resume"):
        train(config)
    bad = dataclasses.replace(config, data=config.out / "nowhere")
    with pytest.raises(FileNotFoundError):
        train(bad, overwrite=True)
    assert checkpoint.newest(config.out / "checkpoints") is not None
    assert train(config, overwrite=True).step == 20


def test_accumulated_gradients_are_those_of_one_large_batch(config):
    settings = dataclasses.replace(config, steps=3, dropout=0.0)
    whole = train(dataclasses.replace(settings, batch_size=8, accumulation=1))
    parts = train(
        dataclasses.replace(settings, batch_size=2, accumulation=4, out=config.out.with_name("b"))
    )
    first, second = _weights(whole.checkpoint), _weights(parts.checkpoint)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=2e-5, msg=name)


def test_only_matrices_decay(config):
    strong = dataclasses.replace(config, steps=3, weight_decay=100.0, learning_rate=5e-3)
    weights = _weights(train(strong).checkpoint)
    mild = dataclasses.replace(strong, weight_decay=0.0, out=config.out.with_name("mild"))
    plain = _weights(train(mild).checkpoint)
    name = "transformer.h.0.mlp.c_fc.weight"
    assert weights[name].norm() < 0.6 * plain[name].norm()
    name = "transformer.h.0.ln_1.weight"
    torch.testing.assert_close(weights[name], plain[name], rtol=0.05, atol=0)


def test_a_budget_ends_the_run_and_drives_the_schedule(config):
    reports = []
    timed = dataclasses.replace(config, steps=None, budget_seconds=1.0, checkpoint_every=10_000)
    result = train(timed, progress=reports.append)
    assert result.stopped == "finished"
    assert result.elapsed_seconds >= 1.0
    assert reports[-1].last_step is None
    rates = [report.learning_rate for report in reports]
    assert max(rates) > 0.99 * config.learning_rate or len(rates) < 50
    assert rates[-1] < max(rates)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(config):
    config = dataclasses.replace(config, checkpoint_every=2)
    good = train(config, stop_at=4).checkpoint
    weights = _weights(good)
    wild = dataclasses.replace(config, learning_rate=1e30, warmup=0.0)
    with pytest.raises(DivergedError, match=r"became (nan|inf) at step \d+ .*-\d+ is the last"):
        train(wild, resume=True)
    newest = checkpoint.newest(config.out / "checkpoints")
    assert newest is not None
    assert all(torch.isfinite(p).all() for p in _weights(newest).values())
    assert all(torch.isfinite(p).all() for p in weights.values())


def _damaged(dataset, folder, file, position):
    """A copy of the dataset in which one id is outside the vocabulary."""
    shutil.copytree(dataset, folder)
    contents = bytearray((folder / file).read_bytes())
    struct.pack_into("<H", contents, 64 + 2 * position, 61)
    (folder / file).write_bytes(contents)
    return folder


def test_a_damaged_token_stops_the_run_with_all_that_was_learnt_saved(config, dataset, tmp_path):
    bad = _damaged(dataset, tmp_path / "bad", "train-00001.tokens", 1234)
    # One batch of many reads it, between two checkpoints; accumulation draws dropout in between.
    config = dataclasses.replace(config, out=tmp_path / "b", data=bad, batch_size=4, accumulation=2)
    whole = train(dataclasses.replace(config, data=dataset, out=tmp_path / "whole", steps=60))
    config = dataclasses.replace(config, steps=60, checkpoint_every=1000)
    told = r"train-00001\.tokens: expected token ids in \[0, 61\), got 61 at position 1234: .*"
    with pytest.raises(DamagedShardError, match=told + "resuming goes on from there") as raised:
        train(config)
    saved = checkpoint.newest(config.out / "checkpoints")
    assert saved is not None
    step = checkpoint.read_state(saved)["step"]
    assert 0 < step < 60
    assert f"what was learnt until step {step} is in {saved}" in str(raised.value)
    with pytest.raises(DamagedShardError):
        train(config, resume=True)
    mended = train(dataclasses.replace(config, data=dataset), resume=True)
    _assert_equal_weights(whole.checkpoint, mended.checkpoint)


def test_a_damaged_validation_token_costs_no_step_either(config, dataset, tmp_path):
    bad = _damaged(dataset, tmp_path / "bad", "validation-00000.tokens", 20)
    with pytest.raises(DamagedShardError, match=r"validation-00000\.tokens: .* until step 5 is in"):
        train(dataclasses.replace(config, data=bad, checkpoint_every=1000))
    assert checkpoint.find(config.out).name == "step-00000005"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_returns(config, number):
    handler = signal.getsignal(number)
    result = train(config, progress=lambda r: os.kill(os.getpid(), number) if r.step == 4 else None)
    assert (result.step, result.stopped) == (4, "interrupted")
    assert result.checkpoint.name == "step-00000004"
    assert signal.getsignal(number) is handler


def test_a_second_ctrl_c_interrupts_at_once(config):
    def twice(report):
        if report.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, progress=twice)


def _signalled_while_saving(monkeypatch, times):
    """From the third checkpoint on, each signals the process in its middle."""
    write, written = checkpoint.write_atomic, []

    def signalling(path, contents):
        written.append(path)
        if path.name == "optimizer.safetensors" and len(written) > 8:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        write(path, contents)

    monkeypatch.setattr(checkpoint, "write_atomic", signalling)


def test_ctrl_c_while_saving_finishes_the_checkpoint(config, monkeypatch):
    _signalled_while_saving(monkeypatch, 1)
    result = train(config)
    assert (result.step, result.stopped) == (15, "interrupted")
    assert checkpoint.read_state(result.checkpoint)["step"] == 15


def test_a_second_ctrl_c_while_saving_leaves_the_checkpoints_before(config, monkeypatch):
    _signalled_while_saving(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    left = sorted(path.name for path in (config.out / "checkpoints").iterdir())
    assert left == ["step-00000005", "step-00000010"]
    assert checkpoint.read_state(checkpoint.find(config.out))["step"] == 10


def test_a_run_works_in_another_thread(config):
    results = []
    thread = threading.Thread(target=lambda: results.append(train(config)))
    thread.start()
    thread.join()
    assert results[0].step == 20


def test_bfloat16_learns_too(config):
    half = dataclasses.replace(config, dtype="bfloat16", steps=60, learning_rate=1e-2)
    assert train(half).validation_loss < 3.5


def test_tensorboard_writes_events_and_its_absence_names_the_extra(config, monkeypatch):
    pytest.importorskip("tensorboard")
    asked = dataclasses.replace(config, steps=2, tensorboard=True)
    train(asked)
    assert list((config.out / "tensorboard").glob("events.out.*"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'groundup\[train\]'"):
        train(asked, overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 60}, "vocab_size: expected at least the 61 of the tokens in .* got 60"),
        ({"block_size": 100_000}, r"expected at least block_size \+ 1 = 100001, got"),
        ({"device": "cuda"}, "device: cuda is not available"),
    ],
)
def test_a_config_that_does_not_fit_the_data_is_told(config, change, message):
    if change == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(config, **change))


def test_a_vocabulary_may_be_larger_than_the_data(config):
    result = train(dataclasses.replace(config, vocab_size=64, steps=2))
    assert json.loads((result.checkpoint / "config.json").read_text())["vocab_size"] == 64


def test_a_model_beyond_the_machines_memory_is_told_before_it_is_built(config):
    deep = dataclasses.replace(config, n_layer=10_000, n_embd=4096)
    told = r"memory can train, got 2,013,\d+,\d+,\d+ parameters, which need 32,\d+\.\d GB; make"
    with pytest.raises(ValueError, match=told):
        train(deep)


def test_resuming_with_other_sizes_or_other_data_is_told(config, dataset, tmp_path):
    train(config, stop_at=3)
    with pytest.raises(ValueError, match="n_layer is 2 there and 3 here; resume with the sizes"):
        train(dataclasses.replace(config, n_layer=3), resume=True)
    from groundup.data.dataset import DatasetWriter

    with DatasetWriter(tmp_path / "other", vocab_size=61, tokenizer_hash=b"o" * 32) as writer:
        for split in ("train", "validation"):
            writer.add(split, list(range(61)) * 4)
    with pytest.raises(ValueError, match="tokens of another tokenizer than those in"):
        train(dataclasses.replace(config, data=tmp_path / "other"), resume=True)


def test_resuming_nothing_is_told(config):
    with pytest.raises(FileNotFoundError, match="expected a run of `groundup train`; it is"):
        train(config, resume=True)


def test_validation_text_too_short_is_told_before_the_first_step(config, tmp_path):
    with DatasetWriter(tmp_path / "short", vocab_size=61) as writer:
        writer.add("train", [1, 2, 3] * 50)
        writer.add("validation", [1, 2, 3])
    train(config)
    short = dataclasses.replace(config, data=tmp_path / "short")
    with pytest.raises(ValueError, match=r"expected at least block_size \+ 1 = 17 for evaluation"):
        train(short, overwrite=True)
    assert checkpoint.find(config.out).name == "step-00000020"


def test_overwriting_through_a_link_leaves_no_older_checkpoint(config, tmp_path):
    train(config)
    (config.out / "checkpoints").rename(tmp_path / "elsewhere")
    (config.out / "checkpoints").symlink_to(tmp_path / "elsewhere")
    train(dataclasses.replace(config, steps=5), overwrite=True)
    assert os.listdir(tmp_path / "elsewhere") == ["step-00000005"]


def test_a_missing_extra_costs_no_run_that_is_there(config, monkeypatch):
    train(config)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="TensorBoard is not installed"):
        train(dataclasses.replace(config, tensorboard=True), overwrite=True)
    assert checkpoint.find(config.out).name == "step-00000020"


def test_a_part_of_a_run_is_not_resumed_as_if_it_were_one(config):
    train(config, stop_at=5)
    for part in ("checkpoints", "checkpoints/step-00000005"):
        inside = dataclasses.replace(config, out=config.out / part)
        with pytest.raises(FileNotFoundError, match=f"got a part of {config.out}; name that"):
            train(inside, resume=True)


def test_a_batch_beyond_memory_raises_at_once(config):
    with pytest.raises(MemoryError):
        train(dataclasses.replace(config, batch_size=1 << 50))
