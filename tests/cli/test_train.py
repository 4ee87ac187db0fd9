"""`groundup train`: settings from everywhere, signals, and resuming to the same bits."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup import cli
from groundup.train.metrics import read_metrics


def _train(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "groundup.cli", "train", *map(str, words)]


def _config(run: Path) -> dict[str, object]:
    newest = sorted((run / "checkpoints").iterdir())[-1]
    config: dict[str, object] = json.loads((newest / "state.json").read_text())["config"]
    return config


def test_a_file_is_overridden_by_the_command_line(book, tmp_path):
    (tmp_path / "run.toml").write_text(
        f'data = "{book / "data"}"\nout = "{tmp_path / "run"}"\nsteps = 3\nseed = 5\nn_embd = 32\n'
        "n_layer = 1\nblock_size = 16\n"
    )
    assert cli.main(["train", "--config", str(tmp_path / "run.toml"), "--steps", "2"]) == 0
    config = _config(tmp_path / "run")
    assert (config["steps"], config["seed"], config["n_embd"]) == (2, 5, 32)


def test_json_is_the_result(book, small, tmp_path, capsys):
    args = ["--data", str(book / "data"), "--out", str(tmp_path), *small, "--steps", "3", "--json"]
    assert cli.main(["train", *args]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["step"], told["stopped"]) == (3, "finished")
    assert told["validation_loss"] > 0
    assert f"Sample with: groundup sample {tmp_path}" in shown.err


def test_stop_at_says_how_to_go_on_and_resume_needs_only_the_folder(book, small, tmp_path, capsys):
    out = tmp_path / "my run"
    args = ["--data", str(book / "data"), "--out", str(out), *small, "--steps", "6"]
    assert cli.main(["train", *args, "--stop-at", "3"]) == 0
    told = capsys.readouterr().err
    assert f"Resume with: groundup train --resume --out '{out}'" in told
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert (out / "checkpoints" / "step-00000006").is_dir()
    assert _config(out)["dropout"] == 0.1


def _refused(capsys, *words) -> str:
    assert cli.main(["train", *map(str, words)]) == 1
    return capsys.readouterr().err


def test_what_cannot_be_trained_is_told(book, run, tmp_path, capsys):
    told = _refused(capsys, "--data", tmp_path / "none", "--out", tmp_path / "a")
    assert "none: expected a folder with dataset.json; `groundup prepare` makes" in told
    told = _refused(capsys, "--data", book / "data", "--out", run)
    assert "holds a run already (step-00000012); pass --resume" in told
    told = _refused(capsys, "--resume", "--out", tmp_path / "none")
    assert "expected a run of `groundup train`; it is not there" in told
    (tmp_path / "bad.toml").write_text("learnin_rate = 3\n")
    told = _refused(capsys, "--config", tmp_path / "bad.toml")
    assert "there is no setting 'learnin_rate'; did you mean learning_rate?" in told
    told = _refused(capsys, "--config", tmp_path / "none.toml")
    assert "none.toml: No such file or directory" in told
    told = _refused(capsys, "--resume", "--out", run, "--n-layer", 2)
    assert "n_layer is 1 there and 2 here; resume with the sizes the run began with" in told
    told = _refused(capsys, "--data", book / "data", "--out", tmp_path, "--vocab-size", 3)
    assert "vocab_size: expected at least the 300 of the tokens" in told
    told = _refused(capsys, "--data", book / "data", "--out", tmp_path, "--vocab-size", 10**14)
    assert "of memory can train, got 25,600,000,001,596,416 parameters, which need" in told
    told = _refused(capsys, "--data", book / "data", "--out", tmp_path, "--batch-size", 10**14)
    assert "out of memory; make the model, the batch or the text smaller" in told


def test_json_of_a_run_without_a_validation_loss_is_json(book, small, tmp_path, capsys):
    args = ["--data", str(book / "data"), "--out", str(tmp_path), *small, "--stop-at", "1"]
    assert cli.main(["train", *args, "--json"]) == 0
    assert '"validation_loss": null' in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--steps", "many"],
        ["--stepz", "3"],
        ["--device", "tpu"],
        ["--config"],
        ["--threads", "1025"],
    ],
)
def test_misuse_exits_2(words, capsys):
    assert cli.main(["train", *words]) == 2
    assert capsys.readouterr().err


def _started(book, small, out, *words) -> subprocess.Popen[str]:
    args = ["--data", book / "data", "--out", out, *small, "--steps", "100000", *words]
    child = subprocess.Popen(_train(*args), stderr=subprocess.PIPE, text=True)
    while not (out / "checkpoints" / "step-00000004").is_dir():
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)
    return child


def test_a_run_that_moved_with_its_data_inside_resumes(book, small, tmp_path):
    shutil.copytree(book / "data", tmp_path / "old" / "data")
    out = ["--out", str(tmp_path / "old"), "--data", str(tmp_path / "old" / "data"), *small]
    assert cli.main(["train", *out, "--steps", "6", "--stop-at", "3"]) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "new")]) == 0
    assert _config(tmp_path / "new")["data"] == str(tmp_path / "new" / "data")


def test_two_runs_in_one_folder_do_not_interfere(book, small, tmp_path, capsys):
    child = _started(book, small, tmp_path)
    words = ("--data", book / "data", "--out", tmp_path, *small)
    told = _refused(capsys, *words, "--overwrite")
    assert f"{tmp_path}: another run is at work there (process {child.pid}: " in told
    assert f"--out {tmp_path}" in told
    assert "wait until it has ended" in _refused(capsys, "--resume", "--out", tmp_path)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert cli.main(["train", "--resume", "--out", str(tmp_path), "--steps", "1"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_0_with_a_line_that_resumes(book, small, tmp_path, number):
    child = _started(book, small, tmp_path, "--keep-checkpoints", "100000")
    child.send_signal(number)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 0, told
    stopped = re.search(r"Stopped at step ([\d,]+) in", told)
    assert stopped is not None, told
    step = int(stopped[1].replace(",", ""))
    assert (tmp_path / "checkpoints" / f"step-{step:08d}").is_dir()
    resume = re.search(r"Resume with: (groundup .*)", told)
    assert resume is not None
    words = resume[1].split()[1:]
    assert cli.main([*words, "--stop-at", str(step + 2)]) == 0
    assert (tmp_path / "checkpoints" / f"step-{step + 2:08d}").is_dir()


@pytest.mark.slow
def test_k_steps_and_k_steps_are_2k_steps_bit_for_bit_twice_over(book, small, tmp_path):
    def run(out: Path, *words: str) -> Path:
        subprocess.run(_train("--out", out, *words), check=True, timeout=120)
        return sorted((out / "checkpoints").iterdir())[-1]

    data = ["--data", str(book / "data"), *small, "--steps", "30"]
    whole = run(tmp_path / "whole", *data)
    run(tmp_path / "parts", *data, "--stop-at", "10")
    run(tmp_path / "parts", "--resume", "--stop-at", "20")
    parts = run(tmp_path / "parts", "--resume")
    assert whole.name == parts.name == "step-00000030"
    for name in ("model.safetensors", "optimizer.safetensors", "config.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    losses = [
        {(line["step"], line.get("loss"), line.get("validation_loss")) for line in lines}
        for lines in (read_metrics(tmp_path / out / "metrics.jsonl") for out in ("whole", "parts"))
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_resumes_to_the_same_bits(book, small, tmp_path):
    data = ["--data", str(book / "data"), *small, "--steps", "400", "--checkpoint-every", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(_train("--out", tmp_path / "whole", *data), check=True, env=environment)
    parts = tmp_path / "parts"
    words: list[str] = data
    for kill in range(5):
        child = subprocess.Popen(_train("--out", parts, *words), env=environment)
        reached = 60 * (kill + 1)
        while child.poll() is None:
            steps = [int(p.name[5:]) for p in parts.glob("checkpoints/step-*")]
            if max(steps, default=0) >= reached:
                break
            time.sleep(0.003)
        child.kill()
        child.wait()
        words = ["--resume"]
    subprocess.run(_train("--out", parts, "--resume"), check=True, env=environment)
    for name in ("model.safetensors", "optimizer.safetensors"):
        runs = (tmp_path / "whole", parts)
        one, two = (sorted((out / "checkpoints").iterdir())[-1] / name for out in runs)
        assert one.read_bytes() == two.read_bytes(), name
