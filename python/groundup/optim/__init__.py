"""Optimizers with torch.optim's names."""

from groundup.optim.adamw import AdamW

__all__ = ["AdamW"]
