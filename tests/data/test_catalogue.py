"""Data sets: found on the search path, fetched from a server of the test's own, and checked."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from groundup.cli import data as command
from groundup.data import catalogue
from groundup.data.catalogue import DataSet, File
from groundup.data.derivation import DERIVATIONS

# Every byte is its own character: no line end, no byte-order mark, no UTF-8 of two bytes.
CONTENTS = bytes(range(14, 128)) * 4000


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
    return File("set/file.bin", len(contents), hashlib.sha256(contents).hexdigest(), source)


PASSAGE = CONTENTS[1000:3000]


def a_passage(expected: bytes = PASSAGE, begins: str = PASSAGE[:40].decode("iso-8859-1")) -> File:
    """A file that is made of what the server sends."""
    return File(
        "set/passage.txt",
        len(expected),
        hashlib.sha256(expected).hexdigest(),
        derive="passage",
        originals=(replace(a_file(), path="set/originals/file.bin"),),
        begins=begins,
        encoding="iso-8859-1",
    )


def test_every_listed_file_is_pinned_and_its_path_begins_with_the_sets_name():
    assert {"names", "tinyshakespeare"} <= set(catalogue.data_sets())
    for each in catalogue.data_sets().values():
        assert each.files
        for file in each.files:
            assert file.path.startswith(each.name + "/")
            assert file.derive in DERIVATIONS or not file.derive
            assert bool(file.derive) == bool(file.originals)
        fetched = [file for file in each.files if not file.derive and not each.by_hand]
        fetched += [original for file in each.files for original in file.originals]
        for file in fetched:
            repository, commit, *rest = file.source.split("/")[1:]
            assert repository
            assert len(commit) == 40
            assert rest
        for file in (*fetched, *each.files):
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
    wrong = File("set/file.bin", len(CONTENTS), "0" * 64, "x")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"expected 456000 bytes with SHA-256 0000"):
            catalogue.fetch(wrong)
        assert list((catalogue.cache_folder() / "set").glob("file*")) == []


@pytest.mark.parametrize("left", [b"?" * len(CONTENTS), CONTENTS])
def test_what_an_earlier_try_left_is_checked_before_the_address_is_blamed(home, left):
    partial = catalogue.cache_folder() / "set" / "file.bin.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(left)
    assert catalogue.fetch(a_file()).read_bytes() == CONTENTS
    assert Home.asked == ([] if left == CONTENTS else [None])


def test_a_copy_in_groundup_data_is_not_fetched_and_another_file_there_is_told(
    home, tmp_path, monkeypatch
):
    monkeypatch.setattr(catalogue, "HOME", "http://127.0.0.1:9")
    monkeypatch.setenv("GROUNDUP_DATA", str(tmp_path / "mine"))
    place = tmp_path / "mine" / "set" / "file.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENTS)
    assert catalogue.fetch(a_file()) == place
    place.write_bytes(CONTENTS[1:])
    with pytest.raises(ValueError, match=r"mine/set/file.bin: .* found before .*; remove it, or"):
        catalogue.fetch(a_file())


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
    (before,) = json.loads(capsys.readouterr().out)
    assert (before["folder"], before["not_published"]) == (None, [])
    assert command.main(["get", "set"]) == 0
    path = capsys.readouterr().out.strip()
    assert path.endswith("set/file.bin")
    assert command.main(["get", "set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [path]
    assert command.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "0.5 MB  bytes (none)" in shown
    assert path.removesuffix("/file.bin") in shown
    assert "not the published file" not in shown
    Path(path).write_bytes(b"four")
    assert command.main(["list"]) == 0
    assert f"not the published file: {path}" in capsys.readouterr().out


def test_an_unknown_set_and_no_set_are_sentences(capsys):
    assert command.main(["get", "nams"]) == 1
    assert "'nams' is no data set; expected one of names" in capsys.readouterr().err
    assert command.main(["get"]) in (1, 2)


def test_a_file_is_made_of_what_is_fetched_and_only_it_is_kept(home):
    come = []
    made = replace(a_passage(), begins=PASSAGE[:114].decode())
    expected = CONTENTS[1000 % 114 :][: len(PASSAGE)]
    made = replace(made, sha256=hashlib.sha256(expected).hexdigest())
    path = catalogue.fetch(made, come.append)
    assert path.read_bytes() == expected
    assert sum(come) == len(CONTENTS) == made.n_fetched
    assert [p.name for p in path.parent.rglob("*.bin*")] == []
    assert catalogue.fetch(made, come.append) == path
    assert len(Home.asked) == 1


def test_an_original_that_was_cut_off_goes_on(home):
    Home.cut_after = 100_000
    with pytest.raises(OSError, match=r"could not be fetched .* repeat to go on"):
        catalogue.fetch(a_passage())
    Home.cut_after = None
    with pytest.raises(ValueError, match="expected 2000 bytes with SHA-256"):
        catalogue.fetch(a_passage(begins="never there"))
    assert Home.asked == [None, "bytes=100000-"]
    assert catalogue.find("set/passage.txt") is None


@pytest.mark.parametrize(
    ("begins", "got"), [("never there", "a text that holds 'never there'"), ("P", "other bytes")]
)
def test_what_cannot_be_made_is_refused_with_what_to_do(home, begins, got):
    with pytest.raises(ValueError, match=rf"to be made of .*, got .*{got}.* put it at .*passage"):
        catalogue.fetch(a_passage(begins=begins, expected=b"?" * 2000))


def test_a_file_made_of_others_of_its_set_keeps_them(home):
    original = a_file()
    made = replace(a_passage(CONTENTS[:50], CONTENTS[:20].decode()), originals=(original,))
    assert made.n_fetched == 0
    assert catalogue.fetch(made).read_bytes() == CONTENTS[:50]
    assert catalogue.find(original.path) is not None


def test_an_original_put_in_place_by_hand_is_used(home, tmp_path, monkeypatch):
    place = tmp_path / "mine" / "set" / "originals" / "file.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENTS)
    monkeypatch.setenv("GROUNDUP_DATA", str(tmp_path / "mine"))
    made = a_passage(CONTENTS[:50], CONTENTS[:20].decode())
    assert catalogue.fetch(made).read_bytes() == CONTENTS[:50]
    assert place.exists()
    assert Home.asked == []


def test_what_is_put_in_place_by_hand_is_checked_or_asked_for(home, capsys, monkeypatch, tmp_path):
    own = DataSet("set", "bytes", "none", (a_file(),), by_hand="a library's cellar.")
    monkeypatch.setattr(catalogue, "data_sets", lambda: {"set": own})
    assert command.main(["list"]) == 0
    assert "not fetched: a library's cellar." in capsys.readouterr().out
    assert command.main(["get", "set"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "set/file.bin cannot be fetched: a library's cellar. To have it, put it at" in told
    with pytest.raises(FileNotFoundError, match=r"set/file.bin is not on this machine: put it at"):
        catalogue.locate("set/file.bin")
    place = tmp_path / "mine" / "set" / "file.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"another")
    monkeypatch.setenv("GROUNDUP_DATA", str(tmp_path / "mine"))
    assert command.main(["get", "set"]) == 1
    assert "got another file" in " ".join(capsys.readouterr().err.split())
    place.write_bytes(CONTENTS)
    assert command.main(["get", "set"]) == 0
    assert capsys.readouterr().out.strip() == str(place)
    assert Home.asked == []
