"""torch's own scaled_dot_product_attention on groundup, for whatever calls it."""

import threading
from types import TracebackType
from typing import Any

from torch.nn import functional as F

from groundup.ops.scaled_dot_product_attention import scaled_dot_product_attention

_lock = threading.Lock()
_torchs = F.scaled_dot_product_attention
_ours: Any = scaled_dot_product_attention
_n_active = 0


class torch_sdpa:
    """torch.nn.functional.scaled_dot_product_attention is gu.scaled_dot_product_attention.

    From the call on, or for a `with` block; `.undo()` takes it back. It holds for the process, all
    threads, as gu.use does; blocks may overlap, and torch's own is back when the last one ends.
    Reached are calls through the module, torch.nn.functional.scaled_dot_product_attention(...), as
    nn.MultiheadAttention, nn.Transformer layers, nanoGPT and transformers' "sdpa" make them,
    compiled ones included; not who took the function itself by `from ... import` before. What gu's
    does not have runs on torch, where torch.nn.attention.sdpa_kernel chooses as ever.

        with groundup.plugs.torch_sdpa():
            model(ids)
    """

    def __init__(self) -> None:
        global _n_active
        self._is_on = True
        with _lock:
            _n_active += 1
            F.scaled_dot_product_attention = _ours

    def __enter__(self) -> "torch_sdpa":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Give torch's function back; once is enough. Another's replacement is left alone."""
        global _n_active
        with _lock:
            if not self._is_on:
                return
            self._is_on = False
            _n_active -= 1
            if _n_active == 0 and F.scaled_dot_product_attention is _ours:
                F.scaled_dot_product_attention = _torchs
