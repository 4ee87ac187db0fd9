"""Counts in parts: saved, loaded and merged they train what counting at once trains."""

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.reference import bpe
from groundup.tokenizer import PATTERNS, ChunkCounts, Tokenizer


@pytest.fixture
def table(tmp_path, mixed_text):
    counts = ChunkCounts("gpt2")
    counts.add_texts([mixed_text[:5000]])
    path = tmp_path / "counts.table"
    counts.save(path)
    return path


@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_tables_of_several_machines_train_as_one_text(tmp_path, mixed_text, memory_bytes):
    texts = [mixed_text[i : i + 9001] for i in range(0, len(mixed_text), 9001)]
    whole = ChunkCounts("gpt4", memory_bytes=memory_bytes)
    for i, text in enumerate(texts):
        part = ChunkCounts("gpt4", memory_bytes=memory_bytes)
        part.add_texts([text])
        part.save(tmp_path / str(i))
        whole.add_table(tmp_path / str(i))
    whole.save(tmp_path / "whole")
    loaded = ChunkCounts.load(tmp_path / "whole", memory_bytes=memory_bytes)
    expected = bpe.count_chunks(texts, PATTERNS["gpt4"])
    assert loaded.items() == whole.items() == list(expected.items())
    assert (loaded.n_chunks, len(loaded)) == (sum(expected.values()), len(expected))
    assert loaded.n_bytes == len("".join(texts).encode())
    for ties in bpe.TIES:
        assert Tokenizer.train_from_counts(loaded, 500, ties=ties) == Tokenizer.train(
            texts, 500, ties=ties
        )


def test_a_table_saved_anew_is_the_same_bytes(table):
    again = table.with_name("again")
    ChunkCounts.load(table).save(again)
    assert again.read_bytes() == table.read_bytes()


def test_training_from_counts_takes_their_pattern(mixed_text):
    counts = ChunkCounts("indic-math")
    counts.add_texts([mixed_text])
    tok = Tokenizer.train_from_counts(counts, 400)
    assert tok == Tokenizer.train([mixed_text], 400, pattern="indic-math")
    with pytest.raises(ValueError, match="pattern: expected that of the counts, 'indic-math', got"):
        Tokenizer.train_from_counts(counts, 400, pattern="gpt4")


def test_counts_of_two_patterns_do_not_add_up(table):
    counts = ChunkCounts("gpt4")
    with pytest.raises(ValueError, match="cut by the pattern 'gpt4', got 'gpt2'; chunks of two"):
        counts.add_table(table)
    assert counts.items() == []


def test_a_regex_of_one_s_own_is_kept(tmp_path):
    counts = ChunkCounts(r"\w+|\W+")
    counts.add_texts(["ab ab", "cd"])
    counts.save(tmp_path / "own")
    assert ChunkCounts.load(tmp_path / "own").items() == [(b"ab", 2), (b" ", 1), (b"cd", 1)]


@pytest.mark.parametrize("count", [2**31, 2**40, 2**60])
def test_large_counts_come_back(tmp_path, count):
    counts = ChunkCounts("gpt2")
    counts.add_counts({b"\xff\x00": count, b"a" * 300: 1})
    counts.save(tmp_path / "large")
    assert ChunkCounts.load(tmp_path / "large").items() == [(b"\xff\x00", count), (b"a" * 300, 1)]


def _add_eight_times(counts, path):
    for _ in range(8):
        counts.add_table(path)


def test_a_sum_past_64_bits_is_an_error_and_not_a_small_number(tmp_path):
    counts = ChunkCounts("gpt2")
    counts.add_counts({b"a": 2**61})
    counts.save(tmp_path / "huge")
    total = ChunkCounts("gpt2")
    with pytest.raises(OverflowError, match=r"a total passes 2\^64 - 1; divide all counts"):
        _add_eight_times(total, tmp_path / "huge")
    with pytest.raises(ValueError, match="an earlier call broke off"):
        total.save(tmp_path / "sum")
    assert not (tmp_path / "sum").exists()


def test_a_table_that_sums_to_too_much_by_itself_is_damaged(tmp_path):
    counts = ChunkCounts("gpt2")
    counts.add_counts({b"aaaa": 2**59, b"b": 1})
    counts.save(tmp_path / "huge")
    whole = (tmp_path / "huge").read_bytes()
    small, large = b"\x80" * 8 + b"\x08", b"\xff" * 8 + b"\x7f"  # 2^59 and 2^63 - 1 in LEB128
    head, pattern, body = whole[:56], whole[60:64], whole[68:].replace(small, large)
    head += struct.pack("<I", zlib.crc32(body)) + pattern
    (tmp_path / "huge").write_bytes(head + struct.pack("<I", zlib.crc32(head)) + body)
    with pytest.raises(ValueError, match=r"huge: expected a whole count table, but its own counts"):
        ChunkCounts.load(tmp_path / "huge")


