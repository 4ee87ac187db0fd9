"""What a tokenizer is made of: the classes that build on it add what can be done with one."""

import os
from dataclasses import replace

from groundup.tokenizer import explain as explaining
from groundup.tokenizer.decoding import Decoder
from groundup.tokenizer.encoders import Encoder, new_encoder
from groundup.tokenizer.engine import Chunks
from groundup.tokenizer.specials import SpecialTokens
from groundup.tokenizer.vocabulary import Vocabulary

PathLike = str | os.PathLike[str]


class Parts:
    """The vocabulary, and what was built from it to encode and decode."""

    def __init__(self, vocabulary: Vocabulary, training_chunks: Chunks | None = None) -> None:
        self._vocabulary = vocabulary
        # Kept until something asks where tokens were seen; see _known_training.
        self._training_chunks = training_chunks
        self._encoder: Encoder = new_encoder(vocabulary)
        self._specials = SpecialTokens(vocabulary.specials)
        self._decoder = Decoder(vocabulary)

    def _known_training(self) -> Vocabulary:
        """The vocabulary with where its tokens were seen, found on first need."""
        known, chunks = self._vocabulary.training, self._training_chunks
        if known is not None and chunks is not None:
            seen = explaining.seen_in(self._vocabulary, self._encoder, chunks)
            self._vocabulary = replace(self._vocabulary, training=replace(known, seen=seen))
            self._training_chunks = None
        return self._vocabulary
