"""A checkpoint is whole or absent: after a kill, on a full disk, and when it was tampered with."""

import dataclasses
import itertools
import json
import os
import random
import resource
import signal
import sys
import time

import pytest
import torch

import groundup as gu
from groundup.models import GPT, GPTConfig
from groundup.train import checkpoint, train

SMALL = GPTConfig(vocab_size=31, n_positions=8, n_embd=16, n_layer=1, n_head=2)


def _trained(seed: int = 0) -> tuple[GPT, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = GPT(SMALL)
    optimizer = gu.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    ids = torch.randint(31, (2, 9))
    for _ in range(2):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
    return model, optimizer


def _save(folder, step, model, optimizer, keep=2):
    return checkpoint.save(folder, step, model, SMALL, optimizer, {"mark": step}, keep=keep)


def _assert_loads(path, expected_steps):
    state = checkpoint.read_state(path)
    assert state["step"] == state["mark"]
    assert state["step"] in expected_steps
    checkpoint.restore(path, state, *_fresh())
    return state["step"]


def _fresh():
    model = GPT(SMALL)
    return model, SMALL, gu.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def test_weights_and_moments_come_back_bit_for_bit(tmp_path):
    model, optimizer = _trained()
    path = _save(tmp_path, 7, model, optimizer)
    assert path == tmp_path / "step-00000007"
    assert {p.name for p in path.iterdir()} == {
        "config.json", "model.safetensors", "optimizer.safetensors", "state.json",
    }  # fmt: skip
    loaded, config, fresh = _fresh()
    checkpoint.restore(path, checkpoint.read_state(path), loaded, config, fresh)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    saved, read = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert saved.keys() == read.keys()
    for index, values in saved.items():
        for key, tensor in values.items():
            assert torch.equal(tensor, read[index][key]), (index, key)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight


def test_only_the_newest_are_kept(tmp_path):
    model, optimizer = _trained()
    for step in (1, 2, 10, 9):
        _save(tmp_path, step, model, optimizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000009", "step-00000010"]
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000010"
    assert checkpoint.find(tmp_path / "step-00000009") == tmp_path / "step-00000009"


def test_a_kill_at_every_file_operation_leaves_one_that_loads(tmp_path):
    """The child kills itself at its 1st, 2nd, 3rd ... open, rename, remove; none is left out."""
    model, optimizer = _trained()
    _save(tmp_path, 1, model, optimizer)
    _save(tmp_path, 2, model, optimizer)
    step, seen = 2, set()
    for moment in range(1, 1000):
        pid = os.fork()
        if pid == 0:
            _kill_at(moment)
            _save(tmp_path, step + 1, model, optimizer)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        newest = checkpoint.newest(tmp_path)
        assert newest is not None
        after = _assert_loads(newest, {step, step + 1})
        seen.add(after - step)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        step = after
    assert moment > 20
    assert seen == {0, 1}  # kills fell before and after the moment of change
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _kill_at(moment: int) -> None:
    count = 0

    def hook(event: str, arguments: object) -> None:
        nonlocal count
        if event == "open" or event.startswith(("os.", "shutil.", "tempfile.")):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_kill_at_a_random_moment_leaves_one_that_loads(tmp_path, kills):
    """The child saves without pause until it is killed from outside."""
    moments, (model, optimizer) = random.Random(kills), _trained()
    _save(tmp_path, 1, model, optimizer)
    last = first = 1
    for _ in range(kills):
        pid = os.fork()
        if pid == 0:
            for step in itertools.count(last + 1):
                _save(tmp_path, step, model, optimizer)
        time.sleep(moments.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        newest = checkpoint.newest(tmp_path)
        assert newest is not None
        last = _assert_loads(newest, range(last, sys.maxsize))
    assert last > first  # the kills did not all come before the first save


def test_a_full_disk_leaves_the_checkpoint_before_and_is_told(config):
    first = train(config, stop_at=3).checkpoint
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: the checkpoint could not be .* whole"):
            train(config, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((config.out / "checkpoints").iterdir()) == [first]
    assert train(config, resume=True).step == 20


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_damaged_or_missing_file_is_told(tmp_path, name):
    path = _save(tmp_path, 3, *_trained())
    file = path / name
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for contents in (bytes(flipped), whole[:-1], whole[:20], b"", whole + b"\0"):
        file.write_bytes(contents)
        with pytest.raises(ValueError, match=f"{name}: the file is damaged or cut short .* remove"):
            checkpoint.read_state(path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        checkpoint.read_state(path)


@pytest.mark.parametrize(
    "contents",
    ["", "{", "[]", "3", "{}", '{"format": 1, "step": 3, "files": []}', "\x80", "[" * 100_000],
)
def test_a_damaged_state_is_told(tmp_path, contents):
    path = _save(tmp_path, 3, *_trained())
    (path / "state.json").write_bytes(contents.encode("latin-1"))
    with pytest.raises(ValueError, match=r"state\.json: expected a checkpoint's state; it is dam"):
        checkpoint.read_state(path)


def test_a_state_of_another_format_is_told(tmp_path):
    path = _save(tmp_path, 3, *_trained())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format": 2}))
    with pytest.raises(ValueError, match="expected format version 1, got 2"):
        checkpoint.read_state(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("random", None),
        ("random", {"cpu": "00"}),
        ("random", {"cpu": "zz"}),
        ("elapsed_seconds", None),
        ("recent_losses", "zz"),
        ("validation_loss", {}),
    ],
)
def test_a_state_with_a_damaged_part_is_told(config, key, value):
    path = train(config, stop_at=5).checkpoint
    state = json.loads((path / "state.json").read_text())
    state[key] = value
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"state\.json: the file is damaged"):
        train(config, resume=True)


def test_moments_of_another_model_are_told(tmp_path):
    model, optimizer = _trained()
    path = _save(tmp_path, 3, model, optimizer)
    wider = dataclasses.replace(SMALL, n_inner=48)
    other = GPT(wider)
    other_optimizer = gu.optim.AdamW(other.parameters(), fused=True)
    with pytest.raises(ValueError, match="is missing or misshapen"):
        checkpoint.restore(path, checkpoint.read_state(path), other, wider, other_optimizer)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_checkpoints_is_told(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected a run of `groundup train`; it"):
        checkpoint.find(tmp_path / name)


def test_a_file_in_place_of_a_run_is_told(tmp_path):
    (tmp_path / "book.txt").write_text("text")
    with pytest.raises(FileNotFoundError, match="it is a file; name the run's folder"):
        checkpoint.find(tmp_path / "book.txt")
