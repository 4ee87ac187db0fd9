"""Hugging Face's tokenizer.json, for BPE over bytes or characters: what we can say is read.

What is read: BPE with tokens in GPT-2's letters, split by ByteLevel's own pattern, by one
Split(Regex, Isolated) before it, or not at all; the same over characters with byte fallback
(interop_byte_fallback.py); added tokens become special tokens. The rest is refused. Splitting by
a regex that is none of ours is left to the `regex` module, so a pattern that Oniguruma reads in
another way is refused.
"""

import itertools
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regex

from groundup._files import write_atomic
from groundup.tokenizer.byte_letters import from_letters
from groundup.tokenizer.interop_byte_fallback import (
    DECODER,
    expect_its_decoder,
    names_of_characters,
    vocabulary_of_characters,
)
from groundup.tokenizer.interop_gpt2 import (
    checked_ids,
    ids_of_names,
    pair_of,
    vocabulary_of_letters,
)
from groundup.tokenizer.patterns import NONE, Pattern, check_portable, find_pattern, read_pattern
from groundup.tokenizer.reading import expect, expect_id, parse_json, read_file
from groundup.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    import tokenizers

Json = dict[str, Any]


def from_source(source: object) -> Vocabulary:
    """From a tokenizer.json, a folder that holds one, or a tokenizer of either library."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            path = path / "tokenizer.json"
        return from_json(parse_json(read_file(path), str(path)), str(path))
    backend = getattr(source, "backend_tokenizer", source)  # transformers' fast tokenizers
    to_str = getattr(backend, "to_str", None)
    if to_str is None:
        raise ValueError(
            "from_hf: expected a path or a tokenizer of tokenizers or transformers (a fast one), "
            f"got {type(source).__name__}."
        )
    return from_json(parse_json(to_str(), "the tokenizer"), "the tokenizer")


def from_json(parsed: Json, source: str) -> Vocabulary:
    model = expect(parsed.get("model"), dict, source, "model")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"{source}: expected a BPE model, got {model.get('type')!r}.")
    if parsed.get("normalizer") is not None:
        raise ValueError(
            f"{source}: it normalizes text before splitting ({_type(parsed['normalizer'])}); "
            "tokenizers here encode text as it stands. Normalize first, and remove it there."
        )
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise ValueError(f"{source}: its model sets {option}, which cannot be expressed here.")
    over_characters = bool(model.get("byte_fallback"))
    whole_chunks = bool(model.get("ignore_merges", False))
    decoder = parsed.get("decoder")
    if over_characters:
        expect_its_decoder(decoder, source)
        if whole_chunks:
            raise ValueError(
                f"{source}: its model sets ignore_merges and byte_fallback, so that a chunk "
                "spelled <0xE0> would be a byte, which cannot be expressed here."
            )
    elif decoder is not None and _type(decoder) != "ByteLevel":
        raise ValueError(f"{source}: expected a ByteLevel decoder, got {_type(decoder)}.")
    _warn_of_what_is_left_out(parsed, source)

    specials = _added_tokens(parsed.get("added_tokens"), source)
    ids = expect(model.get("vocab"), dict, source, "model.vocab")
    merges = expect(model.get("merges"), list, source, "model.merges")
    for name in specials.keys() & ids.keys():
        if ids[name] != specials[name]:
            raise ValueError(
                f"{source}: {name!r} has id {ids[name]!r} in the vocabulary and {specials[name]} "
                "among the added tokens."
            )
    pairs = _pairs(merges, source)
    if over_characters:
        pattern = _bare_pattern(parsed.get("pre_tokenizer"), source)
        return vocabulary_of_characters(checked_ids(ids, source), *pairs, pattern, specials, source)
    return vocabulary_of_letters(
        ids,
        *pairs,
        _pattern(parsed.get("pre_tokenizer"), source),
        source,
        specials=specials,
        whole_chunks=whole_chunks,
    )


def _type(part: object) -> str:
    return str(part.get("type")) if isinstance(part, dict) else repr(part)


def _pairs(merges: list[Any], source: str) -> tuple[list[str], list[str]]:
    """The left and the right parts: all judged at once, and one by one to say which is amiss."""
    if set(map(type, merges)) == {list} and set(map(len, merges)) == {2}:
        parts = list(itertools.chain.from_iterable(merges))
        if set(map(type, parts)) == {str} and all(parts):
            return parts[0::2], parts[1::2]
    pairs = [_pair(merge, f"{source}, merge {number}") for number, merge in enumerate(merges)]
    return [left for left, _ in pairs], [right for _, right in pairs]


def _pair(merge: object, source: str) -> tuple[str, str]:
    if isinstance(merge, str):
        return pair_of(merge, source)
    parts = expect(merge, list, source, "a merge")
    if len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f'{source}: expected "left right" or ["left", "right"], got {merge!r}.')
    return parts[0], parts[1]


def _added_tokens(added: object, source: str) -> dict[str, int]:
    specials: dict[str, int] = {}
    for entry in expect(added if added is not None else [], list, source, "added_tokens"):
        token = expect(entry, dict, source, "an added token")
        name = expect(token.get("content"), str, source, "an added token's content")
        for option in ("single_word", "lstrip", "rstrip"):
            if token.get(option):
                raise ValueError(
                    f"{source}: the added token {name!r} sets {option}, which cannot be expressed "
                    "here: a special token matches its own text only."
                )
        if name in specials:
            raise ValueError(f"{source}: the token {name!r} is added twice.")
        specials[name] = expect_id(token.get("id"), source, f"the id of {name!r}")
    return specials


def _pattern(pre_tokenizer: object, source: str) -> Pattern:
    parts = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        parts = expect(pre_tokenizer.get("pretokenizers"), list, source, "pretokenizers")
    *before, last = parts or [None]
    if not isinstance(last, dict) or last.get("type") != "ByteLevel":
        raise ValueError(
            f"{source}: expected a ByteLevel pre-tokenizer, got "
            f"{', '.join(map(_type, parts)) if pre_tokenizer else 'none'}; only byte-level "
            "vocabularies can be read."
        )
    if last.get("add_prefix_space", True):
        raise ValueError(
            f"{source}: its ByteLevel pre-tokenizer adds a space before the text "
            "(add_prefix_space); text here is encoded as it stands."
        )
    if last.get("use_regex", True):
        if before:
            raise ValueError(f"{source}: it splits by two patterns in turn; only one can be kept.")
        return find_pattern("gpt2")
    if not before:
        return find_pattern("none")
    split = before[0]
    if len(before) > 1 or not isinstance(split, dict) or split.get("type") != "Split":
        raise ValueError(
            f"{source}: expected one Split before ByteLevel, got {', '.join(map(_type, before))}."
        )
    return _split_pattern(split, source)


def _bare_pattern(pre_tokenizer: object, source: str) -> Pattern:
    """Of a file over characters: one Split, or none."""
    if pre_tokenizer is None:
        return find_pattern("none")
    if not isinstance(pre_tokenizer, dict) or pre_tokenizer.get("type") != "Split":
        raise ValueError(
            f"{source}: expected one Split, or no pre-tokenizer, as its model has byte_fallback, "
            f"got {_type(pre_tokenizer)}."
        )
    return _split_pattern(pre_tokenizer, source)


def _split_pattern(split: Json, source: str) -> Pattern:
    pattern = expect(split.get("pattern"), dict, source, "the Split's pattern")
    if "String" in pattern:
        spelled = regex.escape(expect(pattern["String"], str, source, "the Split's string"))
    else:
        spelled = expect(pattern.get("Regex"), str, source, "the Split's regex")
    found = read_pattern(spelled, source)
    behavior, invert = split.get("behavior"), split.get("invert", False)
    # Keeping only the matches loses nothing where the pattern matches everything.
    if (behavior, invert) != ("Isolated", False) and not (
        behavior == "Removed" and invert and found.name is not None
    ):
        raise ValueError(
            f"{source}: expected a Split that is Isolated, got {behavior!r} with invert={invert}."
        )
    check_portable(found, source)
    return found


def _warn_of_what_is_left_out(parsed: Json, source: str) -> None:
    left_out = [name for name in ("truncation", "padding") if parsed.get(name) is not None]
    processor = parsed.get("post_processor")
    if processor is not None and _type(processor) != "ByteLevel":
        left_out.append("post_processor")
    if left_out:
        warnings.warn(
            f"{source}: {', '.join(left_out)} is left out: encode gives the ids of the text alone "
            "(Hugging Face's with add_special_tokens=False).",
            UserWarning,
            stacklevel=4,
        )


def to_json(vocabulary: Vocabulary) -> Json:
    """The tokenizer.json. ValueError where two tokens would have one name in it."""
    over_characters = vocabulary.base == "code points"
    named = names_of_characters if over_characters else ids_of_names
    ids = named(vocabulary, "tokenizer.json")
    names = {i: name for name, i in ids.items()}
    specials = sorted(vocabulary.specials.items(), key=lambda item: item[1])
    # An added token that is not in the vocabulary gets the next free id when the file is read,
    # so those that stand elsewhere must be in it.
    if [i for _, i in specials] != list(range(len(ids), len(ids) + len(specials))):
        for name, i in specials:
            if vocabulary.whole_chunks and from_letters(name) not in (None, name.encode()):
                raise ValueError(
                    f"tokenizer.json would take the special token {name!r} for the text "
                    f"{from_letters(name)!r}; rename it, or save with tok.save."
                )
            ids[name] = i
    merges = [[names[left], names[right]] for left, right, _ in vocabulary.merges.tolist()]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, i in specials
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(
            vocabulary.pattern, None if over_characters else byte_level
        ),
        "post_processor": None,
        "decoder": DECODER if over_characters else byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": over_characters,
            "ignore_merges": vocabulary.whole_chunks,
            "vocab": ids,
            "merges": merges,
        },
    }


def _pre_tokenizer(pattern: Pattern, byte_level: Json | None) -> Json | None:
    if byte_level and pattern.name == "gpt2":
        return byte_level | {"use_regex": True}
    letters = byte_level and byte_level | {"use_regex": False}
    if pattern.regex == NONE:
        return letters
    check_portable(pattern, "tokenizer.json")
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern.regex},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, letters]} if letters else split


def to_file(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    write_atomic(path, json.dumps(to_json(vocabulary), ensure_ascii=False, indent=1).encode())


def to_tokenizer(vocabulary: Vocabulary) -> "tokenizers.Tokenizer":
    import tokenizers

    return tokenizers.Tokenizer.from_str(json.dumps(to_json(vocabulary), ensure_ascii=False))
