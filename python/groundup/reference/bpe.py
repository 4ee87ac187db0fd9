"""Byte pair encoding in plain Python: the specification of groundup's native engine.

Read it from top to bottom; each function stands on those above it.

1. get_stats, merge      the two moves everything is made of
2. train_plainly         learn merges from text: count, take the best pair, merge, again
3. encode, decode        text -> ids by replaying the merges; ids -> text by joining bytes
4. split, count_chunks   cut text first, so that no token crosses a word's edge
5. train                 the same merges, touching only the chunks that hold the pair
6. encode_chunk_leftmost the rule for vocabularies that are not listed in training order
7. ..._with_dropout      another encoding each time
8. alphabet_of, symbols  code points as the base, with bytes for those that are too rare

Ids 0 to 255 are the bytes themselves, the alphabet of code points follows where there is one, and
each merge makes the next id. A merge is a row (left, right, new id), and a list of them is in rank
order: the earlier, the more frequent.
Source: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909); Zero to Hero, "Let's build the
GPT tokenizer", and its repository minbpe.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random

import regex

Pair = tuple[int, int]
Merge = tuple[int, int, int]  # left, right, new id
N_BYTES = 256


# 1. The two moves


def get_stats(
    ids: Sequence[int], stats: dict[Pair, int] | None = None, weight: int = 1
) -> dict[Pair, int]:
    """How often each pair of neighbours occurs, in order of first occurrence.

    Windows overlap: a a a holds the pair (a, a) twice, although only one can be merged.
    Adds to `stats` when given one. `weight` is how many times these ids occur in the text.

    >>> get_stats([1, 2, 3, 1, 2])
    {(1, 2): 2, (2, 3): 1, (3, 1): 1}
    """
    stats = {} if stats is None else stats
    for pair in pairwise(ids):
        stats[pair] = stats.get(pair, 0) + weight
    return stats


def merge(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """`ids` with each `pair` replaced by `new`, scanning left to right without overlap.

    >>> merge([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


# 2. Training

# Which of two equally frequent pairs goes first is a convention, and it decides the vocabulary:
#   smallest_pair  the smaller (left, right) by ids: rustbpe
#   huggingface    the same, with the 256 bytes in the order of GPT-2's printable alphabet
#   first_seen     the pair whose first place in the text, as it stands now, comes first: minbpe
TIES = ("smallest_pair", "huggingface", "first_seen")

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
HUGGINGFACE_BYTES = [*_PRINTABLE, *(b for b in range(N_BYTES) if b not in _PRINTABLE)]


def _tie_order(ties: str, alphabet: Sequence[str] | None) -> Callable[[Pair], Pair]:
    place = list(range(N_BYTES))
    if ties == "huggingface" and alphabet is None:  # of code points its order is ours
        for position, byte in enumerate(HUGGINGFACE_BYTES):
            place[byte] = position

    def order(pair: Pair) -> Pair:
        left, right = pair
        return (place[left] if left < N_BYTES else left, place[right] if right < N_BYTES else right)

    return order


def train_plainly(
    chunks: Mapping[bytes, int],
    n_merges: int,
    *,
    ties: str = "smallest_pair",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    known: Sequence[Pair] = (),
    alphabet: Sequence[str] | None = None,
) -> tuple[list[Merge], list[int]]:
    """Learn `n_merges` merges: the definition, word for word.

    chunks            each distinct chunk and how often it occurs, in order of first occurrence
    max_token_length  in bytes; a pair that would make a longer token is passed over
    known             pairs that are merged first, as they stand: the merges of a vocabulary
                      to train on from, counted among the `n_merges`
    alphabet          the code points to begin with, None to begin with bytes; see part 8
    returns           the merges in rank order, and the count of each pair when it was merged

    Stops early when no pair is left that occurs `min_frequency` times. Every step counts
    everything again: O(text) for each merge.

    >>> train_plainly({b"aaabdaaabac": 1}, 3, ties="first_seen")
    ([(97, 97, 256), (256, 97, 257), (257, 98, 258)], [4, 2, 2])
    """
    words, weights = _words(chunks, alphabet)
    order = _tie_order(ties, alphabet)
    lengths = _base_lengths(alphabet)
    merges: list[Merge] = []
    counts: list[int] = []
    while len(merges) < n_merges:
        stats: dict[Pair, int] = {}
        for word, weight in zip(words, weights, strict=True):
            get_stats(word, stats, weight)
        if len(merges) < len(known):
            pair = known[len(merges)]
            count = stats.get(pair, 0)
        else:
            if max_token_length is not None:
                stats = {
                    (left, right): count
                    for (left, right), count in stats.items()
                    if lengths[left] + lengths[right] <= max_token_length
                }
            count = max(stats.values(), default=0)
            if count < max(min_frequency, 1):
                break
            best = [pair for pair in stats if stats[pair] == count]
            pair = best[0] if ties == "first_seen" else min(best, key=order)
        new = len(lengths)
        words = [merge(word, pair, new) for word in words]
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        merges.append((*pair, new))
        counts.append(count)
    return merges, counts


# 3. Text to ids and back


def ranks_of(merges: Iterable[Merge]) -> dict[Pair, tuple[int, int]]:
    """Each pair's rank and product."""
    return {(left, right): (rank, new) for rank, (left, right, new) in enumerate(merges)}


def encode_chunk(ids: Sequence[int], ranks: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Merge one chunk: the pair of lowest rank first, everywhere at once, until none is left.

    ids    the chunk as ids of single bytes, or as `symbols`
    """
    ids = list(ids)
    unranked = (len(ranks), -1)
    while len(ids) >= 2:
        pair = min(get_stats(ids), key=lambda pair: ranks.get(pair, unranked))
        if pair not in ranks:
            break
        ids = merge(ids, pair, ranks[pair][1])
    return ids


def tokens_of(merges: Iterable[Merge], alphabet: Iterable[str] = ()) -> list[bytes]:
    """The bytes of every token, by id."""
    tokens = [bytes([byte]) for byte in range(N_BYTES)]
    tokens += [character.encode() for character in alphabet]
    for left, right, _ in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def decode(ids: Iterable[int], tokens: Sequence[bytes]) -> str:
    """Join the tokens' bytes; what is not UTF-8 shows as U+FFFD."""
    return b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")


# 4. Chunks

# GPT-2's rule: contractions, words with the space before them, numbers, the rest, white space.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def split(text: str, pattern: str = GPT2_PATTERN) -> list[bytes]:
    """The chunks of `text` in order; what the pattern leaves out is a chunk of its own."""
    chunks: list[bytes] = []
    seen = 0
    for match in regex.finditer(pattern, text):
        chunks += [text[seen : match.start()].encode(), match.group().encode()]
        seen = match.end()
    chunks.append(text[seen:].encode())
    return [chunk for chunk in chunks if chunk]


def count_chunks(texts: Iterable[str], pattern: str = GPT2_PATTERN) -> Counter[bytes]:
    """Each distinct chunk with its count, in order of first occurrence.

    Text repeats itself: 100 MB of English are 25 million chunks and 270,000 distinct ones.
    """
    counts: Counter[bytes] = Counter()
    for text in texts:
        counts.update(split(text, pattern))
    return counts


def encode(
    text: str,
    merges: Iterable[Merge],
    pattern: str = GPT2_PATTERN,
    alphabet: Sequence[str] | None = None,
) -> list[int]:
    """The ids of `text`: split it, then merge each chunk."""
    ranks = ranks_of(merges)
    return [
        i
        for chunk in split(text, pattern)
        for i in encode_chunk(chunk if alphabet is None else symbols(chunk, alphabet), ranks)
    ]


# 5. Training again, faster


def train(
    chunks: Mapping[bytes, int],
    n_merges: int,
    *,
    ties: str = "smallest_pair",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    known: Sequence[Pair] = (),
    alphabet: Sequence[str] | None = None,
) -> tuple[list[Merge], list[int]]:
    """What `train_plainly` returns, in a fraction of its time.

    A merge changes only the chunks that hold the pair, so the counts are kept: those chunks
    are subtracted, merged, and added again. `holders` may name a chunk that no longer holds
    the pair; it never misses one that does.
    """
    words, weights = _words(chunks, alphabet)
    stats: dict[Pair, int] = {}
    holders: dict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        get_stats(word, stats, weights[index])
        for pair in get_stats(word):
            holders[pair].add(index)

    def first_place(pair: Pair) -> tuple[int, int]:
        for index in sorted(holders[pair]):
            neighbours = list(pairwise(words[index]))
            if pair in neighbours:
                return index, neighbours.index(pair)
        raise AssertionError(f"the pair {pair} is counted but held by no chunk")

    order = first_place if ties == "first_seen" else _tie_order(ties, alphabet)
    lengths = _base_lengths(alphabet)

    def short_enough() -> dict[Pair, int]:
        if max_token_length is None:
            return stats
        length = {pair: lengths[pair[0]] + lengths[pair[1]] for pair in stats}
        return {pair: n for pair, n in stats.items() if length[pair] <= max_token_length}

    merges: list[Merge] = []
    counts: list[int] = []
    while len(merges) < n_merges:
        if len(merges) < len(known):
            pair = known[len(merges)]
            count = stats.get(pair, 0)
        else:
            allowed = short_enough()
            count = max(allowed.values(), default=0)
            if count < max(min_frequency, 1):
                break
            pair = min((pair for pair, n in allowed.items() if n == count), key=order)
        new = len(lengths)
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        for index in holders.pop(pair, ()):
            word = words[index]
            for held, times in get_stats(word).items():
                stats[held] -= times * weights[index]
                if not stats[held]:
                    del stats[held]
            words[index] = word = merge(word, pair, new)
            get_stats(word, stats, weights[index])
            for held in get_stats(word):
                holders[held].add(index)
        merges.append((*pair, new))
        counts.append(count)
    return merges, counts


# 6. Vocabularies in another order


def encode_chunk_leftmost(ids: Sequence[int], ranks: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Merge one occurrence at a time: the lowest rank, and among equals the leftmost.

    `encode_chunk` may merge a pair everywhere at once because training makes a token before
    it is used. A published list of tokens need not keep that order (any two neighbours that
    together are a token may merge, whichever way it was made), and then one merge can open a
    better one. This is the rule of tiktoken and of Hugging Face tokenizers; O(n) a merge.
    """
    ids = list(ids)
    unranked = (len(ranks), -1)
    while len(ids) >= 2:
        pairs = list(pairwise(ids))
        place = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], unranked))
        if pairs[place] not in ranks:
            break
        ids[place : place + 2] = [ranks[pairs[place]][1]]
    return ids


# 7. Another ids each time


def encode_chunk_with_dropout(
    ids: Sequence[int], ranks: Mapping[Pair, tuple[int, int]], dropout: float, random: Random
) -> list[int]:
    """BPE-dropout (Provilkov et al. 2020): merge one occurrence at a time, but before each merge
    leave every pair out of sight with probability `dropout`; stop when none is in sight.

    A model that sees a word cut in several ways learns what it is made of. With 0 the ids are
    those of `encode_chunk_leftmost`, with 1 the bytes; text comes back from any of them.
    """
    ids = list(ids)
    while True:
        in_sight = [
            (ranks[pair][0], place)
            for place, pair in enumerate(pairwise(ids))
            if pair in ranks and random.random() >= dropout
        ]
        if not in_sight:
            return ids
        _, place = min(in_sight)
        ids[place : place + 2] = [ranks[ids[place], ids[place + 1]][1]]


# 8. Code points as the base

# Beginning with code points instead of bytes, no token is ever part of a character. A script has
# thousands of them at most, and a text holds a few that are too rare for an id of their own: those
# are left in bytes, which have ids whatever the base is, so no text is without ids. Such bytes are
# merged with nothing: in training they end a word as a chunk's edge does. What remains is that a
# token is one byte, or whole characters.


def alphabet_of(counts: Mapping[str, int], character_coverage: float = 0.9995) -> list[str]:
    """The most frequent characters that make up this share of a text, sorted by code point.

    counts   each character of the text and how often it occurs

    Of equals the smaller goes first (SentencePiece's rule). ASCII counts but is left out, as those
    are their bytes.

    >>> alphabet_of({"a": 90, "é": 6, "ß": 3, "ø": 1}, 0.99)
    ['ß', 'é']
    """
    total = sum(counts.values())
    covered = 0
    alphabet: list[str] = []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= Fraction(character_coverage) * total:
            break
        covered += count
        alphabet.append(character)
    return sorted(character for character in alphabet if not character.isascii())


def symbols(chunk: bytes, alphabet: Sequence[str]) -> list[int]:
    """The chunk's characters as ids: their place after the bytes, or those of their bytes.

    What is no UTF-8 stands for itself, byte by byte.

    >>> symbols("aéø".encode(), ["é"])
    [97, 256, 195, 184]
    """
    ids = {character: N_BYTES + place for place, character in enumerate(alphabet)}
    found: list[int] = []
    for character in chunk.decode("utf-8", "surrogateescape"):
        if character in ids:
            found.append(ids[character])
        else:
            found += character.encode("utf-8", "surrogateescape")
    return found


def _words(
    chunks: Mapping[bytes, int], alphabet: Sequence[str] | None
) -> tuple[list[list[int]], list[int]]:
    """What training merges, and how often each occurs: the chunks, cut at what stays bytes."""
    chunks = {chunk: count for chunk, count in chunks.items() if count}
    if alphabet is None:
        return [list(chunk) for chunk in chunks], list(chunks.values())
    words: list[list[int]] = []
    weights: list[int] = []
    for chunk, weight in chunks.items():
        word: list[int] = []
        for symbol in [*symbols(chunk, alphabet), N_BYTES - 1]:
            if 128 <= symbol < N_BYTES:
                words.append(word)
                weights.append(weight)
                word = []
            else:
                word.append(symbol)
    return words, weights


def _base_lengths(alphabet: Sequence[str] | None) -> list[int]:
    """In bytes, of the ids to begin with."""
    return [1] * N_BYTES + [len(character.encode()) for character in alphabet or ()]
