"""A contender in another interpreter, for a peer that cannot be installed beside the others.

`groundup bench encode --peer-python PATH` names it (GROUNDUP_PEER_PYTHON). This file is also what
runs there: it imports nothing of groundup, answers each line on stdin with one on stdout, and so
takes its turns in the same rounds as everyone else. A turn's message costs some 50 microseconds.
"""

import json
import os
import subprocess
import sys
import zlib
from array import array
from typing import Any

VARIABLE = "GROUNDUP_PEER_PYTHON"


class Worker:
    """One job in the other interpreter: prepared and run when told."""

    def __init__(self, **job: Any) -> None:
        python = os.environ[VARIABLE]
        environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, "-I", __file__, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.version = self._answer()

    def __del__(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def tell(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the process of {VARIABLE} ended; what it said is above")
        return line


class _Encodes:
    """Hugging Face tokenizers, as installed there."""

    def __init__(
        self, tokenizer: str, warm: list[str], texts: str, fresh: bool, many: bool
    ) -> None:
        import tokenizers

        self.version = tokenizers.__version__
        self._open = lambda: tokenizers.Tokenizer.from_file(tokenizer)
        self._warm = [document for path in warm for document in _documents(path)]
        self._texts = _documents(texts)
        self._fresh, self._many = fresh, many
        self._tokenizer = self._open()

    def prepare(self) -> str:
        if self._fresh:
            self._tokenizer = self._open()
            self._encode(self._warm)
        return "ready"

    def run(self) -> str:
        return str(sum(map(len, self._encode(self._texts))))

    def check(self) -> str:
        """A checksum of each document's ids, as bpe_encoding.checksums has it."""
        encoded = self._encode(self._texts)
        return json.dumps([zlib.crc32(array("I", ids).tobytes()) for ids in encoded])

    def _encode(self, texts: list[str]) -> list[Any]:
        if self._many:
            encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        else:
            encoded = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        arrays = hasattr(encoded[0], "ids_array") if encoded else False
        return [each.ids_array if arrays else each.ids for each in encoded]


def _documents(path: str) -> list[str]:
    with open(path, encoding="utf-8") as stream:
        documents: list[str] = json.load(stream)
    return documents


def main() -> None:
    work = _Encodes(**json.loads(sys.argv[1]))
    print(work.version, flush=True)
    for line in sys.stdin:
        answer = {"prepare": work.prepare, "check": work.check, "run": work.run}[line.strip()]
        print(answer(), flush=True)


if __name__ == "__main__":
    main()
