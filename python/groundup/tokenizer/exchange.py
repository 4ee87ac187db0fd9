"""A tokenizer to and from files and other libraries."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, overload

from groundup.tokenizer import (
    interop_gpt2,
    interop_huggingface,
    interop_minbpe,
    interop_sentencepiece,
    interop_tiktoken,
    saved,
)
from groundup.tokenizer.parts import Parts, PathLike

if TYPE_CHECKING:
    import tiktoken
    import tokenizers


class Exchange(Parts):
    """Our own file, and those of tiktoken, Hugging Face, GPT-2, minbpe and SentencePiece."""

    def save(self, path: PathLike) -> None:
        """Write the tokenizer's own JSON, whole or not at all."""
        saved.save(self._known_training(), path)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read what `save` wrote. ValueError for a file that is damaged or another's."""
        return cls(saved.load(path))

    @classmethod
    def from_tiktoken(
        cls,
        path_or_encoding: "PathLike | tiktoken.Encoding",
        pattern: str | None = None,
        *,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Self:
        """From a .tiktoken file, which needs `pattern` and `special_tokens`, or an Encoding."""
        if isinstance(path_or_encoding, str | os.PathLike):
            return cls(interop_tiktoken.from_file(path_or_encoding, pattern, special_tokens or {}))
        return cls(interop_tiktoken.from_encoding(path_or_encoding, pattern))

    @overload
    def to_tiktoken(self, path: None = None, *, name: str = ...) -> "tiktoken.Encoding": ...
    @overload
    def to_tiktoken(self, path: PathLike, *, name: str = ...) -> None: ...
    def to_tiktoken(
        self, path: PathLike | None = None, *, name: str = "groundup"
    ) -> "tiktoken.Encoding | None":
        """A tiktoken.Encoding, or with `path` a .tiktoken file (without pattern and specials).

        ValueError for a vocabulary that tiktoken would encode with differently.
        """
        if path is None:
            return interop_tiktoken.to_encoding(self._vocabulary, name)
        interop_tiktoken.to_file(self._vocabulary, path)
        return None

    @classmethod
    def from_hf(cls, source: "PathLike | tokenizers.Tokenizer | object") -> Self:
        """From a tokenizer.json, its folder, or a tokenizer of tokenizers or transformers.

        ValueError for what cannot be expressed here: models other than BPE over
        bytes or over characters with byte fallback, normalizers, added spaces.
        """
        return cls(interop_huggingface.from_source(source))

    @overload
    def to_hf(self, path: None = None) -> "tokenizers.Tokenizer": ...
    @overload
    def to_hf(self, path: PathLike) -> None: ...
    def to_hf(self, path: PathLike | None = None) -> "tokenizers.Tokenizer | None":
        """A tokenizers.Tokenizer, or with `path` a tokenizer.json."""
        if path is None:
            return interop_huggingface.to_tokenizer(self._vocabulary)
        interop_huggingface.to_file(self._vocabulary, path)
        return None

    @classmethod
    def from_gpt2(cls, vocab_bpe: PathLike, encoder_json: PathLike) -> Self:
        """From the two files of the GPT-2 release."""
        return cls(interop_gpt2.from_files(vocab_bpe, encoder_json))

    def to_gpt2(self, vocab_bpe: PathLike, encoder_json: PathLike) -> None:
        """Write the two files of the GPT-2 release.

        ValueError for another pattern than "gpt2", which they do not tell, and for ranks without
        merges.
        """
        interop_gpt2.to_files(self._vocabulary, vocab_bpe, encoder_json)

    @classmethod
    def from_minbpe(cls, path: PathLike) -> Self:
        """From a .model file of minbpe: its BasicTokenizer's or its RegexTokenizer's."""
        return cls(interop_minbpe.from_file(path))

    @classmethod
    def from_sentencepiece(cls, path: PathLike) -> Self:
        """From a .model file of SentencePiece: BPE with byte fallback that leaves text as it is.

        The ids are SentencePiece's for every text without the letter "▁"; with a model that puts
        a space before each text, which a UserWarning tells, for `" " + text`. Control pieces are
        special tokens. ValueError for unigram models and for what normalizes text.
        """
        return cls(interop_sentencepiece.from_file(path))
