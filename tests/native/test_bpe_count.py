"""Chunk counts are exact, in order of first appearance, whatever the threads."""

import os
import re
import subprocess
import sys
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup import _C
from groundup.tokenizer import count_records, engine

PATTERNS = ["gpt2", "gpt4", "gpt4o", "none"]


def slow_counts(texts: list[str], pattern: str) -> list[tuple[bytes, int]]:
    counts: Counter[bytes] = Counter()
    for text in texts:
        encoded, begin = text.encode(), 0
        for end in _C.split(text, pattern).tolist():
            counts[encoded[begin:end]] += 1
            begin = end
    return list(counts.items())  # a dict keeps the order of first appearance


def counted(texts: list[str], pattern: str, threads: int = 1) -> _C.ChunkCounts:
    counts = _C.ChunkCounts()
    counts.add_texts(texts, pattern, threads)
    return counts


def prose(n_words: int) -> str:
    """Text whose words keep coming up anew, some longer than a packed key."""
    words = (f"w{i * i % 9973}{'long' * (i % 7)} {'क्षमा' * (i % 3)}" for i in range(n_words))
    return " ".join(words)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from("ab '\n\x00é1क"), max_size=60), max_size=6))
def test_counts_equal_a_dict_of_chunks(pattern, texts):
    counts = counted(texts, pattern)
    assert counts.items() == slow_counts(texts, pattern)
    assert counts.n_chunks == sum(count for _, count in counts.items())
    assert counts.n_bytes == sum(len(text.encode()) for text in texts)
    assert len(counts) == len(counts.items())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_thread_count_changes_neither_counts_nor_order(pattern):
    texts = [prose(400_000), "", "tail", prose(1000)]  # several pieces of a megabyte
    expected = slow_counts(texts, pattern)
    for threads in (1, 2, 8):
        assert counted(texts, pattern, threads).items() == expected


def test_adding_in_parts_equals_adding_at_once():
    parts = [prose(n) for n in (10, 2000, 3, 500)]
    counts = _C.ChunkCounts()
    for threads, part in enumerate(parts, start=1):
        counts.add_texts([part], "gpt2", threads)
        len(counts)  # listing in between must not change what follows
    assert counts.items() == slow_counts(parts, "gpt2")


def test_a_cut_between_pieces_falls_at_no_chunks_inside():
    """Two megabytes with no place to cut but the end, then with blanks that belong together."""
    for text in ["x" * 2_500_000, "a" * (1 << 20) + "   \n  b", ("é" * 9 + "     ") * 120_000]:
        assert counted([text], "gpt4", 2).items() == slow_counts([text], "gpt4")


def test_a_file_counts_as_its_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(prose(1000), encoding="utf-8")
    counts = _C.ChunkCounts()
    assert counts.add_files([str(path)], "gpt4", 2) == path.stat().st_size
    assert counts.items() == slow_counts([prose(1000)], "gpt4")


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "gpt4o", "indic-math", "none"])
def test_a_file_read_in_parts_counts_as_its_text(tmp_path, pattern):
    text = "the  cat's é नमस्ते 12345 x² \n\n don't\r\n😀 a\t" * 700_000  # more than one part
    path = tmp_path / "long.txt"
    path.write_bytes(text.encode())
    of_file = _C.ChunkCounts()
    assert of_file.add_files([str(path)], pattern, 2) == path.stat().st_size > 1 << 25
    of_text = counted([text], pattern, 2)
    assert of_file.items() == of_text.items()
    assert (of_file.n_chunks, of_file.n_bytes) == (of_text.n_chunks, of_text.n_bytes)
    with path.open("ab") as file:
        file.write(b"\xe0\xa4")
    with pytest.raises(ValueError, match=f"byte {len(text.encode())} is not"):
        _C.ChunkCounts().add_files([str(path)], pattern, 2)


