"""From logits back to text."""

from groundup.generate.cache import KeyValueCache
from groundup.generate.sampling import next_ids
from groundup.generate.stream import stream

__all__ = ["KeyValueCache", "next_ids", "stream"]
