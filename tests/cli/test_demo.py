"""`groundup demo`: what it says about its input, and, slowly, a whole small run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup.cli import demo

QUICK = ["--seconds", "4", "--race-seconds", "0"]


def refuse(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 1) -> str:
    assert demo.main(args) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


def make_text(path: Path, n_bytes: int = 400_000) -> Path:
    """Sentences that a model learns in seconds: each names its subject twice."""
    draw = random.Random(0)
    names = ["Ada", "Grace", "Alan", "Emmy", "Srinivasa", "Sofya", "Kurt", "Carl"]
    lines: list[str] = []
    while sum(map(len, lines)) < n_bytes:
        name, count = draw.choice(names), draw.randint(2, 9)
        lines.append(f"{name} has {count} books. {name} reads one; {count - 1} are left.\n\n")
    path.write_text("".join(lines))
    return path


def groundup_demo(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "groundup.cli", "demo", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_missing_text_and_text_of_another_encoding_have_their_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert "there is no missing.txt" in refuse(["--text", "missing.txt", *out], capsys)
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 " * 100_000)
    assert "latin.txt is not UTF-8 (byte 0xe9 at 3)" in refuse(["--text", str(latin), *out], capsys)
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert "empty.txt is empty" in refuse(["--text", str(empty), *out], capsys)


def test_too_little_text_is_told_how_much_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.txt"
    small.write_text("a few words\n" * 100)
    said = refuse(["--text", str(small), "--out", str(tmp_path / "run")], capsys)
    assert "expected at least 300,000 bytes of text to learn from, got 1,200" in said


def test_numbers_out_of_range_have_their_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--seconds: expected a positive number, got 0" in refuse(["--seconds", "0"], capsys)
    assert "--seconds: expected a positive number, got nan" in refuse(["--seconds", "nan"], capsys)
    said = refuse(["--race-seconds=-1"], capsys)
    assert "--race-seconds: expected 0 or more, got -1" in said
    assert "--seed: expected a whole number from 0, got -1" in refuse(["--seed=-1"], capsys)


def test_a_folder_with_other_files_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    said = refuse(["--out", str(tmp_path)], capsys)
    assert "holds files, and not an earlier demo's; name another folder with --out" in said
    assert [path.name for path in tmp_path.rglob("*.*")] == ["thesis.txt"]
    assert "thesis.txt" in refuse(["--out", str(tmp_path / "data" / "thesis.txt")], capsys)


def test_help_shows_an_example_and_needs_no_torch() -> None:
    code = "import sys; from groundup.cli import main; main(['demo', '--help'])"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Example: groundup demo --text book.txt" in done.stdout


@pytest.mark.slow
def test_a_whole_run_leaves_every_file_and_its_exit_code_is_the_verdict(tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt")
    done = groundup_demo("--text", text, "--seconds", 8, "--race-seconds", 2, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    out = tmp_path / "runs" / "demo"
    record = json.loads((out / "demo.json").read_text())
    assert record["finished"]
    verdict = record["verdict"]
    assert verdict["beaten"] == (verdict["model"] < verdict["bigram"])
    assert done.returncode == (0 if verdict["beaten"] else 1)
    assert ("did NOT beat" in done.stdout) == (not verdict["beaten"])
    assert all(entry["agrees"] for entry in record["race"])
    assert {entry["work"].split(",")[0].split(" (")[0] for entry in record["race"]} >= {
        "BPE training",
        "BPE encoding",
        "cross-entropy and its gradient",
        "training step",
    }
    for name in (
        "tokenizer.json",
        "metrics.jsonl",
        "sample.txt",
        "table.json",
        "data/dataset.json",
    ):
        assert (out / name).stat().st_size > 0, name
    assert list(out.glob("checkpoints/step-*/model.safetensors"))
    sampled = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "sample", str(out), "--tokens", "9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert sampled.returncode == 0, sampled.stderr


@pytest.mark.slow
def test_a_second_run_replaces_the_first_and_one_after_a_kill_works(tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt")
    command = [sys.executable, "-m", "groundup.cli", "demo", "--text", str(text), *QUICK]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    mark = tmp_path / "runs" / "demo" / "metrics.jsonl"
    begun = time.monotonic()
    while not mark.exists() and time.monotonic() - begun < 120:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert mark.exists()
    again = groundup_demo("--text", text, *QUICK, "--json", cwd=tmp_path)
    assert again.returncode in (0, 1), again.stderr
    first = json.loads(again.stdout)
    third = groundup_demo("--text", text, *QUICK, cwd=tmp_path)
    assert "Replaces the earlier run in runs/demo" in third.stdout
    out = tmp_path / "runs" / "demo"
    assert not list(out.glob("unfinished-*"))
    saved = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    del saved[out / ".groundup.lock"]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (out / "unfinished-1" / "metrics.jsonl").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    other = groundup_demo("--text", text, *QUICK, cwd=tmp_path)
    assert other.returncode == 1
    assert f"another run is at work there (process {killed.pid}: " in other.stderr
    killed.kill()
    killed.wait()
    assert {path: path.read_bytes() for path in saved} == saved
    resumed = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "train", "--resume", "--out", str(out)], check=False
    )
    assert resumed.returncode == 0
    second = json.loads((out / "demo.json").read_text())
    assert first["merges"] == second["merges"]
    assert first["tokens"] == second["tokens"]


@pytest.mark.slow
def test_without_the_native_core_it_runs_on_the_references(tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt")
    done = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "demo", "--text", str(text), *QUICK],
        cwd=tmp_path,
        env={**os.environ, "GROUNDUP_NATIVE": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "without the native core" in done.stderr
    assert "by the plain-Python reference" in done.stdout
    assert "held-out tokens" in done.stdout


@pytest.mark.slow
def test_ctrl_c_during_training_keeps_a_checkpoint(tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt")
    command = [sys.executable, "-m", "groundup.cli", "demo", "--text", str(text)]
    run = subprocess.Popen(
        [*command, "--seconds", "120"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "runs" / "demo" / "metrics.jsonl"
    begun = time.monotonic()
    while time.monotonic() - begun < 120 and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "its checkpoint is" in " ".join(said.split())
    assert list((tmp_path / "runs" / "demo").glob("checkpoints/step-*/model.safetensors"))
