"""Feed the tokenizer's readers damaged files: each reads or raises ValueError, within a second.

    python tools/fuzz_readers.py --seconds 600 --seed 1
    python tools/fuzz_readers.py --seconds 600 --atheris      (pip install atheris: by coverage)

A reader of every format gets small files that it reads, damaged by seeded mutations: bytes and
numbers changed, pieces cut, doubled, swapped, put into each other. What it takes must encode and
decode text. Anything but ValueError, more than a second of this process's time or 256 MiB more
memory is a finding: the file is kept, a line says why, and the exit status is 1.
"""

import argparse
import base64
import gc
import json
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

from groundup.tokenizer import ChunkCounts, Tokenizer

TEXT = "ab abc  9x\n क्षमा <|a|>"
MOST_SECONDS = 1.0
MOST_BYTES = 256 << 20

Reader = Callable[[Path], Tokenizer]
_GPT2 = Path(tempfile.mkdtemp(prefix="groundup-fuzz-"))  # the half of a pair that stays whole


def readers() -> dict[str, tuple[Reader, list[bytes]]]:
    """By format: what reads it, and files that it reads."""
    tok = Tokenizer.train([TEXT * 3], 300, pattern="gpt2", special_tokens=["<|a|>"])
    spaced = Tokenizer.train([TEXT * 3], 290, pattern=r"\p{L}+|[^\p{L}]+", ties="huggingface")
    folder = _GPT2

    def written(save: Callable[[Path], object]) -> bytes:
        save(folder / "file")
        return (folder / "file").read_bytes()

    tok.to_gpt2(folder / "vocab.bpe", folder / "encoder.json")
    ranks = written(tok.to_tiktoken)
    (folder / "file").write_bytes(ranks)
    from_ranks = Tokenizer.from_tiktoken(folder / "file", "gpt4")
    characters = Tokenizer.train([TEXT * 3], 300, base="codepoints", character_coverage=0.9)
    hugging_face = [written(each.to_hf) for each in (tok, spaced, characters)]
    older = json.loads(hugging_face[0])
    older["model"]["merges"] = [" ".join(pair) for pair in older["model"]["merges"]]
    hugging_face.append(json.dumps(older).encode())
    minbpe = "minbpe v1\n\\p{L}+|\\P{L}+\n1\n<|a|> 400\n" + "".join(
        f"{left} {right}\n" for left, right, _ in tok.merges.tolist()
    )
    (folder / "file").write_bytes(sentencepiece_model())
    code_points = Tokenizer.from_sentencepiece(folder / "file")
    counts = ChunkCounts("gpt4")
    counts.add_texts([TEXT * 3])
    own = [written(each.save) for each in (tok, spaced, from_ranks, code_points, characters)]
    return {
        "own": (Tokenizer.load, own),
        "tokenizer.json": (Tokenizer.from_hf, hugging_face),
        ".tiktoken": (lambda path: Tokenizer.from_tiktoken(path, "gpt4"), [ranks]),
        "vocab.bpe": (
            lambda path: Tokenizer.from_gpt2(path, folder / "encoder.json"),
            [(folder / "vocab.bpe").read_bytes()],
        ),
        "encoder.json": (
            lambda path: Tokenizer.from_gpt2(folder / "vocab.bpe", path),
            [(folder / "encoder.json").read_bytes()],
        ),
        "minbpe": (Tokenizer.from_minbpe, [minbpe.encode()]),
        "count table": (
            lambda path: Tokenizer.train_from_counts(ChunkCounts.load(path), 300),
            [written(counts.save)],
        ),
        "sentencepiece": (Tokenizer.from_sentencepiece, [sentencepiece_model()]),
    }


def sentencepiece_model() -> bytes:
    def field(tag: int, value: bytes) -> bytes:
        return bytes([tag << 3 | 2, len(value)]) + value

    def piece(text: str, score: float, kind: int = 1) -> bytes:
        return field(
            1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([24, kind])
        )

    pieces = [piece("<unk>", 0, 2), *(piece(f"<0x{byte:02X}>", 0, 6) for byte in range(256))]
    pieces += [piece("<x>", 0, 4)]
    learnt = ["▁", "a", "b", "c", "क", "ष", "म", "ab", "▁ab", "▁abc", "कष", "🙂"]
    pieces += [piece(text, -1.0 - i) for i, text in enumerate(learnt)]
    trainer = field(2, bytes([24, 2, 35 << 3 & 127 | 128, 35 >> 4, 1]))
    return b"".join(pieces) + trainer + field(3, bytes([24, 0, 32, 0]))


def sealed(contents: bytes) -> bytes:
    """A count table with the checksums that fit its bytes, so that more than those is tried."""
    header = struct.Struct("<8sIIQQQQQI")  # counts.py
    if not contents.startswith(b"gucounts") or len(contents) < header.size:
        return contents
    fields = list(header.unpack_from(contents))
    pattern = contents[header.size : header.size + fields[2]]
    records = contents[header.size + len(pattern) + 4 :]
    fields[7:] = len(records), zlib.crc32(records)
    head = header.pack(*fields) + pattern
    return head + zlib.crc32(head).to_bytes(4, "little") + records


