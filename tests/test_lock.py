"""One run at a time in a folder, and whoever comes second is told whose it is."""

import os
import subprocess
import sys
import threading

import pytest

from groundup._lock import LOCK, only_run_in

_HOLD = """
import sys
from pathlib import Path
from groundup._lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_a_folder_held_by_another_process_is_told_with_its_number(tmp_path, holder):
    told = rf"another run is at work there \(process {holder.pid}: -c {tmp_path}\); wait until"
    with pytest.raises(ValueError, match=told), only_run_in(tmp_path):
        pass


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path, holder):
    holder.kill()
    holder.wait()
    with only_run_in(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()}: ")


def test_the_thread_that_holds_a_folder_may_do_so_again_and_others_may_not(tmp_path):
    refused = []

    def attempt():
        try:
            with only_run_in(tmp_path):
                pass
        except ValueError as error:
            refused.append(error)

    with only_run_in(tmp_path), only_run_in(tmp_path / "." / "a" / ".."):
        other = threading.Thread(target=attempt)
        other.start()
        other.join()
    assert len(refused) == 1
    attempt()
    assert len(refused) == 1
