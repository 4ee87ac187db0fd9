"""SentencePiece's BPE models: read what encodes here as it does there, refuse the rest.

Any two neighbours that together are a piece merge, the highest score first, the leftmost of
equals, over code points; a code point that is no piece becomes the pieces of its bytes. That is
tiktoken's rule on another base (code_points.py). A space is written "▁" there, and is a space
here. User-defined pieces are found in the text before any merging, the longest first: here they
are chunks. Control pieces are special tokens.

Exact for texts without the letter "▁" itself, which SentencePiece takes for a space. Read are BPE
models with byte fallback that leave text as it is: no normalization table (rule "identity"), no
removal of spaces. A space put before each text (add_dummy_prefix) is left to the caller.
"""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import regex

from groundup.tokenizer.encoders import new_encoder
from groundup.tokenizer.patterns import Pattern, find_pattern, read_pattern
from groundup.tokenizer.reading import read_file
from groundup.tokenizer.sentencepiece_model import Kind, Model, ModelType, Piece, read_model
from groundup.tokenizer.splits import all_splits
from groundup.tokenizer.vocabulary import N_BYTES, Merges, Vocabulary, checked

SPACE = "▁"
_NO_TEXT = b"\xff"  # a byte that no text holds


def from_file(path: str | os.PathLike[str]) -> Vocabulary:
    source = str(path)
    model = read_model(read_file(path), source)
    _expect_what_encodes_alike(model, source)
    tokens, decode_only, specials = _tokens(model.pieces, source)
    # Where one is looked for, spaces are "▁" already: with a space of its own it is never found.
    fixed = [p.text for p in model.pieces if p.kind == Kind.USER_DEFINED and " " not in p.text]
    merges = _merges(model.pieces, tokens, source)
    vocabulary = Vocabulary(
        tokens,
        merges,
        _pattern(model.pieces, fixed, source),
        specials,
        whole_chunks=True,
        base="code points",
        decode_only=decode_only,
    )
    checked(vocabulary, source)
    unreachable = _unreachable(vocabulary)
    if not unreachable:
        return vocabulary
    for i in unreachable:
        decode_only[i], tokens[i] = tokens[i], b""
    reached = ~np.isin(merges, unreachable).any(axis=1)
    return checked(replace(vocabulary, merges=merges[reached]), source)


def _expect_what_encodes_alike(model: Model, source: str) -> None:
    if model.model_type != ModelType.BPE:
        raise ValueError(
            f"{source}: expected a BPE model, got one of type {model.model_type.name.lower()}; "
            "only merges can be expressed here."
        )
    if model.normalizes or model.denormalizes or model.removes_extra_whitespaces:
        what = "removes spaces from" if model.removes_extra_whitespaces else "normalizes"
        what = "normalizes" if model.normalizes or model.denormalizes else what
        raise ValueError(
            f"{source}: it {what} text before splitting; text here is encoded as it stands. Train "
            "with normalization_rule_name='identity', remove_extra_whitespaces=False."
        )
    if not model.byte_fallback:
        raise ValueError(
            f"{source}: it has no bytes for letters it does not know, so text can be lost; train "
            "with byte_fallback=True."
        )
    if model.whitespace_is_suffix or not model.escapes_whitespaces:
        raise ValueError(
            f"{source}: it treats white space as a suffix, or does not mark it; only models that "
            f"write a space as {SPACE!r} before a word can be read."
        )
    if model.adds_dummy_prefix:
        warnings.warn(
            f"{source}: SentencePiece puts a space before each text with this model "
            "(add_dummy_prefix); here text is encoded as it stands. For its ids, encode "
            '" " + text.',
            UserWarning,
            stacklevel=4,
        )


