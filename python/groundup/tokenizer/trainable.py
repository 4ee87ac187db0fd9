"""A tokenizer from texts, from files, or from chunks counted elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from groundup.tokenizer import training
from groundup.tokenizer.counts import ChunkCounts, ProgressCallback
from groundup.tokenizer.parts import Parts, PathLike
from groundup.tokenizer.training import Plan
from groundup.tokenizer.vocabulary import Vocabulary


class Trainable(Parts):
    """The ways to train a tokenizer; arguments as `train` has them."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 32768,
        *,
        pattern: str | None = None,
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        max_token_length: int | None = None,
        ties: str = "smallest_pair",
        extend: Parts | None = None,
        threads: int | None = None,
        memory_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Learn a vocabulary from texts, each split on its own.

        vocab_size        counts the 256 bytes and the special tokens; ids are the bytes, the
                          merges, the special tokens. It comes out smaller when no pair of
                          neighbours that occurs `min_frequency` times is left
        pattern           how text is cut before merging: a name in PATTERNS or a regex; None for
                          "gpt4", or for that of `extend`
        max_token_length  of new tokens, in bytes; None for any
        ties              which of equally frequent pairs is merged: "smallest_pair" by ids (as
                          rustbpe), "huggingface" (as theirs), "first_seen" (as minbpe)
        extend            a tokenizer to train on from: its ids, special tokens included, stay
                          what they are, its merges come first, and new tokens follow
        threads           None for one per core, 1024 at most; the result does not depend on it
        memory_bytes      for counting, 1 GiB if None: what passes it goes to unnamed files in the
                          temporary folder. Merging takes what the distinct chunks need
        progress          called with "counting", bytes done and bytes in all (or None), then with
                          "merging", merges done and asked for; what it raises ends the training

        ValueError in a sentence for any argument that does not fit. Source: Sennrich et al.
        2016; Zero to Hero, "Let's build the GPT tokenizer".
        """
        plan = Plan(
            vocab_size,
            pattern,
            base,
            special_tokens,
            min_frequency,
            max_token_length,
            ties,
            _vocabulary_of(extend),
            threads,
            memory_bytes,
            progress,
        )
        return cls(*training.from_texts(texts, plan))

    @classmethod
    def train_files(
        cls,
        paths: Iterable[PathLike],
        vocab_size: int = 32768,
        *,
        pattern: str | None = None,
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        max_token_length: int | None = None,
        ties: str = "smallest_pair",
        extend: Parts | None = None,
        threads: int | None = None,
        memory_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """`train` on files of UTF-8 text, each file one text, read without holding them all."""
        plan = Plan(
            vocab_size,
            pattern,
            base,
            special_tokens,
            min_frequency,
            max_token_length,
            ties,
            _vocabulary_of(extend),
            threads,
            memory_bytes,
            progress,
        )
        return cls(*training.from_files(paths, plan))

    @classmethod
    def train_from_counts(
        cls,
        counts: ChunkCounts | Mapping[bytes, int],
        vocab_size: int = 32768,
        *,
        pattern: str | None = None,
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        max_token_length: int | None = None,
        ties: str = "smallest_pair",
        extend: Parts | None = None,
        threads: int | None = None,
        memory_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """`train` on chunks that are cut and counted already.

        counts   a ChunkCounts, also one loaded or merged from several machines' tables, whose
                 pattern is then the default; or `{b" the": 12345, ...}`
        pattern  how text will be split when it is encoded
        """
        plan = Plan(
            vocab_size,
            pattern,
            base,
            special_tokens,
            min_frequency,
            max_token_length,
            ties,
            _vocabulary_of(extend),
            threads,
            memory_bytes,
            progress,
        )
        return cls(*training.from_counts(counts, plan))


def _vocabulary_of(extend: Parts | None) -> Vocabulary | None:
    if extend is not None and not isinstance(extend, Parts):
        raise ValueError(f"extend: expected a Tokenizer or None, got {extend!r:.60}.")
    return None if extend is None else extend._vocabulary
