"""A lesson's table, stand-in data and exit code; the command that lists and runs lessons."""

import codecs
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from groundup import course
from groundup.cli import lesson as command
from groundup.data.catalogue import DataSet, File
from groundup.reference.makemore.words import Vocabulary, read_names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working folder of the test's own, and no data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GROUNDUP_DATA", raising=False)
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))


def test_figures_pass_miss_or_are_not_compared(capsys, tmp_path):
    lesson = course.Lesson(7, "a test", "fast")
    assert not lesson.has_stand_in
    assert lesson.text("names/names.txt", lambda: "anna") == "anna"
    assert lesson.has_stand_in
    lesson.check("near", 2.454, 2.4540, within=1e-3)
    lesson.check("far", 2.6, 2.4540, within=1e-3)
    lesson.check("not a number", float("nan"), 1.0, within=10)
    lesson.check("elsewhere", 9.0, 2.4540, of="names/names.txt")
    assert lesson.file("bpe/none.tiktoken") is None
    lesson.claim("nor this", False, of=("bpe/there", "bpe/none.tiktoken"))
    lesson.check_band("inside", 2, 1, 3)
    lesson.show("beside", 0.5, 0.8778)
    lesson.claim("so it is", False)
    with pytest.raises(SystemExit) as stop:
        lesson.finish()
    assert stop.value.code == 1
    passed = [line.passed for line in lesson.checked]
    assert passed == [True, False, False, None, None, True, None, False]
    shown = capsys.readouterr().out
    assert f"names/names.txt is not on this machine (looked in {tmp_path / 'cache'})" in shown
    assert "beside: 0.5000 (expected 0.8778 as published) not compared" in shown
    assert "2 of 5 figures pass; 3 not compared; 0 s" in shown
    assert str(course.last_run(7)) == "2 of 5 figures pass, 3 not compared (fast)"
    assert "MISS far: 2.6000, expected 2.4540 within 0.001" in shown
    assert course.last_run(7) == (2, 5, "fast", 3)