def damaged(random_: random.Random, contents: bytes, others: list[bytes]) -> bytes:
    """One to four mutations of `contents`."""
    bytes_ = bytearray(contents)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        at = random_.randrange(len(bytes_) + 1)
        n = min(random_.choice((1, 1, 2, 8, 64, 4096)), len(bytes_) - at)
        match random_.randrange(9):
            case 0:
                bytes_[at : at + n] = random_.randbytes(n)
            case 1:
                del bytes_[at : at + n]
            case 2:
                bytes_[at:at] = bytes_[at : at + n] * random_.choice((1, 2, 100))
            case 3:
                del bytes_[at:]
            case 4:
                other = random_.choice(others)
                begin = random_.randrange(len(other) + 1)
                bytes_[at : at + n] = other[begin : begin + n]
            case 5:
                bytes_[at : at + n] = random_.choice(NASTY)
            case 6:  # a number, where one stands
                digits = [i for i, byte in enumerate(bytes_[:20_000]) if 48 <= byte < 58]
                if digits:
                    place = random_.choice(digits)
                    bytes_[place : place + 1] = random_.choice(NUMBERS)
            case 7:
                to = random_.randrange(len(bytes_) + 1)
                bytes_[at : at + n], bytes_[to : to + n] = bytes_[to : to + n], bytes_[at : at + n]
            case 8:
                if at < len(bytes_):
                    bytes_[at] ^= 1 << random_.randrange(8)
    mutated = bytes(bytes_[: 1 << 22])
    return sealed(mutated) if random_.random() < 0.7 else mutated


NUMBERS = [b"-1", b"0", b"00", b"1.5", b"1e9", b"255", b"256", b"16777216", b"9" * 30, b"9" * 5000]
NASTY = [
    *(
        b"[" * 5000,
        b'{"a":' * 5000,
        b"\xff",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\x00",
        b'"',
        b"}",
        b"]",
    ),
    *(b"null", b"true", b"NaN", b"\n", b" ", b"[]", b"{}", b'""', b"\r\n", b"=", "▁".encode()),
    *(b"(a{999}){999}", b"(?R)", b"(a+)+$", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    base64.b64encode(b"a" * 3000),
]


class Check:
    """Runs readers, counts what came of it, and keeps the files that should not be."""

    def __init__(self, keep: Path) -> None:
        self.path = _GPT2 / "damaged"
        self.keep = keep
        self.readers = readers()
        self.names = list(self.readers)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.findings = 0
        self.slowest = 0.0

    def __call__(self, name: str, contents: bytes) -> None:
        self.path.write_bytes(contents)
        read, _ = self.readers[name]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        amiss = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                tok = read(self.path)
            outcome = "read"
        except ValueError as error:
            outcome = "refused"
            if not str(error).startswith((str(_GPT2), "tokens:", "pattern:")):
                amiss = f"its message names no file: {str(error)[:120]!r}"
        except Exception as error:  # what this tool is to find
            outcome, amiss = "failed", f"{type(error).__name__}: {str(error)[:120]}"
        took = time.process_time() - begin
        self.slowest = max(self.slowest, took)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        if outcome == "read":
            try:
                back = tok.decode(tok.encode_ordinary(TEXT))
                str(tok.explain(TEXT))
                if back != TEXT:
                    amiss = f"its text comes back as {back!r}"
            except Exception as error:  # the same
                if "which takes longer" not in str(error) and "pattern" not in str(error):
                    amiss = f"encoding: {type(error).__name__}: {str(error)[:120]}"
        if took > MOST_SECONDS:
            amiss = f"it took {took:.1f} s"
        if grown > MOST_BYTES:
            amiss = f"it took {grown >> 20} MiB more memory"
        self.outcomes[name, outcome] += 1
        if amiss:
            self.findings += 1
            kept = self.keep / f"{name.strip('.')}-{self.findings}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(contents)
            print(f"{kept}: {amiss}", flush=True)

    def report(self) -> str:
        outcomes = self.outcomes
        told = [
            f"{name} {outcomes[name, 'read']:,} read, {outcomes[name, 'refused']:,} refused"
            for name in self.names
        ]
        return (
            f"{self.outcomes.total():,} files: {'; '.join(told)}; slowest {self.slowest:.2f} s; "
            f"{self.findings} findings"
        )


def by_chance(check: Check, seconds: float, seed: int) -> None:
    random_ = random.Random(seed)
    everything = [contents for _, files in check.readers.values() for contents in files]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = random_.choice(check.names)
        check(name, damaged(random_, random_.choice(check.readers[name][1]), everything))
        if check.outcomes.total() % 500 == 0:
            gc.collect()


def by_coverage(check: Check, seconds: float, seed: int) -> None:
    """libFuzzer's mutations, kept where they reach new code. Ends the process."""
    import atheris

    corpus = _GPT2 / "corpus"
    corpus.mkdir()
    for number, name in enumerate(check.names):
        for i, contents in enumerate(check.readers[name][1]):
            (corpus / f"{number}-{i}").write_bytes(bytes([number]) + contents)

    def one(contents: bytes) -> None:
        if contents:
            check(check.names[contents[0] % len(check.names)], contents[1:])
            if check.outcomes.total() % 10_000 == 0:  # libFuzzer lets nothing run at the end
                print(check.report(), flush=True)

    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=65536", "-verbosity=0"]
    for name, module in list(sys.modules.items()):
        if name.startswith("groundup.tokenizer."):
            for part in vars(module).values():
                if isinstance(part, FunctionType) and part.__module__ == name:
                    atheris.instrument_func(part)
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for findings")
    parser.add_argument("--atheris", action="store_true", help="mutate by coverage")
    options = parser.parse_args()
    check = Check(options.keep)
    if options.atheris:
        by_coverage(check, options.seconds, options.seed)
    else:
        by_chance(check, options.seconds, options.seed)
        print(check.report())
    return 1 if check.findings else 0


if __name__ == "__main__":
    sys.exit(main())