@pytest.mark.parametrize("threads", [1, 8])
def test_a_file_cut_short_while_it_is_counted_is_told_and_ends_no_process(tmp_path, threads):
    """A mapped file would: behind its new end there is no memory any more."""
    path = tmp_path / "log.txt"
    path.write_bytes(b"the cat sat on the mat\n" * 3_000_000)
    counts = _C.ChunkCounts()
    with pytest.raises(ValueError, match=r"log\.txt: the file changed while its \d+ bytes were"):
        counts.add_files([path], "gpt4", threads, lambda n_bytes: os.truncate(path, 10))
    with pytest.raises(ValueError, match=r"an earlier call broke off, .* count again into new"):
        counts.items()


def test_a_pipe_is_counted_while_a_thread_of_the_same_process_writes_it(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=["the cat " * 100_000], daemon=True)
    writer.start()
    counts = _C.ChunkCounts()
    assert counts.add_files([str(path)], "gpt2", 1) == 800_000
    writer.join()


def test_a_file_is_opened_by_its_whole_name(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9"  # latin-1: no UTF-8
    with open(name, "wb") as file:
        file.write(b"\xff")
    with pytest.raises(ValueError, match=r"caf.*expected UTF-8, but byte 0"):
        _C.ChunkCounts().add_files([os.fsdecode(name)], "gpt2", 1)
    (tmp_path / "a").write_text("text")
    with pytest.raises(ValueError, match="null byte"):
        _C.ChunkCounts().add_files([f"{tmp_path}/a\0b"], "gpt2", 1)


def test_an_empty_file_adds_nothing(tmp_path):
    (tmp_path / "empty").touch()
    counts = _C.ChunkCounts()
    assert counts.add_files([str(tmp_path / "empty")], "gpt4", 1) == 0
    assert counts.items() == []


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"abc\xff", 3),
        (b"12345678\xc3", 8),
        (b"\xc0\xaf", 0),
        (b"\xe0\x80\x80", 0),
        (b"ok\xed\xa0\x80", 2),
        (b"\xf4\x90\x80\x80", 0),
        (b"\xf0\x8f\xbf\xbf", 0),
        (b"\xe2\x82", 0),
        (b"a\x80", 1),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_the_offset(tmp_path, raw, offset):
    path = tmp_path / "latin1.txt"
    path.write_bytes(raw)
    counts = _C.ChunkCounts()
    with pytest.raises(
        ValueError, match=f"latin1.txt: expected UTF-8, but byte {offset} is not; .*iconv"
    ):
        counts.add_files([str(path)], "gpt2", 1)
    with pytest.raises(ValueError, match="an earlier call broke off"):
        len(counts)


