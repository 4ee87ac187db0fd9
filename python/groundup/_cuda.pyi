"""Signatures of the CUDA kernels. Addresses are the device's; `device` is its ordinal and `stream`
a cudaStream_t as an integer. Work is enqueued and not waited for."""

__version__: str

def architectures() -> list[str]: ...
def toolkit() -> int:
    """The CUDA runtime linked in, 13000 for 13.0."""

def device_count() -> int:
    """Raises RuntimeError with CUDA's own words where there is no usable driver or device."""

adamw_tensor_bytes: int  # of one row of the tensor table

def adamw_chunks(n_tensors: int, sizes: int, /) -> int:
    """How many chunks, and with them blocks, tensors of these sizes make."""

def adamw_chunk_table(n_tensors: int, sizes: int, chunks: int, /) -> None:
    """Fill (adamw_chunks, 2) int32 of the host: the tensor of each chunk, and its number in it."""

def adamw_tensor_table(
    n_tensors: int,
    pointers: int,
    sizes: int,
    kinds: int,
    groups_of: int,
    n_groups: int,
    groups: int,
    tensors: int,
    /,
) -> None:
    """Fill n_tensors * adamw_tensor_bytes of the host, and advance the steps, which are the host's.

    Arguments as adamw_step_cpu's, but kinds: dtype of the parameter + 4 * that of its moments
    (0 float32, 1 bfloat16, 2 float16) + 16 for amsgrad.
    """

def adamw_step_cuda(
    device: int,
    stream: int,
    tensors: int,
    chunks: int,
    n_chunks: int,
    max_grad_norm: float,
    write_grads: bool,
    square_sums: int,
    norm: int,
    /,
) -> None:
    """tensors, chunks: the tables, on the device. square_sums: (n_chunks,) float64 scratch with
    clipping. norm: (2,) float32 that gets the norm before clipping and the factor it gave."""

def cross_entropy_scratch(n_rows: int) -> int:
    """Bytes of scratch that forward and in place take."""

# dtype: 0 float32, 1 bfloat16, 2 float16. reduction: 0 none, 1 mean, 2 sum. weight, softcap: 0 is
# none. statistics: (2 * n_rows + 3,) float32. flag: two int64 that the device can write, (row + 1,
# target) of the first target that is no class.
def cross_entropy_forward_cuda(
    device: int,
    stream: int,
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
    statistics: int,
    scratch: int,
    flag: int,
    /,
) -> None: ...
def cross_entropy_inplace_cuda(
    device: int,
    stream: int,
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
    statistics: int,
    scratch: int,
    flag: int,
    /,
) -> None: ...
def cross_entropy_backward_cuda(
    device: int,
    stream: int,
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
    statistics: int,
    dloss: int,
    dlogits: int,
    dlogits_row_stride: int,
    /,
) -> None: ...
def cross_entropy_scale_cuda(
    device: int,
    stream: int,
    dlogits: int,
    dtype: int,
    n_rows: int,
    n_classes: int,
    row_stride: int,
    reduction: int,
    dloss: int,
    /,
) -> None: ...