def _tokens(
    pieces: Sequence[Piece], source: str
) -> tuple[list[bytes], dict[int, bytes], dict[str, int]]:
    """Tokens by id; bytes of ids that no text gives, as letters have pieces of their own."""
    texts: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if texts.setdefault(piece.text, i) != i:
            raise ValueError(f"{source}: the piece {piece.text!r} stands there twice.")
        if piece.kind == Kind.UNUSED:
            raise ValueError(
                f"{source}: the piece {piece.text!r} is of type unused, which cannot be expressed "
                "here."
            )
        if piece.kind == Kind.NORMAL and " " in piece.text:
            raise ValueError(
                f"{source}: the piece {piece.text!r} holds a space that is not {SPACE!r}."
            )
    letters = {p.text for p in pieces if p.kind in (Kind.NORMAL, Kind.USER_DEFINED)}
    if SPACE not in letters:
        raise ValueError(f"{source}: expected a piece for the space, {SPACE!r}; there is none.")
    tokens = [b""] * len(pieces)
    decode_only: dict[int, bytes] = {}
    specials: dict[str, int] = {}
    seen_bytes: set[int] = set()
    for i, (text, _, kind) in enumerate(pieces):
        if kind == Kind.BYTE:
            if not (spelled := re.fullmatch("<0x([0-9A-F]{2})>", text)):
                raise ValueError(f"{source}: the byte {text!r} is not spelled as <0x2A> is.")
            byte = int(spelled[1], 16)
            seen_bytes.add(byte)
            letter = SPACE if byte == 32 else chr(byte)
            if byte < 128 and letter in letters:
                decode_only[i] = bytes([byte])
            else:
                tokens[i] = bytes([byte])
        elif kind == Kind.USER_DEFINED and " " in text:
            decode_only[i] = text.encode()
        elif kind in (Kind.NORMAL, Kind.USER_DEFINED):
            tokens[i] = text.replace(SPACE, " ").encode()
        else:
            specials[text] = i
    if len(seen_bytes) < N_BYTES:
        missing = min(set(range(N_BYTES)) - seen_bytes)
        raise ValueError(
            f"{source}: expected a piece for each byte, but <0x{missing:02X}> is none."
        )
    return tokens, decode_only, specials


def _merges(pieces: Sequence[Piece], tokens: Sequence[bytes], source: str) -> Merges:
    """Every way to cut a piece into two, by the pieces' scores."""
    normal = [i for i, piece in enumerate(pieces) if piece.kind == Kind.NORMAL]
    letters = {piece.text for piece in pieces if len(piece.text) == 1}
    for i in normal:
        if unknown := set(pieces[i].text) - letters:
            raise ValueError(
                f"{source}: the piece {pieces[i].text!r} holds {min(unknown)!r}, which is no piece."
            )
    scores = np.array([pieces[i].score for i in normal], dtype=np.float64)
    order = np.array(normal, dtype=np.uint32)[np.argsort(-scores, kind="stable")]
    merges: Merges = order[all_splits([tokens[i] for i in order.tolist()], source)]
    made = merges[:, 2][np.diff(merges[:, 2], prepend=merges[:1, 2] + 1) != 0].tolist()
    for first, second in pairwise(made):
        if pieces[first].score == pieces[second].score:
            raise ValueError(
                f"{source}: the pieces {pieces[first].text!r} and {pieces[second].text!r} have "
                f"one score, {pieces[first].score}; which merges first cannot be expressed here."
            )
    return merges


def _pattern(pieces: Sequence[Piece], fixed: Sequence[str], source: str) -> Pattern:
    """Cuts at user-defined pieces, and before spaces where no piece reaches across."""
    normal = (piece.text for piece in pieces if piece.kind == Kind.NORMAL)
    reaches = re.compile(f"[^{SPACE}]{SPACE}")
    words = not any(map(reaches.search, normal))
    if not fixed:
        return find_pattern(" *[^ ]+| +" if words else "none")
    longest_first = sorted((text.replace(SPACE, " ") for text in fixed), key=lambda t: (-len(t), t))
    names = "|".join(map(regex.escape, longest_first))
    free = f"(?!{names})"
    rest = f"(?:{free} )*(?:{free}[^ ])+|(?:{free} )+" if words else rf"(?:{free}[\s\S])+"
    return read_pattern(f"{names}|{rest}", source)


def _unreachable(vocabulary: Vocabulary) -> list[int]:
    """Pieces that their own text does not become: as chunks they must not be found whole.

    Each stands behind a byte that no text holds, so that the chunk itself is no token; what comes
    after that byte is what merging makes of the piece.
    """
    made = np.unique(vocabulary.merges[:, 2]).tolist()
    if not made:
        return []
    encoder = new_encoder(vocabulary)
    (mark,) = encoder.encode_chunk(_NO_TEXT)
    ids = encoder.encode_chunks([_NO_TEXT + vocabulary.tokens[i] for i in made])
    starts = np.flatnonzero(ids == mark)
    lengths = np.diff(starts, append=len(ids)) - 1
    firsts = ids[np.minimum(starts + 1, len(ids) - 1)]
    itself = (lengths == 1) & (firsts == made)
    return [i for i, is_itself in zip(made, itself.tolist(), strict=True) if not is_itself]
