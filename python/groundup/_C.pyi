"""Signatures of the native core, built from csrc/. Pointers and strides are integers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# platform
def isa() -> str: ...
def isas() -> list[str]: ...
def usable_threads() -> int: ...

# cross_entropy: dtype 0 float32, 1 bfloat16; reduction 0 none, 1 mean, 2 sum; softcap 0.0 is none.
# row_stride counts elements. weight (float32, n_classes) may be 0 (a null pointer). target is int64.
#   loss         float32 (n_rows,) for none, else one number
#   lse          float32 (n_rows, 2): the row's largest (capped) logit, and the log of the sum of
#                exp(logit - largest); their sum is lse. 0 in the in-place form if not wanted
#   denominator  float32, one number: the sum of the live targets' weights for mean, else 1
#   dloss        float32 (n_rows,) for none, else one number; the in-place form takes it as 1
# Forward and in place return the first row whose live target is outside [0, n_classes), with
# nothing written, or -1. Ignored rows have exactly zero gradient.
def cross_entropy_forward_cpu(
    logits: int,
    dtype: int,
    n_rows: int,
    n_classes: int,
    row_stride: int,
    target: int,
    weight: int,
    ignore_index: int,
    reduction: int,
    label_smoothing: float,
    lse_square_scale: float,
    softcap: float,
    loss: int,
    lse: int,
    denominator: int,
) -> int: ...
def cross_entropy_backward_cpu(
    logits: int,
    dtype: int,
    n_rows: int,
    n_classes: int,
    row_stride: int,
    target: int,
    weight: int,
    ignore_index: int,
    reduction: int,
    label_smoothing: float,
    lse_square_scale: float,
    softcap: float,
    lse: int,
    denominator: int,
    dloss: int,
    dlogits: int,
    dlogits_row_stride: int,
) -> None: ...
def cross_entropy_inplace_cpu(
    logits: int,
    dtype: int,
    n_rows: int,
    n_classes: int,
    row_stride: int,
    target: int,
    weight: int,
    ignore_index: int,
    reduction: int,
    label_smoothing: float,
    lse_square_scale: float,
    softcap: float,
    loss: int,
    lse: int,
    denominator: int,
) -> int: ...

# bpe
class ChunkCounts:
    n_chunks: int
    n_bytes: int
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def add_texts(self, texts: Sequence[str], pattern: str, threads: int) -> None: ...
    def add_file(self, path: str, pattern: str, threads: int) -> int: ...
    def add_chunks(self, chunks: Sequence[bytes], counts: Sequence[int]) -> None: ...
    def items(self) -> list[tuple[bytes, int]]: ...

def bpe_train(
    counts: ChunkCounts, n_merges: int, ties: str, min_frequency: int, threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
def split(text: str, pattern: str) -> NDArray[np.int64]: ...

class BpeEncoder:
    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: NDArray[np.uint32],
        pattern: str,
        whole_chunks: bool,
    ) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]: ...
    def encode_with_offsets(self, text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def encode_batch(self, texts: Sequence[str], threads: int) -> list[list[int]]: ...
    def encode_batch_to_numpy(
        self, texts: Sequence[str], threads: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def encode_chunks(self, text: bytes, ends: NDArray[np.int64]) -> NDArray[np.uint32]: ...
    def decode(self, ids: NDArray[np.uint32]) -> bytes: ...
    def decode_batch(self, ids: Sequence[NDArray[np.uint32]], threads: int) -> list[bytes]: ...
