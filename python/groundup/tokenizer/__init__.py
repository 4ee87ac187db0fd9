"""Text to ids to text: byte pair encoding, trained here or read from others. Needs no torch."""

from groundup.tokenizer.counts import ChunkCounts
from groundup.tokenizer.patterns import PATTERNS
from groundup.tokenizer.tokenizer import Tokenizer

__all__ = ["PATTERNS", "ChunkCounts", "Tokenizer"]
