"""Attention over the block of a name, and one guess from its last place: gpt.py's blocks.

NumPy. Source: Vaswani et al. 2017; makemore.
"""

import numpy as np

from groundup.reference.gpt import GPT, gpt2
from groundup.reference.layers import Ids, Module
from groundup.reference.makemore.mlp import of_any_length
from groundup.reference.tensor import Tensor


class Transformer(Module):
    """ids (B, block_size) to logits (B, V)."""

    def __init__(
        self,
        vocab_size: int,
        rng: np.random.Generator,
        block_size: int = 8,
        n_embd: int = 64,
        n_head: int = 4,
        n_layer: int = 2,
    ) -> None:
        self.block_size = block_size
        self.gpt: GPT = gpt2(vocab_size, block_size, n_embd, n_head, n_layer, rng)

    def every_position(self, ids: Ids) -> Tensor:
        """(B, T, V): what comes after each prefix of the block."""
        return self.gpt(of_any_length(ids))

    def __call__(self, ids: Ids) -> Tensor:
        return self.every_position(ids)[:, -1]