TEXT = b"emma\nolivia\n"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A data set of one text, and where this machine keeps it."""
    digest = hashlib.sha256(TEXT).hexdigest()
    own = DataSet("set", "names", "none", (File("set/a.txt", len(TEXT), digest),))
    monkeypatch.setattr(course.catalogue, "data_sets", lambda: {"set": own})
    monkeypatch.setenv("GROUNDUP_DATA", str(tmp_path / "data"))
    place = tmp_path / "data" / "set" / "a.txt"
    place.parent.mkdir(parents=True)
    return place


@pytest.mark.parametrize("held", [TEXT, TEXT.replace(b"\n", b"\r\n")])
def test_the_published_text_is_compared_with_any_line_ends(published, held, capsys):
    published.write_bytes(held)
    lesson = course.Lesson(2, "a test", "fast")
    assert lesson.text("set/a.txt", str) == TEXT.decode()
    lesson.claim("so it is", True, of="set/a.txt")
    assert lesson.checked[0].passed
    assert "published" not in capsys.readouterr().out


@pytest.mark.parametrize("held", [b"", b"\xff\xfe", TEXT[:-3], codecs.BOM_UTF8 + TEXT])
def test_another_file_of_that_name_is_told_and_has_a_stand_in(published, held, capsys):
    published.write_bytes(held)
    lesson = course.Lesson(2, "a test", "fast")
    assert lesson.text("set/a.txt", lambda: "anna") == "anna"
    lesson.claim("so it is", False, of="set/a.txt")
    assert lesson.checked[0].passed is None
    shown = capsys.readouterr().out
    assert f"{published} is not the published set/a.txt: expected 12 bytes with SHA-256" in shown
    assert f"got {len(held)} with {hashlib.sha256(held).hexdigest()}; this run uses other" in shown
    assert "To have it, remove the other, and run `groundup data get set`" in shown


def test_a_full_disk_ends_a_lesson_with_a_sentence(monkeypatch):
    def full(path, contents):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(course, "write_atomic", full)
    lesson = course.Lesson(3, "a test", "fast")
    sentence = r"lesson 3: runs/lessons/03/{} could not be written \(No space .*\); make room"
    with pytest.raises(SystemExit, match=sentence.format("note.txt")):
        lesson.keep_bytes("note.txt", b"hello")
    with pytest.raises(SystemExit, match=sentence.format("figures.json")):
        lesson.finish()


def test_pictures_and_files_are_kept_in_the_lessons_folder():
    lesson = course.Lesson(3, "a test", "fast")
    picture = lesson.figure("curve")
    assert picture is not None
    picture.subplots().plot([1, 2, 4])
    lesson.keep(picture)
    lesson.keep_bytes("note.txt", b"hello")
    lesson.finish()
    assert (course.folder(3) / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in course.folder(3).iterdir()} == {"curve.png", "note.txt", "figures.json"}


def test_a_run_that_is_cut_off_has_no_figures():
    course.Lesson(3, "a test", "fast").finish()
    assert course.last_run(3) == (0, 0, "fast", 0)
    course.Lesson(3, "a test", "fast")
    assert course.last_run(3) is None


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder would be")
    with pytest.raises(SystemExit, match=r"lesson 3: expected to keep .* change to a folder"):
        course.Lesson(3, "a test", "fast")
    assert course.last_run(3) is None


def test_modes_are_of_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lesson.py", "--full"])
    assert course.Lesson(1, "a test").choose(fast=1, usual=2, full=3) == 3
    with pytest.raises(ValueError, match="expected one of fast, usual, full, got 'slow'"):
        course.Lesson(1, "a test", "slow")


def test_a_label_is_a_number_and_perhaps_a_letter(tmp_path, monkeypatch):
    assert [course.label(name) for name in (7, "7b", "07b", "10")] == ["7", "7b", "7b", "10"]
    assert [str(course.folder(name)) for name in (7, "7b", "10c")] == [
        "runs/lessons/07",
        "runs/lessons/07b",
        "runs/lessons/10c",
    ]
    for wrong in ("b7", "7bc", "../7", -7, "", "100"):
        with pytest.raises(ValueError, match='expected a number such as 7, or "7b"'):
            course.label(wrong)
    course.Lesson("7b", "a test", "fast").finish()
    assert course.last_run("07b") == (0, 0, "fast", 0)
    assert course.last_run(7) is None
    place = tmp_path / "lessons"
    place.mkdir()
    for name in ("07b_more.py", "10_last.py", "07_first.py", "notes.py"):
        (place / name).write_text('"""A title.\n\nMore."""\n')
    monkeypatch.setattr(command.groundup, "__file__", str(tmp_path / "python/groundup/x.py"))
    assert list(command.scripts()) == ["7", "7b", "10"]
    assert command.scripts()["7b"] == command.Script("7b", "A title", place / "07b_more.py")


def test_a_mistyped_mode_is_told_where_a_script_runs_and_a_notebook_has_words_of_its_own(
    monkeypatch,
):
    for words in (["--fulll"], ["full"], ["--fast", "--full"]):
        monkeypatch.setattr(sys, "argv", ["lessons/07b_x.py", *words])
        with pytest.raises(SystemExit, match=f"--full or neither, got {' '.join(words)}"):
            course.Lesson(1, "a test")
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert course.Lesson(1, "a test").mode == "usual"


def test_every_machine_has_words_and_text():
    names = read_names(course.names_of_python())
    assert len(names) > 1000
    assert len(Vocabulary.of(names)) == 27
    assert len(course.text_of_python(50_000)) > 45_000


def test_the_command_lists_lessons_with_what_their_last_run_gave(capsys):
    assert command.main([]) == 0
    shown = capsys.readouterr().out
    assert " 1  not run here  Derivatives, and a neuron" in shown
    assert "`groundup lesson 1` runs one" in shown
    assert command.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["last_run"] is None
    assert command.main(["99"]) == 1
    assert "expected `all` or one of 1, 1b, 2" in capsys.readouterr().err
    assert command.main(["all", "99"]) == 1
    assert "got '99'" in capsys.readouterr().err
    assert command.main(["1", "--full", "--fast"]) == 1


def test_ctrl_c_ends_a_lessons_script_without_a_traceback(tmp_path):
    script = tmp_path / "01_waits.py"
    script.write_text(
        "import signal\n"
        "from groundup.course import Lesson\n"
        "Lesson(1, 'Waits')\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        -signal.SIGINT,
        "\nlesson: interrupted; what it kept stays\n",
    )


def test_ctrl_c_ends_a_lesson_with_a_sentence_and_what_it_kept_stays(tmp_path):
    words = [sys.executable, "-m", "groundup", "lesson", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, **pipes, text=True, start_new_session=True)
    try:
        kept = tmp_path / "runs" / "lessons" / "01" / "neuron.svg"
        while not kept.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to both processes
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, told) == (130, "groundup lesson: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no lesson goes on
    assert kept.read_text().endswith("</svg>\n")
    assert course.last_run(1) is None


def test_a_second_run_in_one_folder_ends_before_its_work(tmp_path):
    script = tmp_path / "01_waits.py"
    script.write_text(
        "from groundup.course import Lesson\n"
        "Lesson(1, 'Waits')\n"
        "print('ready', flush=True)\n"
        "input()\n"
    )
    words, pipe = [sys.executable, script], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as first:
        while first.stdout.readline() != "ready\n":
            assert first.poll() is None
        second = subprocess.run(words, capture_output=True, text=True)
        first.communicate("\n")
    assert (second.returncode, second.stdout, first.returncode) == (1, "", 0)
    assert second.stderr == (
        "lesson 1: another run of it is at work in runs/lessons/01; wait until it has ended, or "
        "change to another folder\n"
    )


@pytest.mark.parametrize("way", ["-m groundup lesson 1", f"{command.scripts()['1'].path}"])
def test_a_reader_who_leaves_ends_a_lesson_without_a_word(way):
    shell = f"{sys.executable} {way} | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Lesson 1: Derivatives and micrograd (usual)\n", "")


EACH = pytest.mark.parametrize("label", list(command.scripts()))


@EACH
def test_the_fast_part_of_a_lesson_passes(label, tmp_path, given_data):
    run(command.scripts()[label], tmp_path, given_data, "--fast")


@pytest.mark.slow
@EACH
def test_a_lesson_passes_on_what_every_machine_has(label, tmp_path):
    run(command.scripts()[label], tmp_path, "", "--fast")


@pytest.mark.slow
@EACH
def test_a_whole_lesson_passes(label, tmp_path, given_data):
    run(command.scripts()[label], tmp_path, given_data)


def run(script, folder, data, *mode):
    done = subprocess.run(
        [sys.executable, str(script.path), *mode],
        cwd=folder,
        env={**os.environ, "GROUNDUP_DATA": data, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
