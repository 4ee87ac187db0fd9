"""A corpus larger than memory, and what counting and training on it take. docs/log.md has a run.

    python tools/large_corpus.py make FILE BYTES      the standard library, repeated and perturbed
    python tools/large_corpus.py train FILE MB VOCAB  count within MB, train; time and peak memory

Every machine with Python can make it. Each repeat changes a letter in one word of ten thousand
lines, so that the distinct chunks go on growing as those of a real corpus do.
"""

import json
import random
import resource
import string
import sys
import time

from groundup.data.corpora import standard_library
from groundup.tokenizer import ChunkCounts, Tokenizer

LINES_CHANGED = 10_000
LIMIT_BYTES = 1 << 30


def make(path: str, n_bytes: int) -> None:
    lines = [
        line
        for document in standard_library(30 * 10**6)
        for line in document.text.splitlines(keepends=True)
    ]
    chance = random.Random(0)
    written = 0
    with open(path, "wb") as stream:
        while written < n_bytes:
            changed = list(lines)
            for _ in range(LINES_CHANGED):
                i = chance.randrange(len(lines))
                changed[i] = perturbed(lines[i], chance)
            written += stream.write("".join(changed).encode()[: n_bytes - written])


def perturbed(line: str, chance: random.Random) -> str:
    places = [i for i, letter in enumerate(line) if letter.isascii() and letter.isalpha()]
    if not places:
        return line
    at = chance.choice(places)
    letters = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(1, 3)))
    return line[:at] + letters + line[at + 1 :]


def train(path: str, memory_mb: int, vocab_size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    begin = time.perf_counter()
    counts = ChunkCounts("gpt4", memory_bytes=memory_mb * 10**6)
    counts.add_files([path])
    counted = time.perf_counter()
    tok = Tokenizer.train_from_counts(counts, vocab_size, min_frequency=2)
    trained = time.perf_counter()
    tok.save(f"{path}.tokenizer.json")
    print(
        json.dumps(
            {
                "bytes": counts.n_bytes,
                "distinct": len(counts),
                "runs_written": counts.n_runs_written,
                "count_seconds": round(counted - begin, 1),
                "train_seconds": round(trained - counted, 1),
                "n_vocab": tok.n_vocab,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
                "address_space_limit_mb": LIMIT_BYTES // 10**6,
            }
        )
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", path, n_bytes]:
            make(path, int(n_bytes))
        case ["train", path, memory_mb, vocab_size]:
            train(path, int(memory_mb), int(vocab_size))
        case _:
            sys.exit(__doc__)
