"""Models, with Hugging Face's names for what Hugging Face has."""

from groundup.models.config import GPTConfig
from groundup.models.eager import EagerGPT
from groundup.models.gpt import GPT

__all__ = ["GPT", "EagerGPT", "GPTConfig"]
