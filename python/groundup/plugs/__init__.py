"""Where other libraries let one plug in: their models on our attention, nothing of them changed."""

from groundup.plugs.torch_sdpa import torch_sdpa
from groundup.plugs.transformers_attention import transformers_attention

__all__ = ["torch_sdpa", "transformers_attention"]
