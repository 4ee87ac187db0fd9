"""Signatures of the native core, built from csrc/. Pointers and strides are integers."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# platform
__version__: str

def isa() -> str: ...
def isas() -> list[str]: ...
def usable_threads() -> int: ...
def run_serially() -> None: ...  # in a child that was forked before it loaded the core

# n_bytes of writable memory with arbitrary contents, through the buffer protocol. When it dies one
# such memory is kept for the next of about its size, free for the system to take.
class Pages:
    def __init__(self, n_bytes: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

# cross_entropy: dtype 0 float32, 1 bfloat16; reduction 0 none, 1 mean, 2 sum; softcap 0.0 is none.
# row_stride counts elements. target is int64; weight, float32 (n_classes,), may be 0, for none.
#   loss         float32 (n_rows,) for none, else one number
#   lse          float32 (n_rows, 2): the row's largest (capped) logit, and the log of the sum of
#                exp(logit - largest); their sum is lse. 0 in the in-place form if not wanted
#   denominator  float32, one number: the sum of the live targets' weights for mean, else 1; 0 in
#                forward and in place if not wanted
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

# causal_attention: dtype 0 float32, 1 bfloat16, of all but statistics. Tensors are (B, H, T, width)
# with adjacent elements in a row; n query heads share a key head.
#   sizes     B, H, key heads, T, S, D, Dv
#   strides   (batch, head, row) in elements of query, key, value, out; in backward also of dout,
#             dquery, dkey, dvalue
#   statistics  float32 (B, H, T, 2) contiguous: a query's largest score and its sum of
#             exp(score - largest); 0 for one that sees no key. Address 0 in forward if not wanted
#   offset    query i stands at key i + offset; it sees that key and `left` before it, all if -1
#   softcap   0.0 is none
# Which weights dropout drops is a function of the two dropout keys, b, h, i and j.
def attention_forward_cpu(
    query: int,
    key: int,
    value: int,
    out: int,
    statistics: int,
    dtype: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    offset: int,
    left: int,
    scale: float,
    softcap: float,
    dropout_p: float,
    dropout_key_0: int,
    dropout_key_1: int,
) -> None: ...
def attention_backward_cpu(
    query: int,
    key: int,
    value: int,
    out: int,
    statistics: int,
    dout: int,
    dquery: int,
    dkey: int,
    dvalue: int,
    dtype: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    offset: int,
    left: int,
    scale: float,
    softcap: float,
    dropout_p: float,
    dropout_key_0: int,
    dropout_key_1: int,
) -> None: ...

# causal_attention_varlen: sizes begin with the number of documents, T and S are those of all of
# them; batch strides are not read, statistics are (H, T, 2).
#   query_starts, key_starts  one more than documents: the rows where each begins and the last ends
#   lower_right  a document's last query stands at its last key; else the first at the first
def attention_varlen_forward_cpu(
    query: int,
    key: int,
    value: int,
    out: int,
    statistics: int,
    dtype: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    query_starts: Sequence[int],
    key_starts: Sequence[int],
    lower_right: bool,
    left: int,
    scale: float,
    softcap: float,
    dropout_p: float,
    dropout_key_0: int,
    dropout_key_1: int,
) -> None: ...
def attention_varlen_backward_cpu(
    query: int,
    key: int,
    value: int,
    out: int,
    statistics: int,
    dout: int,
    dquery: int,
    dkey: int,
    dvalue: int,
    dtype: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    query_starts: Sequence[int],
    key_starts: Sequence[int],
    lower_right: bool,
    left: int,
    scale: float,
    softcap: float,
    dropout_p: float,
    dropout_key_0: int,
    dropout_key_1: int,
) -> None: ...

# decode_attention, and causal_attention of few queries: statistics may be 0.
#   key_begin, key_end  the keys of each batch entry, whose last query stands at the last of them;
#             both empty: all of S, and query i stands at key i + offset
def attention_decode_cpu(
    query: int,
    key: int,
    value: int,
    out: int,
    statistics: int,
    dtype: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    key_begin: Sequence[int],
    key_end: Sequence[int],
    offset: int,
    left: int,
    scale: float,
    softcap: float,
) -> None: ...

# gelu: dtype 0 float32, 1 bfloat16; n adjacent elements. dinput = doutput * gelu'(input).
def gelu_forward_cpu(input: int, dtype: int, is_tanh: bool, n: int, output: int) -> None: ...
def gelu_backward_cpu(
    input: int, dtype: int, is_tanh: bool, n: int, doutput: int, dinput: int
) -> None: ...

# linear: float32; strides count elements, any are taken; activation 0 none, 1 gelu, 2 gelu_tanh.
#   bias             (n_out,) or 0
#   output           (n_rows, n_out), rows side by side, as are preactivation and all gradients
#   preactivation    what the activation was taken of; 0 in forward if it is not wanted
#   dpreactivation   memory for (n_rows, n_out) where there is an activation, 0 for scratch; doutput
#                    then has its rows side by side, whatever its strides say
#   dinput, dweight  0 if not wanted; dweight is (n_out, n_in), or transposed
#   dbias            (n_out,), comes with dweight alone; 0 if not wanted
def linear_forward_cpu(
    input: int,
    input_row_stride: int,
    input_column_stride: int,
    weight: int,
    weight_row_stride: int,
    weight_column_stride: int,
    bias: int,
    n_rows: int,
    n_in: int,
    n_out: int,
    activation: int,
    preactivation: int,
    output: int,
) -> None: ...
def linear_backward_cpu(
    doutput: int,
    doutput_row_stride: int,
    doutput_column_stride: int,
    input: int,
    input_row_stride: int,
    input_column_stride: int,
    weight: int,
    weight_row_stride: int,
    weight_column_stride: int,
    n_rows: int,
    n_in: int,
    n_out: int,
    activation: int,
    preactivation: int,
    dpreactivation: int,
    dinput: int,
    dweight: int,
    dweight_is_transposed: bool,
    dbias: int,
) -> None: ...

# Backward of two layers with a gelu between them: strides of rows and columns of doutput, input,
# weight_1 (n_hidden, n_in) and weight_2 (n_out, n_hidden); the rest as linear's.
def mlp_backward_cpu(
    doutput: int,
    input: int,
    weight_1: int,
    weight_2: int,
    strides: Sequence[int],
    n_rows: int,
    n_in: int,
    n_hidden: int,
    n_out: int,
    activation: int,
    preactivation: int,
    activated: int,
    dinput: int,
    dweight_1: int,
    dweight_1_is_transposed: bool,
    dbias_1: int,
    dweight_2: int,
    dweight_2_is_transposed: bool,
    dbias_2: int,
) -> None: ...

# layer_norm: dtype 0 float32, 1 bfloat16; strides count elements; output and dinput contiguous.
#   weight, bias     float32 (n_columns,), or 0
#   statistics       float32 (n_rows, 2): mean, 1 / sqrt(variance + eps)
#   residual, sum    0, or what is added to input first and where that goes, contiguous
#   dinput, dweight, dbias  0 where not wanted; the latter float32, bits free of the thread count
#   dsum             0, or what is added to dinput
def layer_norm_forward_cpu(
    input: int,
    dtype: int,
    n_rows: int,
    n_columns: int,
    row_stride: int,
    weight: int,
    bias: int,
    eps: float,
    output: int,
    statistics: int,
    residual: int,
    residual_row_stride: int,
    sum: int,
) -> None: ...
def layer_norm_backward_cpu(
    input: int,
    dtype: int,
    n_rows: int,
    n_columns: int,
    row_stride: int,
    weight: int,
    statistics: int,
    doutput: int,
    doutput_row_stride: int,
    dinput: int,
    dweight: int,
    dbias: int,
    dsum: int,
    dsum_row_stride: int,
) -> None: ...

# adamw: one step over n_tensors parameters, tables by address.
#   pointers   (6, n_tensors): parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq (or 0), step
#              (float32, one number, advanced by one); memory dense and laid out alike
#   sizes, kinds, groups_of  int64 (n_tensors,); kind: 1 parameter and gradient bfloat16, else
#              float32, + 2 state bfloat16, + 4 amsgrad
#   groups     float64 (n_groups, 6): lr, beta1, beta2, eps, weight_decay, maximize
# max_grad_norm 0.0 is no clipping; write_grads leaves the clipped gradients behind. Returns the
# norm of all gradients before clipping, 0.0 without it. Bits do not depend on the thread count.
def adamw_step_cpu(
    n_tensors: int,
    pointers: int,
    sizes: int,
    kinds: int,
    groups_of: int,
    n_groups: int,
    groups: int,
    max_grad_norm: float,
    write_grads: bool,
) -> float: ...

class AdamWTensors:
    """How the tensors of AdamW's last step lay; look() finds them again, or says what changed.

    Holds no tensor itself: the lists are passed to each call, the same ones every time.
    """

    def __init__(
        self,
        exchange: object,  # torch.Tensor.__dlpack_c_exchange_api__
        plain: tuple[type, ...],  # the classes a tensor may have
        is_neg: object,
        columns: list[list[Any]],  # parameters, three moments (None: unused), steps
        groups_of: list[int],
    ) -> None: ...
    # The gradients, in order, with all addresses written to pointers, (6, n_tensors); None where
    # anything is otherwise than it was.
    def look(
        self,
        groups: list[dict[str, Any]],
        state: dict[Tensor, Any],
        pointers: int,
        columns: list[list[Any]],
        states: list[dict[str, Tensor]],
        entries: list[tuple[Tensor, dict[str, Tensor]]],  # state's items
    ) -> list[Tensor] | None: ...

# bpe: `pattern` is a name with a native scanner (gpt2, gpt4, gpt4o, indic-math, none), else
# ValueError.
# Text is str; offsets and sizes are bytes of its UTF-8 unless said otherwise. `threads` >= 1.
# `progress` is called with how much is done (bytes counted, merges made) from the calling thread,
# some 20 times a second; what it raises ends the work, as Ctrl-C does.
class ChunkCounts:
    n_chunks: int  # all chunks, weighted by their counts; len() is the distinct ones
    n_bytes: int
    span: int  # of the corpus: every chunk's first occurrence is below
    n_runs_written: int  # how often memory_bytes was not enough
    n_training_steps: int  # cells, occurrences and candidates that the last bpe_train looked at
    # Tables take about memory_bytes; what passes that is written to unnamed files in `folder`.
    # OSError where those fail. After a call that adds and fails every other raises ValueError.
    def __init__(
        self, memory_bytes: int = ..., folder: str | bytes | os.PathLike[str] = "/tmp"
    ) -> None: ...
    def __len__(self) -> int: ...
    def add_texts(
        self,
        texts: Sequence[str],
        pattern: str,
        threads: int,
        progress: Callable[[int], object] | None = None,
    ) -> None: ...
    # Returns the files' bytes. OSError, or ValueError where one is not UTF-8 (with the offset) or
    # is written to meanwhile: of several the first in order.
    def add_files(
        self,
        paths: Sequence[str | bytes | os.PathLike[str]],
        pattern: str,
        threads: int,
        progress: Callable[[int], object] | None = None,
    ) -> int: ...
    # Any bytes, counts below 2^64; empty chunks and zero counts add nothing.
    def add_chunks(self, chunks: Sequence[bytes], counts: Sequence[int]) -> None: ...
    # The records of a count table, from `offset` of an open file on (csrc/bpe/count_file.h).
    def add_records(
        self, descriptor: int, offset: int, n_distinct: int, n_bytes: int, crc: int, span: int
    ) -> None: ...
    # (n_distinct, n_bytes, crc) of what was appended to an open file.
    def write_records(self, descriptor: int) -> tuple[int, int, int]: ...
    # In order of first appearance; of more than `limit` the most frequent.
    def items(self, limit: int = ...) -> list[tuple[bytes, int]]: ...
    # Each character of the chunks and how often it occurs; what is no UTF-8 is none.
    def characters(self) -> dict[str, int]: ...

# (merges (n, 3): left, right, id; the count of each when merged). Fewer than n_merges when no
# pair is left that occurs max(1, min_frequency) times and makes max_token_bytes at most. `known`
# (m, 2): the merges to begin with, which are among the n_merges and under neither limit.
# `alphabet`: with code points as the base, the characters that have ids, from 256 on, before the
# merges; None for bytes.
def bpe_train(
    counts: ChunkCounts,
    n_merges: int,
    ties: str,
    min_frequency: int,
    threads: int,
    max_token_bytes: int = ...,
    known: NDArray[np.uint32] | None = None,
    alphabet: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
def split(text: str, pattern: str) -> NDArray[np.int64]: ...  # the end of every chunk

# The merges of a tiktoken vocabulary, tokens[id]: every (left, right, id) such that the bytes of
# left and right make up those of id, by id.
def bpe_splits(tokens: Sequence[bytes]) -> NDArray[np.uint32]: ...

# The tokens of a .tiktoken file by rank, b"" for an unused one; None where anything is amiss.
def bpe_read_ranks(lines: bytes) -> list[bytes] | None: ...

# What follows `"merges": [` in the tokenizer's own file, to its end: rows (n, 3) and their counts
# (n,), which are none for width 3; None where anything is amiss.
def bpe_read_rows(
    contents: bytes, begin: int, width: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]] | None: ...

# What stands between the braces of "seen" in that file: its largest id, -1 for nothing, -2 where
# anything is amiss but perhaps the UTF-8.
def bpe_last_seen(between: bytes) -> int: ...

# The 256 bytes and what each row makes, the next id in turn; None where a row does not, or all
# tokens together take more than max_bytes.
def bpe_tokens_of_rows(merges: NDArray[np.uint32], max_bytes: int) -> list[bytes] | None: ...

class BpeEncoder:
    # tokens[id]: the bytes of an id, b"" where no text gives it; each of the 256 bytes needs one.
    # merges (n, 3), lowest rank first; with whole_chunks a chunk that is a token is that token
    # and neighbouring rows of one id share one rank (tiktoken's rule).
    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: NDArray[np.uint32],
        pattern: str,
        whole_chunks: bool,
    ) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]: ...
    # ValueError where there are more than 65536 tokens.
    def encode_to_uint16(self, text: str) -> NDArray[np.uint16]: ...
    # BPE-dropout, 0 <= dropout <= 1; 0 <= seed < 2^64: the same seed, the same ids.
    def encode_with_dropout(self, text: str, dropout: float, seed: int) -> NDArray[np.uint32]: ...
    # Offsets (n, 2) in characters: where the token's first byte's character starts, where its
    # last byte's character ends.
    def encode_with_offsets(self, text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def encode_batch(self, texts: Sequence[str], threads: int) -> list[list[int]]: ...
    # All ids end to end, and the n + 1 offsets between which each text's ids lie.
    def encode_batch_to_numpy(
        self, texts: Sequence[str], threads: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    # Chunk i of `text` ends at byte ends[i], the last at its end.
    def encode_chunks(self, text: bytes, ends: NDArray[np.int64]) -> NDArray[np.uint32]: ...
    def encode_chunks_with_dropout(
        self, text: bytes, ends: NDArray[np.int64], dropout: float, seed: int
    ) -> NDArray[np.uint32]: ...

class BpeDecoder:
    # tokens[id]: the bytes of an id, b"" for an id that stands for nothing.
    def __init__(self, tokens: Sequence[bytes]) -> None: ...
    # `ids`: a list of ints, or a dense row of uint16, int32, uint32 or int64. None for anything
    # else, and where an id has no bytes.
    def decode(self, ids: object, errors: str) -> str | None: ...
    def decode_bytes(self, ids: object) -> bytes | None: ...
