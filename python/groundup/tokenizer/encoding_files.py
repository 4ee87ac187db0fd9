"""Files larger than memory to ids: arrays as they come, or one array file."""

import codecs
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from groundup._files import replacing
from groundup.tokenizer.counts import threads_or_default
from groundup.tokenizer.encoders import Ids
from groundup.tokenizer.encoding import Encodes
from groundup.tokenizer.parts import PathLike
from groundup.tokenizer.specials import AllowedSpecial, DisallowedSpecial
from groundup.tokenizer.stream import encodable_parts

_READ_BYTES = 1 << 20
_GROUP_CHARACTERS = 1 << 22
_HEADER_BYTES = 128


class EncodesFiles(Encodes):
    def encode_files(
        self,
        paths: Iterable[PathLike] | PathLike,
        *,
        num_threads: int | None = None,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> Iterator[Ids]:
        """The ids of UTF-8 files, one after the other, as arrays (n,) uint32 of a few MB.

        End to end they are what `encode` gives for each file's whole text, line ends as they
        stand, special tokens included wherever they lie. Some 50 MB of memory whatever the
        files' sizes; with pattern "none" or a regex of one's own a whole file must fit.

        num_threads   None: one per core
        Raises ValueError for a file that is not UTF-8, holds a disallowed special token or is
        written to while it is read, OSError for one that cannot be read; what came before has
        been given out by then.
        """
        threads = threads_or_default(num_threads)
        sought = self._specials.sought(disallowed_special)
        for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
            group: list[tuple[str, int | None]] = []
            n_characters = 0
            for part in encodable_parts(_read(Path(path)), self._can_cut(), sought):
                allowed = self._specials.allowed_in(part, allowed_special, disallowed_special)
                group += self._specials.pieces(part, allowed)
                n_characters += len(part)
                if n_characters >= _GROUP_CHARACTERS:
                    yield self._ids_of_pieces(group, threads)
                    group, n_characters = [], 0
            if group:
                yield self._ids_of_pieces(group, threads)

    def encode_files_to_npy(
        self,
        paths: Iterable[PathLike] | PathLike,
        destination: PathLike,
        *,
        dtype: DTypeLike | None = None,
        num_threads: int | None = None,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> int:
        """`encode_files` into one NumPy file; returns the number of ids.

        `np.load(destination, mmap_mode="r")` gives the ids (n,) without reading them. The file
        is there whole or not at all.

        dtype   uint32 or uint16; None: uint16 where n_vocab is at most 65536
        """
        is_small = self._vocabulary.n_ids <= 1 << 16
        kind = "<u2" if (is_small if dtype is None else self._is_narrow(dtype)) else "<u4"
        n_ids = 0
        arrays = self.encode_files(
            paths,
            num_threads=num_threads,
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
        )
        with replacing(destination) as stream:
            stream.write(_npy_header(kind, 0))  # its size is the same for any number
            for ids in arrays:
                stream.write(ids.astype(kind).data)
                n_ids += len(ids)
            stream.seek(0)
            stream.write(_npy_header(kind, n_ids))
        return n_ids

    def _ids_of_pieces(self, pieces: list[tuple[str, int | None]], threads: int) -> Ids:
        ordinary = [text for text, special in pieces if special is None]
        ids, ends = self._encoder.encode_batch_to_numpy(ordinary, threads)
        if len(ordinary) == len(pieces):
            return ids
        # A special token stands behind as many ordinary pieces as came before it.
        places, specials, n_before = [], [], 0
        for _, special in pieces:
            if special is None:
                n_before += 1
            else:
                places.append(ends[n_before])
                specials.append(special)
        return np.insert(ids, places, specials)


def _read(path: Path) -> Iterator[str]:
    """A file's text in parts. ValueError where it is not UTF-8."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    n_before = 0  # bytes of whole characters so far
    with open(path, "rb") as stream:
        before = os.fstat(stream.fileno())
        while True:
            part = stream.read(_READ_BYTES)
            waiting = len(utf8.getstate()[0])
            try:
                text = utf8.decode(part, final=not part)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: expected UTF-8, but byte {n_before + error.start} is not; convert "
                    "the file (iconv -f ENCODING -t UTF-8)."
                ) from None
            n_before += waiting + len(part) - len(utf8.getstate()[0])
            if not part and stat.S_ISREG(before.st_mode):
                now = os.fstat(stream.fileno())
                if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                    raise ValueError(
                        f"{path}: expected a file that stays as it is, but it was written to "
                        "while it was read; encode it again when it is whole."
                    )
            yield text
            if not part:
                return


def _npy_header(kind: str, n: int) -> bytes:
    """The head of a .npy file, version 1.0, of an array (n,)."""
    said = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({n},), }}"
    length = _HEADER_BYTES - 10
    return (
        b"\x93NUMPY\x01\x00"
        + length.to_bytes(2, "little")
        + said.ljust(length - 1).encode()
        + b"\n"
    )
