"""How often each chunk of a corpus occurs, in memory, on disk, and from several machines.

Training knows a text by its counts alone, so counting can be done in parts: each machine counts its
share and saves a table, one merges the tables and trains.
"""

import operator
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from groundup._files import replacing
from groundup.tokenizer.engine import Chunks, Progress, Records, default_threads, new_chunks
from groundup.tokenizer.parts import PathLike
from groundup.tokenizer.patterns import Pattern, find_pattern, read_pattern

DEFAULT_MEMORY_BYTES = 1 << 30
MAX_THREADS = 1024  # more gain nothing anywhere, and each holds memory of its own
MAX_WINDOWS = 1 << 62  # what the engine's sums hold

# Called with the stage ("counting", "merging"), how much is done, and of how much (None: unknown):
# bytes of text, then merges. From the calling thread; what it raises ends the work.
ProgressCallback = Callable[[str, int, int | None], object]

_MAGIC = b"gucounts"
_VERSION = 1
# magic, version, bytes of the pattern, distinct chunks, all chunks, bytes of text, span of first
# occurrences, bytes of the records, their CRC-32. The pattern follows, then a CRC-32 of it all.
_HEADER = struct.Struct("<8sIIQQQQQI")
_CRC = struct.Struct("<I")
_MAX_PATTERN_BYTES = 1 << 16


class _Header(NamedTuple):
    pattern: Pattern
    n_chunks: int
    n_bytes: int
    span: int
    records: Records
    offset: int


