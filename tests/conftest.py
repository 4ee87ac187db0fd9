"""Where tests find real data: only through GROUNDUP_DATA, a search path of folders."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline would be an assertion of time: under a sanitizer, or on a busy machine, it fails.
settings.register_profile("groundup", deadline=None)
settings.load_profile("groundup")


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that
    # send it to a child would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], Path]:
    """data_file("bpe/vocab.bpe") is that file's path; without the data the test is skipped."""

    def find(name: str) -> Path:
        folders = [
            folder for folder in os.environ.get("GROUNDUP_DATA", "").split(os.pathsep) if folder
        ]
        for folder in folders:
            if (path := Path(folder) / name).is_file():
                return path
        return pytest.skip(f"{name} is not in a folder of GROUNDUP_DATA")

    return find
