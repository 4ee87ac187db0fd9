"""`groundup` finds commands by file name and answers without importing torch."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import groundup
from groundup import cli
from groundup._signals import call_until_signalled, raise_if_received
from groundup.cli import _command


def _groundup(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from groundup.cli import main; code = main(); " + (
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


def test_help_lists_each_command_with_a_line_and_without_torch():
    done = _groundup("--help")
    assert done.returncode == 0
    assert done.stderr == "False\n"
    for name in cli.commands():
        assert any(
            line.split()[:1] == [name] and len(line.split()) > 3
            for line in done.stdout.splitlines()
        )


@pytest.mark.parametrize("command", cli.commands())
def test_help_of_each_command_shows_an_example_and_needs_no_torch(command):
    done = _groundup(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Example: groundup {command}" in done.stdout
    assert done.stderr == "False\n"


def test_a_file_is_a_command_and_an_underscored_file_is_not(tmp_path, monkeypatch, capsys):
    (tmp_path / "greet.py").write_text(
        '"""Say hello."""\ndef main(args):\n    print("hello", *args)\n    return 3\n'
    )
    (tmp_path / "_shared.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    assert "greet" in cli.commands()
    assert "_shared" not in cli.commands()
    assert cli.main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    assert cli.main(["--help"]) == 0
    assert "greet" in capsys.readouterr().out


def test_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"groundup {groundup.__version__}\n"


def test_an_unknown_command_proposes_a_near_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "tokeniser.py").write_text('"""Never run."""\n')
    monkeypatch.setattr(cli, "__path__", [str(tmp_path)])
    assert cli.main(["tokenisr"]) == 2
    expected = "groundup: there is no command 'tokenisr'; did you mean 'tokeniser'?\n"
    assert capsys.readouterr().err == expected
    assert cli.main(["zzz"]) == 2
    assert "`groundup --help` lists them" in capsys.readouterr().err


def test_without_a_command_the_help_goes_to_stderr(capsys):
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: groundup <command>")


def halve(number: int, *, json: bool = False) -> int | None:
    """Halve a number.

    Args:
        number: an even number
        json: print JSON
    """
    if number % 2:
        raise ValueError(f"number: expected an even number,\n  got {number}; try {number + 1}")
    if number == 0:
        raise KeyboardInterrupt
    if number < 0:
        raise FileNotFoundError(2, "No such file or directory", "half.txt")
    print({"half": number // 2} if json else number // 2)
    return None


def _halve(*words: str) -> int:
    return _command.run(words, halve, example="groundup halve --number 4")


def test_run_parses_and_calls(capsys):
    assert _halve("--number", "4", "--json") == 0
    assert capsys.readouterr().out == "{'half': 2}\n"


def test_expected_errors_are_one_sentence_and_exit_1(capsys):
    assert _halve("--number", "3") == 1
    assert (
        capsys.readouterr().err == "groundup halve: number: expected an even number, got 3; try 4\n"
    )
    assert _halve("--number", "-2") == 1
    assert capsys.readouterr().err == (
        "groundup halve: half.txt: No such file or directory; expected it to be there, or a folder "
        "in which it can be made; check the name\n"
    )


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "name another, or let yourself in with chmod or chown"),
        (errno.EROFS, "name a place on another file system"),
        (errno.ENOTDIR, "one of them is a file; name another"),
        (errno.ENOSPC, "free some, or name a place that has it"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(number, remedy):
    told = _command.sentence(OSError(number, os.strerror(number), "runs/book"))
    assert told.startswith(f"runs/book: {os.strerror(number)}; expected ")
    assert told.endswith(remedy)


def test_misuse_exits_2_and_ctrl_c_130(capsys):
    assert _halve("--number", "four") == 2
    assert _halve("--numbre", "4") == 2
    assert _halve("--number", "0") == 130
    assert "groundup halve: interrupted" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback():
    def broken() -> None:
        """Break."""
        raise AssertionError("ours")

    with pytest.raises(AssertionError, match="ours"):
        _command.run([], broken, example="groundup broken")


def test_a_closed_pipe_ends_quietly():
    code = (
        "import sys; from groundup.cli._command import guard\n"
        "def shout():\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "sys.exit(guard(shout, 'groundup shout'))"
    )
    shell = f'"{sys.executable}" -c "$CODE" | head -1'
    environment = {**os.environ, "CODE": code}
    done = subprocess.run(shell, shell=True, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("x" * 100 + "\n", "")


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_closed_pipe_ends_help_quietly(word):
    shell = f'{{ sleep .2; "{sys.executable}" -m groundup {word}; echo $? >&2; }} | true'
    done = subprocess.run(shell, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "0\n")


def _catches_sigterm(child: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{child.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("command", ["train", "demo"])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_while_a_command_is_still_starting_has_its_sentence(
    book, tmp_path, command, number, code, word
):
    given = ["--data", str(book / "data")] if command == "train" else []
    child = subprocess.Popen(
        [sys.executable, "-m", "groundup.cli", command, "--out", str(tmp_path), *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not _catches_sigterm(child):
            assert child.poll() is None
        child.send_signal(number)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, told) == (code, f"groundup {command}: {word}\n")


def test_a_signal_that_a_library_swallowed_ends_the_command_at_its_next_question(capsys):
    def call() -> int:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        raise_if_received()
        return 0

    assert call_until_signalled(call, "groundup x") == 143
    assert capsys.readouterr().err == "groundup x: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_python_m_groundup_is_the_command():
    words = [sys.executable, "-m", "groundup", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"groundup {groundup.__version__}\n")
