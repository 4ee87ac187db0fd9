"""write_atomic: the file is whole or as it was."""

import os
import stat
from pathlib import Path

import pytest

from groundup._files import write_atomic


def test_the_contents_arrive_and_nothing_else_stays(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    write_atomic(path, b"first")
    write_atomic(str(path), b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.bin"]


def test_permissions_are_those_of_an_ordinary_file_or_of_the_old_one(tmp_path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomic(path, b"new")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o600)
    write_atomic(path, b"newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_followed(tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    pipe, folder, link = tmp_path / "pipe", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(pipe)
    for path in (pipe, folder, link):
        with pytest.raises(OSError, match="expected a regular file or none"):
            write_atomic(path, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_file_is_told_with_the_files_own_name():
    with pytest.raises(OSError, match=r"/proc/self/book\.json"):
        write_atomic("/proc/self/book.json", b"")
