"""Splitting and encoding a million times the same: steps are counted, not seconds."""

import shlex
import shutil
import subprocess
from os import environ
from pathlib import Path

import pytest

from groundup import _native

_C = pytest.importorskip("groundup._C", reason=str(_native.missing()))
ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    *(f"bpe/{name}" for name in ("batch_encoder", "chunk_merger", "encode", "id_buffer", "scan")),
    *(f"bpe/{name}" for name in ("split", "tiny_merge", "token_table", "unicode")),
    "pages",
)
WRAPPED = ("memcpy", "memmove", "memset")
PATTERNS = ("none", "gpt2", "gpt4", "gpt4o", "indic-math")
# Of one kind; then what the expressions look ahead for, give back or cut otherwise.
UNITS = (
    *(" ", "a", "A", "की", "^", "'", "\n", "\r\n", "1", "१", "中", "é", "\u0301", "\u200d", "₹"),
    *(" \n", "\n ", "\n   ", "  a", "a ", "a'", "a's", "'s", "aA", "中A", "^\n", "^\n/", " ^"),
    *("1,", "1,11", "1.", "1a", "x²", "₹1", "1%", "क्", "की ", "क्ष\u200dत्र", "👩\u200d", "ab\r\n"),
)
REPEATED = (" ", "a", "की", "^", "\n", "1")  # a million times; the others an eighth of that
MILLION = 1_000_000


@pytest.fixture(scope="module")
def count_steps(tmp_path_factory):
    """The function from (pattern, times, unit, merges) to (splitting, encoding, n_ids), of many."""
    compiler = shlex.split(environ.get("CXX", "")) or [shutil.which("g++") or "g++"]
    if shutil.which(compiler[0]) is None:
        pytest.skip("not run: needs g++")
    driver = tmp_path_factory.mktemp("steps") / "steps"
    command = [
        *(*compiler, "-std=gnu++17", "-O1", "-fsanitize-coverage=trace-pc"),
        *("-DGROUNDUP_ISA=baseline", f"-I{ROOT / 'csrc'}", "-pthread"),
        *(f"-Wl,--wrap={name}" for name in WRAPPED),
        str(ROOT / "tests/native/steps.cpp"),
        *(str(ROOT / f"csrc/{name}.cpp") for name in SOURCES),
        *("-o", str(driver)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "-fsanitize-coverage" in done.stderr:
        pytest.skip(f"not run: {compiler[0]} cannot count basic blocks")
    assert done.returncode == 0, done.stderr

    def count(works):
        lines = [
            " ".join(map(str, (pattern, times, unit.encode().hex(), len(merges), *merges.flat)))
            for pattern, times, unit, merges in works
        ]
        found = subprocess.run(
            [driver], input="\n".join(lines), capture_output=True, text=True, check=True
        )
        return [tuple(map(int, line.split())) for line in found.stdout.splitlines()]

    return count


def learned(unit, pattern):
    counts = _C.ChunkCounts()
    counts.add_texts([unit * 3000], pattern, 1)
    merges, _ = _C.bpe_train(counts, 30, "smallest_pair", 1, 1)
    return merges[:, :2]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_twice_the_text_is_twice_the_steps_at_most(count_steps, pattern):
    works = []
    for unit in UNITS:
        merges = learned(unit, pattern)
        most = MILLION if unit in REPEATED else MILLION // 8
        works += [(pattern, most // len(unit) // part, unit, merges) for part in (2, 1)]
    found = count_steps(works)
    for work, (splitting, encoding, n_ids) in zip(works, found, strict=True):
        n_bytes = work[1] * len(work[2].encode())
        assert 0 < n_ids <= n_bytes
        # Some 90 where each window of 64 bytes tells two characters only.
        assert splitting <= 200 * n_bytes + 1000, work[:3]
        assert encoding <= 200 * n_bytes + 40 * n_bytes * n_bytes.bit_length() + 100_000, work[:3]
    for at in range(0, len(works), 2):
        (split, encode, _), (split_more, encode_more, _) = found[at : at + 2]
        assert split_more <= 2.05 * split + 1000, works[at][2]
        # n log n where a chunk keeps a heap: 2 * 20 / 19 at a million
        assert encode_more <= 2.2 * encode + 100_000, works[at][2]
