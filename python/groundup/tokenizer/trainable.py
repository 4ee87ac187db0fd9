"""A tokenizer from texts, from files, or from chunks counted elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from groundup.tokenizer import training
from groundup.tokenizer.parts import Parts, PathLike
from groundup.tokenizer.training import Plan


class Trainable(Parts):
    """The ways to train a tokenizer; arguments as `train` has them."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> Self:
        """Learn a vocabulary from texts, each split on its own.

        vocab_size     counts the 256 bytes and the special tokens; ids are the bytes, the
                       merges, the special tokens. It comes out smaller when no pair of
                       neighbours that occurs `min_frequency` times is left
        pattern        how text is cut before merging: a name in PATTERNS or a regex
        ties           which of equally frequent pairs is merged: "smallest_pair" by ids (as
                       rustbpe), "huggingface" (as theirs), "first_seen" (as minbpe)
        threads        None for one per core, 1024 at most; the result does not depend on it

        ValueError in a sentence for any argument that does not fit. Source: Sennrich et al.
        2016; Zero to Hero, "Let's build the GPT tokenizer".
        """
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_texts(texts, plan))

    @classmethod
    def train_files(
        cls,
        paths: Iterable[PathLike],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> Self:
        """`train` on files of UTF-8 text, each file one text, read without holding them all."""
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_files(paths, plan))

    @classmethod
    def train_from_counts(
        cls,
        counts: Mapping[bytes, int],
        vocab_size: int = 32768,
        *,
        pattern: str = "gpt4",
        base: str = "bytes",
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        ties: str = "smallest_pair",
        threads: int | None = None,
    ) -> Self:
        """`train` on chunks that are cut and counted already, `{b" the": 12345, ...}`.

        `pattern` is how text will be split when it is encoded.
        """
        plan = Plan(vocab_size, pattern, base, special_tokens, min_frequency, ties, threads)
        return cls(*training.from_counts(counts, plan))