@settings(max_examples=300, deadline=None)
@given(
    raw=st.binary(max_size=40) | st.text(max_size=12).map(lambda text: text.encode() + b"\xe2\x82")
)
def test_utf8_validation_finds_the_byte_that_python_finds(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(raw)
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(ValueError, match=f"byte {error.start} is not"):
            _C.ChunkCounts().add_files([str(path)], "gpt2", 1)
    else:
        _C.ChunkCounts().add_files([str(path)], "gpt2", 1)


def test_a_missing_file_and_a_folder_raise_as_open_does(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _C.ChunkCounts().add_files([str(tmp_path / "nowhere")], "gpt2", 1)
    with pytest.raises(IsADirectoryError):
        _C.ChunkCounts().add_files([str(tmp_path)], "gpt2", 1)


def test_added_chunks_keep_any_bytes_and_large_counts():
    counts = _C.ChunkCounts()
    counts.add_chunks([b"\xff\x00", b"", b"a" * 40, b"zero", b"\xff\x00"], [1 << 40, 5, 7, 0, 1])
    assert counts.items() == [(b"\xff\x00", (1 << 40) + 1), (b"a" * 40, 7)]
    assert counts.n_chunks == (1 << 40) + 8


def test_keys_that_differ_only_in_trailing_nul_are_different_chunks():
    chunks = [b"\x00" * n for n in range(1, 40)]
    counts = _C.ChunkCounts()
    counts.add_chunks(chunks, [1] * len(chunks))
    assert [chunk for chunk, _ in counts.items()] == chunks


def test_a_count_past_64_bits_raises_instead_of_wrapping():
    counts = _C.ChunkCounts()
    with pytest.raises(OverflowError, match="counts: a total passes 2\\^64 - 1"):
        counts.add_chunks([b"a", b"a"], [(1 << 64) - 1, 1])
    with pytest.raises(OverflowError):
        _C.ChunkCounts().add_chunks([b"a"], [1 << 64])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda c: c.add_texts("abc", "gpt2", 1),
            TypeError,
            r"texts: expected a sequence .* \[text\]",
        ),
        (
            lambda c: c.add_texts(["a", b"b"], "gpt2", 1),
            TypeError,
            "expected str, got bytes at index 1",
        ),
        (lambda c: c.add_texts(["a"], "gpt2", 0), ValueError, "threads: expected 1 or more, got 0"),
        (lambda c: c.add_texts(["a"], "gpt5", 1), ValueError, "pattern: .* got 'gpt5'"),
        (lambda c: c.add_texts(["\ud800"], "gpt2", 1), UnicodeEncodeError, "surrogates"),
        (lambda c: c.add_chunks([b"a"], [1, 2]), ValueError, "one for each of the 1 chunks, got 2"),
        (lambda c: c.add_chunks(["a"], [1]), TypeError, "bytes"),
        (lambda c: c.add_chunks([b"a"], [-1]), OverflowError, "negative|convert"),
    ],
)
def test_bad_arguments_are_refused_and_add_nothing(call, error, message):
    counts = _C.ChunkCounts()
    with pytest.raises(error, match=message):
        call(counts)
    assert counts.items() == []


def test_two_threads_on_one_object_never_corrupt_it():
    """One of them may be refused; what was accepted is counted exactly."""
    counts, accepted, refused, text = _C.ChunkCounts(), [], [], prose(20_000)

    def add() -> None:
        try:
            counts.add_texts([text], "gpt2", 1)
            accepted.append(text)
        except RuntimeError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.items() == slow_counts(accepted, "gpt2")
    assert all("one thread at a time" in complaint for complaint in refused)
    assert len(accepted) + len(refused) == 8


