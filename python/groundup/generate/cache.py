"""Keys and values of the tokens already read, so that a new token costs one row."""

import torch
from torch import Tensor

import groundup as gu
from groundup.models.config import GPTConfig


class KeyValueCache:
    """Room for n_positions tokens of B sequences: 2 n_layer (B, H, n_positions, D) buffers.

    Every layer appends the keys and values of the same tokens; `advance` then moves all of them
    on together. `length` tokens are held.
    """

    def __init__(
        self, config: GPTConfig, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (batch_size, config.n_head, config.n_positions, config.head_size)
        self.length = 0
        self._keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(config.n_layer)]
        self._values = [torch.empty_like(keys) for keys in self._keys]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store `key` and `value` (B, H, t, D) of t new tokens; views of all (B, H, length + t, D).

        Raises ValueError when they do not fit.
        """
        keys, values = self._keys[layer], self._values[layer]
        stop = self.length + key.size(2)
        if stop > keys.size(2):
            raise ValueError(f"cache: expected at most {keys.size(2)} tokens, got {stop}")
        keys[:, :, self.length : stop] = key
        values[:, :, self.length : stop] = value
        return keys[:, :, :stop], values[:, :, :stop]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store t new tokens and return what their queries (B, H, t, D) see, (B, H, t, D).

        For generation: there is no dropout, and a single token has no gradient.
        """
        keys, values = self.append(layer, key, value)
        if query.size(2) == 1:
            return gu.decode_attention(query, keys, values)
        return gu.causal_attention(query, keys, values)

    def advance(self, n_tokens: int) -> None:
        """Count the tokens that every layer has appended."""
        self.length += n_tokens