class ChunkCounts:
    """The distinct chunks of texts cut by one pattern, and how often each occurs.

    pattern       a name in PATTERNS or a regex, as Tokenizer.train takes it
    threads       None for one per core; the counts do not depend on it
    memory_bytes  for the counts of scanned patterns; what passes it is sorted and written to
                  unnamed files in the temporary folder (TMPDIR), which vanish with the process.
                  Training and items() hold all distinct chunks at once, whatever it says

    A call that fails half way leaves counts that nobody can tell apart: whatever uses them then
    raises ValueError.
    """

    def __init__(
        self,
        pattern: str = "gpt4",
        *,
        threads: int | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._pattern = find_pattern(pattern)
        self._threads = threads_or_default(threads, "threads")
        self._chunks: Chunks = new_chunks(memory_or_default(memory_bytes))

    def add_texts(self, texts: Iterable[str], *, progress: ProgressCallback | None = None) -> None:
        """Count texts, each split on its own. ValueError where one is no str."""
        if isinstance(texts, str | bytes):
            raise ValueError("texts: expected an iterable of str, got a single text; pass [text].")
        if not isinstance(texts, Iterable):
            raise ValueError(f"texts: expected an iterable of str, got {type(texts).__name__}.")
        told = _counting(progress, self._chunks, None)
        self._chunks.add_texts(texts, self._pattern, self._threads, told)

    def add_files(
        self, paths: Iterable[PathLike], *, progress: ProgressCallback | None = None
    ) -> None:
        """Count files of UTF-8 text, each one text, read once and never held whole.

        OSError where one cannot be read; ValueError where one is not UTF-8, with the offset, or
        is written to while it is read.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise ValueError("paths: expected several paths, got one; pass [path].")
        if not isinstance(paths, Iterable):
            raise ValueError(f"paths: expected several paths, got {type(paths).__name__}.")
        files = []
        for path in map(Path, paths):
            if path.is_dir():
                raise ValueError(f"{path}: expected a file of text, got a folder.")
            files.append(path)
        told = _counting(progress, self._chunks, _size_of(files) if progress else None)
        self._chunks.add_files(files, self._pattern, self._threads, told)

    def add_counts(self, counts: Mapping[bytes, int]) -> None:
        """Add chunks that are cut and counted already, `{b" the": 12345, ...}`."""
        self._chunks.add_counts(_checked_counts(counts))

    def add_table(self, path: PathLike) -> None:
        """Add a count table from disk: as if its texts were counted here, after those so far.

        ValueError for a file that is none, that is damaged or cut short, and for one whose
        pattern is another.
        """
        source = os.fspath(path)
        with open(source, "rb", opener=_open_without_waiting) as stream:
            header = _read_header(stream, source)
            if header.pattern != self._pattern:
                raise ValueError(
                    f"{source}: expected counts of chunks cut by the pattern {self.pattern!r:.60}, "
                    f"got {_spelled(header.pattern)!r:.60}; chunks of two patterns do not add up."
                )
            before = self.n_chunks
            try:
                self._chunks.add_records(stream, header.offset, header.records, header.span)
            except ValueError as error:
                raise ValueError(f"{source}: expected a whole count table, but {error}.") from None
            except OverflowError:
                if before:  # tables that are whole may still sum to too much
                    raise
                raise ValueError(
                    f"{source}: expected a whole count table, but its own counts sum to more than "
                    "2^64 - 1."
                ) from None
            if self.n_chunks - before != header.n_chunks:
                raise ValueError(
                    f"{source}: expected a whole count table, but its counts sum to another "
                    "number than its header says."
                )

    def save(self, path: PathLike) -> None:
        """Write a count table, at once or not at all."""
        with replacing(path) as stream:
            pattern = _spelled(self._pattern).encode()
            stream.write(bytes(_HEADER.size + len(pattern) + _CRC.size))
            records = self._chunks.write_records(stream)
            head = _HEADER.pack(
                _MAGIC,
                _VERSION,
                len(pattern),
                records.n_distinct,
                self.n_chunks,
                self.n_bytes,
                self._chunks.span,
                records.n_bytes,
                records.crc,
            )
            head += pattern
            stream.seek(0)
            stream.write(head + _CRC.pack(zlib.crc32(head)))

    @classmethod
    def load(
        cls, path: PathLike, *, threads: int | None = None, memory_bytes: int | None = None
    ) -> Self:
        """The counts that `save` wrote. ValueError for anything else."""
        counts = cls(cls.load_pattern(path), threads=threads, memory_bytes=memory_bytes)
        counts.add_table(path)
        return counts

    @staticmethod
    def load_pattern(path: PathLike) -> str:
        """The pattern of a count table on disk. ValueError for anything else."""
        with open(path, "rb", opener=_open_without_waiting) as stream:
            return _spelled(_read_header(stream, os.fspath(path)).pattern)

    @property
    def pattern(self) -> str:
        """The pattern's name, or its regex where it is one's own."""
        return _spelled(self._pattern)

    @property
    def n_chunks(self) -> int:
        """All chunks counted, each as often as it occurs."""
        return self._chunks.n_chunks

    @property
    def n_bytes(self) -> int:
        return self._chunks.n_bytes

    @property
    def n_runs_written(self) -> int:
        """How often the memory allowed was not enough and counts went to the disk."""
        return self._chunks.n_runs_written

    def __len__(self) -> int:
        """How many distinct chunks there are."""
        return len(self._chunks)

    def items(self) -> list[tuple[bytes, int]]:
        """Each distinct chunk with its count, in order of first occurrence."""
        return self._chunks.items()

    def __iter__(self) -> Iterator[bytes]:
        return (chunk for chunk, _ in self.items())

    def __repr__(self) -> str:
        return f"ChunkCounts(pattern={self.pattern!r}, n_chunks={self.n_chunks})"

    def __reduce__(self) -> str:
        raise TypeError(
            "ChunkCounts: counts are not pickled; save() them to a file and load() that instead."
        )


def whole_number(value: object) -> int | None:
    """As Python's int, NumPy's among them; None for what is no whole number."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def threads_or_default(threads: int | None, argument: str = "num_threads") -> int:
    if threads is None:
        return default_threads()
    number = whole_number(threads)
    if number is None or number < 1:
        raise ValueError(f"{argument}: expected a whole number from 1, or None, got {threads!r}.")
    return min(number, MAX_THREADS)


def memory_or_default(memory_bytes: int | None) -> int:
    if memory_bytes is None:
        return DEFAULT_MEMORY_BYTES
    number = whole_number(memory_bytes)
    if number is None or number < 1:
        raise ValueError(
            f"memory_bytes: expected a whole number of bytes from 1, or None, got "
            f"{memory_bytes!r:.60}."
        )
    return min(number, (1 << 63) - 1)


def _spelled(pattern: Pattern) -> str:
    return pattern.name or pattern.regex


def _counting(
    progress: ProgressCallback | None, chunks: Chunks, total: int | None
) -> Progress | None:
    if progress is None:
        return None
    if not callable(progress):
        raise ValueError(f"progress: expected a function, got {progress!r:.60}.")
    before = chunks.n_bytes
    return lambda done: progress("counting", done - before, total)


def _size_of(files: Iterable[Path]) -> int | None:
    """Of all together; None where one is no regular file, whose size nobody knows."""
    total = 0
    for path in files:
        try:
            status = path.stat()
        except OSError:  # told when it is opened
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        total += status.st_size
    return total


def _checked_counts(counts: Mapping[bytes, int]) -> Mapping[bytes, int]:
    if not isinstance(counts, Mapping):
        raise ValueError(
            f"counts: expected a mapping of bytes to how often they occur, got "
            f"{type(counts).__name__}."
        )
    n_windows = 0
    whole: dict[bytes, int] = {}
    for chunk, given in counts.items():
        count = whole_number(given)
        if not isinstance(chunk, bytes) or count is None or not 0 <= count < 1 << 62:
            raise ValueError(
                "counts: expected bytes and how often they occur (below 2^62), got "
                f"{chunk!r}: {given!r}."
            )
        whole[chunk] = count
        n_windows += len(chunk) * count
    if n_windows >= MAX_WINDOWS:
        raise ValueError(
            "counts: expected bytes times counts to sum to less than 2^62; divide all counts by "
            "one factor."
        )
    return whole


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer opens


def _read_header(stream: BinaryIO, source: str) -> _Header:
    """The header of a count table, every number in it held against the file's size."""
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{source}: expected a count table, got no regular file.")
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise ValueError(
            f"{source}: expected a count table, as ChunkCounts.save and `groundup tokenizer count` "
            "write it; it does not begin like one."
        )
    _, version, n_pattern, n_distinct, n_chunks, n_bytes, span, n_records, crc = _HEADER.unpack(
        head
    )
    if version != _VERSION:
        raise ValueError(
            f"{source}: expected version {_VERSION} of count tables, got {version}; install a "
            "groundup that knows it."
        )
    offset = _HEADER.size + n_pattern + _CRC.size
    if n_pattern > _MAX_PATTERN_BYTES or offset + n_records != status.st_size:
        raise ValueError(
            f"{source}: expected a whole count table of {offset + n_records} bytes, as its header "
            f"says, got {status.st_size}; copy it again."
        )
    spelled = stream.read(n_pattern)
    if _CRC.unpack(stream.read(_CRC.size))[0] != zlib.crc32(head + spelled):
        raise ValueError(f"{source}: the header's checksum is another; copy the table again.")
    try:
        pattern = read_pattern(spelled.decode(), source)
    except UnicodeDecodeError:
        raise ValueError(f"{source}: expected its pattern to be UTF-8.") from None
    records = Records(n_distinct, n_records, crc)
    return _Header(pattern, n_chunks, n_bytes, span, records, offset)
