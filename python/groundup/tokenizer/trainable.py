"""A tokenizer from texts, from files, or from chunks counted elsewhere."""

from collections.abc import Iterable, Mapping
from typing import Self, Unpack

from groundup.tokenizer import training
from groundup.tokenizer.counts import ChunkCounts
from groundup.tokenizer.parts import Parts, PathLike
from groundup.tokenizer.training import Options, Plan


class Trainable(Parts):
    """The ways to train a tokenizer; arguments as `train` has them."""

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 32768, **options: Unpack[Options]
    ) -> Self:
        """Learn a vocabulary from texts, each split on its own.

        vocab_size          counts the 256 bytes and the special tokens; ids are the bytes, the
                            characters where those are the base, the merges, the special tokens.
                            It comes out smaller, with a warning, when no pair of
                            neighbours that occurs `min_frequency` times is left
        pattern             how text is cut before merging: a name in PATTERNS or a regex; None
                            for "gpt4", or for that of `extend`
        base                what is merged at first: "bytes", or "codepoints" with bytes for those
                            that are rare or not in the text, so that no token is a part of a
                            character but a single byte; None for "bytes", or for that of `extend`
        character_coverage  share of the text's characters that are to have ids as code points,
                            the most frequent ones first; None for 0.9995
        special_tokens      their names, in the order of their ids; none by default
        min_frequency       least number of times that a pair must occur to be merged; 1
        max_token_length    of new tokens, in bytes; None for any
        ties                which of equally frequent pairs is merged: "smallest_pair" by ids (as
                            rustbpe), the default, "huggingface" (as theirs), "first_seen" (as
                            minbpe)
        extend              a tokenizer to train on from: its ids, special tokens included, stay
                            what they are, its merges come first, and new tokens follow
        threads             None for one per core, 1024 at most; the result does not depend on it
        memory_bytes        for counting, 1 GiB if None: what passes it goes to unnamed files in
                            the temporary folder. Merging takes what the distinct chunks need
        progress            called with "counting", bytes done and bytes in all (or None), then
                            with "merging", merges done and asked for; what it raises ends the
                            training

        ValueError in a sentence for any argument that does not fit. Source: Sennrich et al.
        2016; Zero to Hero, "Let's build the GPT tokenizer"; for code points with bytes, Kudo and
        Richardson 2018 (SentencePiece).
        """
        return cls(*training.from_texts(texts, Plan(vocab_size, options)))

    @classmethod
    def train_files(
        cls, paths: Iterable[PathLike], vocab_size: int = 32768, **options: Unpack[Options]
    ) -> Self:
        """`train` on files of UTF-8 text, each file one text, read without holding them all."""
        return cls(*training.from_files(paths, Plan(vocab_size, options)))

    @classmethod
    def train_from_counts(
        cls,
        counts: ChunkCounts | Mapping[bytes, int],
        vocab_size: int = 32768,
        **options: Unpack[Options],
    ) -> Self:
        """`train` on chunks that are cut and counted already.

        counts   a ChunkCounts, also one loaded or merged from several machines' tables, whose
                 pattern is then the default; or `{b" the": 12345, ...}`
        pattern  how text will be split when it is encoded
        """
        return cls(*training.from_counts(counts, Plan(vocab_size, options)))