def test_of_several_bad_files_the_first_in_order_is_told(tmp_path):
    paths = [tmp_path / f"{i}.txt" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(b"good text " * 200_000 + (b"\xff" if i in (2, 4) else b""))
    for threads in (1, 2, 8):
        with pytest.raises(ValueError, match=r"2\.txt: expected UTF-8, but byte 2000000 is not"):
            _C.ChunkCounts().add_files([*paths, tmp_path / "absent"], "gpt4", threads)
        with pytest.raises(FileNotFoundError, match="absent"):
            _C.ChunkCounts().add_files([tmp_path / "absent", *paths], "gpt4", threads)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_files_count_as_their_texts_on_any_number_of_threads(tmp_path, pattern, threads):
    texts = [prose(60_000), "", "a", "é" * 700_000, prose(3000) + " ", " x"] * 2
    paths = [tmp_path / str(i) for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    counts = _C.ChunkCounts()
    assert counts.add_files(paths, pattern, threads) == sum(len(t.encode()) for t in texts)
    assert counts.items() == slow_counts(texts, pattern)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_no_memory_at_all_counts_the_same_with_runs_on_disk(tmp_path, threads):
    texts = [prose(30_000), prose(50_000), "क्षमा " * 5 + "long" * 5000]
    counts = _C.ChunkCounts(1, tmp_path)
    counts.add_texts(texts[:1], "gpt2", threads)
    counts.add_texts(texts[1:], "gpt2", threads)
    assert counts.n_runs_written > 70  # so that runs were merged into runs, too
    assert len(counts) == len(slow_counts(texts, "gpt2"))
    assert counts.items() == slow_counts(texts, "gpt2")
    counts.add_texts(["more ", texts[0]], "gpt2", threads)  # after listing as well
    assert counts.items() == slow_counts([*texts, "more ", texts[0]], "gpt2")
    assert list(tmp_path.iterdir()) == []  # nothing has a name that a kill could leave behind


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(
        st.tuples(st.binary(max_size=40), st.integers(0, 1 << 50)), max_size=30, unique_by=repr
    ),
    memory_bytes=st.sampled_from([1, 1 << 20]),
)
def test_records_on_disk_are_the_counts_again(tmp_path_factory, chunks, memory_bytes):
    counts = _C.ChunkCounts(memory_bytes)
    counts.add_chunks([chunk for chunk, _ in chunks], [count for _, count in chunks])
    path = tmp_path_factory.getbasetemp() / "records"
    with path.open("w+b") as stream:
        totals = counts.write_records(stream.fileno())
        again = _C.ChunkCounts(memory_bytes)
        again.add_records(stream.fileno(), 0, *totals, counts.span)
        assert again.items() == counts.items()
        stream.seek(0)
        rows = count_records.read(stream, *totals, counts.span)
    assert {chunk: count for chunk, count, _ in rows} == dict(counts.items())
    assert rows == sorted(rows)
    with path.open("w+b") as stream:  # the plain Python writes the same bytes
        assert count_records.write(stream, rows) == totals


def test_a_run_that_finds_the_disk_full_is_an_os_error_that_names_the_remedy(tmp_path):
    script = (
        "import resource, sys\n"
        "from groundup import _C\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "counts = _C.ChunkCounts(1, sys.argv[1])\n"
        "try:\n"
        "    counts.add_texts([' '.join(map(str, range(50_000)))], 'gpt2', 2)\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert re.search(
        r"File too large \(.* make room .* TMPDIR, or allow more memory\)", done.stdout
    )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="TMPDIR"):
        _C.ChunkCounts(1, tmp_path / "absent").add_texts([prose(5000)], "gpt2", 1)


def test_progress_is_told_and_what_it_raises_ends_the_counting(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"the cat sat on the mat\n" * 1_000_000)
    for threads in (1, 2):
        seen: list[int] = []
        _C.ChunkCounts().add_files([path, path, path], "gpt4", threads, seen.append)
        assert seen == sorted(seen)
        assert 0 < seen[-1] <= 3 * path.stat().st_size

        def stop(n_bytes: int) -> None:
            raise ZeroDivisionError("enough")

        with pytest.raises(ZeroDivisionError, match="enough"):
            _C.ChunkCounts().add_files([path, path, path], "gpt4", threads, stop)


def test_a_child_of_a_fork_goes_on_with_its_own_copy(tmp_path):
    counts = _C.ChunkCounts(1, tmp_path)
    counts.add_texts([prose(20_000)], "gpt2", 2)
    expected = slow_counts([prose(20_000)], "gpt2")
    child = os.fork()
    if child == 0:
        try:
            counts.add_texts(["more"], "gpt2", 2)
            os._exit(counts.items() != [*expected, (b"more", 1)])
        finally:
            os._exit(2)
    assert counts.items() == expected  # both read the same files at the same time
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@given(counts=st.lists(st.integers(1, 4), max_size=12), limit=st.integers(0, 13))
def test_a_limit_keeps_the_most_frequent_and_of_equals_the_first(counts, limit):
    chunks = [b"%d" % i for i in range(len(counts))]
    native, plain = _C.ChunkCounts(), engine.ReferenceChunks()
    native.add_chunks(chunks, counts)
    plain.add_counts(dict(zip(chunks, counts, strict=True)))
    order = sorted(range(len(counts)), key=lambda i: -counts[i])[:limit]
    expected = [(chunks[i], counts[i]) for i in sorted(order)]
    assert native.items(limit) == plain.items(limit) == expected