def test_a_table_cut_anywhere_is_refused(table):
    whole = table.read_bytes()
    for size in [*range(90), len(whole) // 2, len(whole) - 1]:
        table.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"counts\.table: expected a (whole )?count table"):
            ChunkCounts.load(table)
    table.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"expected a whole count table of .* copy it again"):
        ChunkCounts.load(table)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_damaged_table_is_a_sentence_at_once(tmp_path_factory, data):
    counts = ChunkCounts("gpt2")
    counts.add_texts(["the cat sat on the mat, the cat " + "long" * 9])
    path = tmp_path_factory.getbasetemp() / "damaged.table"
    counts.save(path)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    if damaged == path.read_bytes():
        return
    if data.draw(st.booleans()):  # a stranger's, whose header agrees with itself
        head, pattern, body = damaged[:56], damaged[60:64], damaged[68:]
        head = head + struct.pack("<I", zlib.crc32(body)) + pattern
        damaged = head + struct.pack("<I", zlib.crc32(head)) + body
    path.write_bytes(damaged)
    with contextlib.suppress(ValueError):  # nothing else, and nothing worse
        ChunkCounts.load(path).items()


def test_what_is_no_table_is_told(tmp_path):
    path = tmp_path / "text"
    path.write_text("not a table " * 20)
    with pytest.raises(ValueError, match=r"text: expected a count table, as ChunkCounts\.save"):
        ChunkCounts.load(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected a count table, got no regular file"):
        ChunkCounts.load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        ChunkCounts.load(tmp_path / "absent")


@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_a_full_disk_leaves_the_old_table(tmp_path, table, memory_bytes):
    old = table.read_bytes()
    script = (
        "import resource, sys\n"
        "from groundup.tokenizer import ChunkCounts\n"
        f"counts = ChunkCounts('gpt2', memory_bytes={memory_bytes})\n"
        "counts.add_texts([' '.join(map(str, range(99_999)))])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n"
        "    counts.save(sys.argv[1])\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, table], capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    assert table.read_bytes() == old
    assert [path.name for path in table.parent.iterdir()] == [table.name]


def test_ctrl_c_while_runs_are_written_leaves_nothing_behind(tmp_path):
    text = tmp_path / "text"
    text.write_text(" ".join(map(str, range(3_000_000))))
    folder = tmp_path / "runs"
    folder.mkdir()
    script = (
        "import sys\n"
        "from groundup.tokenizer import ChunkCounts\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    ChunkCounts('gpt2', threads=2, memory_bytes=1 << 18).add_files([sys.argv[1]])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, complaint = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in complaint
    assert list(folder.iterdir()) == []


def test_a_waiting_pipe_is_ended_by_ctrl_c(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for threads in (1, 2):
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            ChunkCounts("gpt2", threads=threads).add_files([tmp_path / "pipe"])
        timer.join()


def test_two_processes_that_write_one_path_leave_one_of_the_tables(tmp_path):
    path = tmp_path / "table"
    script = (
        "import sys\n"
        "from groundup.tokenizer import ChunkCounts\n"
        "counts = ChunkCounts('gpt2')\n"
        "counts.add_counts({b'%d' % i: int(sys.argv[2]) for i in range(2000)})\n"
        "for _ in range(15):\n"
        "    counts.save(sys.argv[1])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, path, str(number)]) for number in (1, 2)
    ]
    while not path.exists():
        time.sleep(0.01)
    while any(writer.poll() is None for writer in writers):
        assert {count for _, count in ChunkCounts.load(path).items()} in ({1}, {2})
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [left.name for left in tmp_path.iterdir()] == ["table"]


def test_counts_are_saved_and_not_pickled():
    with pytest.raises(TypeError, match=r"counts are not pickled; save\(\) them to a file"):
        pickle.dumps(ChunkCounts("gpt2"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.add_texts("text"), r"got a single text; pass \[text\]"),
        (lambda c: c.add_files("book.txt"), r"expected several paths, got one; pass \[path\]"),
        (lambda c: c.add_files(["."]), "expected a file of text, got a folder"),
        (lambda c: c.add_counts([(b"a", 1)]), "counts: expected a mapping of bytes .* got list"),
        (lambda c: c.add_counts({b"a": -1}), "counts: expected bytes and how often they occur"),
        (lambda c: c.add_texts(["a"], progress=3), "progress: expected a function, got 3"),
    ],
)
def test_bad_arguments_are_told_and_add_nothing(call, message):
    counts = ChunkCounts("gpt2")
    with pytest.raises(ValueError, match=message):
        call(counts)
    assert counts.items() == []


def test_the_reference_reads_and_writes_the_same_tables(table, tmp_path, monkeypatch):
    from groundup.tokenizer import counts as module
    from groundup.tokenizer.engine import ReferenceChunks

    native = ChunkCounts.load(table).items()
    monkeypatch.setattr(module, "new_chunks", lambda memory_bytes: ReferenceChunks())
    plain = ChunkCounts.load(table)
    assert plain.items() == native
    plain.save(tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == table.read_bytes()
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(ValueError, match="expected a whole count table"):
        ChunkCounts.load(table)
