"""Data sets: found on the search path, fetched from a server of the test's own, and checked."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from groundup.cli import data as command
from groundup.data import catalogue
from groundup.data.catalogue import DataSet, File

CONTENTS = bytes(range(256)) * 2000


class Home(BaseHTTPRequestHandler):
    """Serves CONTENTS, with ranges unless told not to, and cut short where told."""

    ranges = True
    cut_after: int | None = None
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Home.asked.append(wanted)
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and Home.ranges else 0
        body = CONTENTS[first:]
        self.send_response(206 if wanted and Home.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if Home.cut_after is None else body[: Home.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A server in the place of the public one, an empty cache, and no GROUNDUP_DATA."""
    Home.ranges, Home.cut_after, Home.asked = True, None, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Home)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(catalogue, "HOME", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GROUNDUP_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    yield server
    server.shutdown()
    server.server_close()


def a_file(source: str = "some/where", contents: bytes = CONTENTS) -> File:
    return File("set/file.bin", source, len(contents), hashlib.sha256(contents).hexdigest())


def test_every_listed_file_is_pinned_and_its_path_begins_with_the_sets_name():
    assert {"names", "tinyshakespeare"} <= set(catalogue.data_sets())
    for each in catalogue.data_sets().values():
        assert each.files
        for file in each.files:
            repository, commit, *rest = file.source.split("/")[1:]
            assert repository
            assert len(commit) == 40
            assert rest
            assert file.path.startswith(each.name + "/")
            assert len(file.sha256) == 64
            assert file.size > 0


def test_the_shared_copy_is_what_would_be_fetched(data_file):
    for each in catalogue.data_sets().values():
        for file in each.files:
            contents = data_file(file.path).read_bytes()
            assert len(contents) == file.size, file.path
            assert hashlib.sha256(contents).hexdigest() == file.sha256, file.path


def test_a_file_is_fetched_once_and_found_afterwards(home):
    assert catalogue.find("set/file.bin") is None
    come = []
    path = catalogue.fetch(a_file(), come.append)
    assert path.read_bytes() == CONTENTS
    assert sum(come) == len(CONTENTS)
    assert catalogue.find("set/file.bin") == path
    assert catalogue.fetch(a_file()) == path
    assert len(Home.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_fetch_that_was_cut_off_goes_on(home, ranges):
    Home.ranges, Home.cut_after = ranges, 100_000
    with pytest.raises(OSError, match=r"could not be fetched .* repeat to go on .* GROUNDUP_DATA"):
        catalogue.fetch(a_file())
    assert catalogue.find("set/file.bin") is None
    Home.cut_after = None
    assert catalogue.fetch(a_file()).read_bytes() == CONTENTS
    assert Home.asked == [None, "bytes=100000-"]


def test_other_bytes_are_refused_and_not_kept(home):
    wrong = File("set/file.bin", "x", len(CONTENTS), "0" * 64)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"expected 512000 bytes with SHA-256 0000"):
            catalogue.fetch(wrong)
        assert list((catalogue.cache_folder() / "set").glob("file*")) == []


def test_a_server_that_sends_without_end_is_not_followed(home):
    shorter = a_file(contents=CONTENTS[:1000])
    with pytest.raises(ValueError, match="other bytes came"):
        catalogue.fetch(shorter)


def test_a_damaged_copy_in_the_cache_is_fetched_anew(home):
    path = catalogue.fetch(a_file())
    path.write_bytes(b"damaged")
    assert catalogue.fetch(a_file()).read_bytes() == CONTENTS


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_or_file_the_error_says_what_to_do_by_hand(home, offline, monkeypatch):
    if offline:
        monkeypatch.setattr(catalogue, "HOME", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"could not be fetched .* put it at .*set/file.bin, or name"):
        catalogue.fetch(a_file("missing"))


def test_folders_of_groundup_data_come_before_the_cache(home, tmp_path, monkeypatch):
    catalogue.fetch(a_file())
    for name in ("one", "two"):
        (tmp_path / name / "set").mkdir(parents=True)
        (tmp_path / name / "set" / "file.bin").write_text(name)
    monkeypatch.setenv(
        "GROUNDUP_DATA", f"{tmp_path / 'none'}::{tmp_path / 'two'}:{tmp_path / 'one'}"
    )
    assert catalogue.locate("set/file.bin").read_text() == "two"


def test_a_file_that_is_nowhere_says_how_to_get_it(home):
    with pytest.raises(FileNotFoundError, match="`groundup data get names` fetches it; or put it"):
        catalogue.locate("names/names.txt")
    with pytest.raises(FileNotFoundError, match=r"x/y is not on this machine: put it at"):
        catalogue.locate("x/y")


def test_the_cache_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("GROUNDUP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert catalogue.cache_folder() == tmp_path / "groundup" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalogue.cache_folder() == tmp_path / ".cache" / "groundup" / "data"


def test_the_command_lists_and_gets(home, capsys, monkeypatch):
    own = DataSet("set", "bytes", "none", (a_file(),))
    monkeypatch.setattr(catalogue, "data_sets", lambda: {"set": own})
    assert command.main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["folder"] is None
    assert command.main(["get", "set"]) == 0
    path = capsys.readouterr().out.strip()
    assert path.endswith("set/file.bin")
    assert command.main(["get", "set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [path]
    assert command.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "0.5 MB  bytes (none)" in shown
    assert path.removesuffix("/file.bin") in shown


def test_an_unknown_set_and_no_set_are_sentences(capsys):
    assert command.main(["get", "nams"]) == 1
    assert "'nams' is no data set; expected one of names" in capsys.readouterr().err
    assert command.main(["get"]) in (1, 2)
