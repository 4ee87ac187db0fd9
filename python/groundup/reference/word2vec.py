"""Words as vectors: who keeps the same company, comes to lie in the same place.

Nobody says what a word means. A word in the middle of a window predicts the words around it, one
at a time, and to predict well its vector must carry what it is used like. Predicting over the
whole vocabulary would cost a softmax of ten thousand terms for each pair; telling the true
neighbour from a handful of words drawn by lot costs six, and leads to the same place. That is
skip-gram with negative sampling. NumPy and the regex module. Source: Mikolov et al. 2013,
"Distributed Representations of Words and Phrases and their Compositionality", and its published
program.

Read from top to bottom: text to ids, ids to pairs, one pair's loss and slopes, many at once, then
what can be asked of the vectors.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

Array = NDArray[np.floating]
Ids = NDArray[np.integer]

# Letters, with apostrophes inside: "don't" is one word, and a quotation mark belongs to none. With
# the marks that stand on letters and the joiners between them: without its vowel signs हिन्दी would
# be shreds, as words.py says.
_RUN = r"\p{L}[\p{L}\p{M}\u200c\u200d]*"
_WORD = regex.compile(rf"{_RUN}(?:'{_RUN})*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order, without digits and punctuation.

    >>> words_of("“I don’t,” said _he_, in 1866.")
    ['i', "don't", 'said', 'he', 'in']
    """
    found: list[str] = _WORD.findall(text.lower().replace("\u2019", "'"))
    return found


@dataclass(frozen=True)
class Vocabulary:
    """Words and how often each occurs, (V,) int64; the most frequent has id 0, ties by alphabet."""

    words: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, words: Iterable[str], min_count: int = 5) -> "Vocabulary":
        """The words that occur `min_count` times or more: what is seen less is not learned.

        Raises ValueError where fewer than two occurrences are left, since then nothing has a
        neighbour.
        """
        seen = Counter(words)
        kept = sorted((-n, word) for word, n in seen.items() if n >= min_count)
        n_kept = -sum(n for n, _ in kept)
        if n_kept < 2:
            raise ValueError(
                f"words: expected two or more places with words that occur min_count = {min_count} "
                f"times or more, got {n_kept} of {seen.total():,}; give more text, or a lower "
                "min_count"
            )
        return cls(tuple(word for _, word in kept), np.array([-n for n, _ in kept], np.int64))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Ids of the words that are in the vocabulary; the others are left out, and their
        neighbours become each other's."""
        ids = {word: i for i, word in enumerate(self.words)}
        return np.array([ids[word] for word in words if word in ids], np.int32)

    def id(self, word: str) -> int:
        """The id of one word. Raises ValueError for a word that is not here."""
        if word not in self.words:
            raise ValueError(
                f"word: expected one of the {len(self):,} of this vocabulary, got {word!r}; rare "
                "words are left out, and all are in lower case"
            )
        return self.words.index(word)


def keep_probability(counts: NDArray[np.int64], threshold: float) -> Array:
    """How likely an occurrence stays in the text: sqrt(threshold / frequency), at most 1; (V,).

    "the" stands beside everything and says little of it. With a threshold of 1e-3 a word that is
    5% of the text keeps 14% of its occurrences, one below .1% keeps all. (The published program
    adds threshold / frequency to it, the paper does not.)
    """
    kept: Array = np.minimum(1.0, np.sqrt(threshold * counts.sum() / counts))
    return kept


def noise_law(counts: NDArray[np.int64], power: float = 0.75) -> Array:
    """How likely a word is drawn as a negative: its count to a power, over their sum; (V,).

    Power 1 draws words as the text does, 0 draws all alike. In between, rare words are drawn more
    than they occur, and frequent ones are still drawn often enough to be told from neighbours.
    """
    weight: Array = counts.astype(np.float64) ** power
    law: Array = weight / weight.sum()
    return law


def draw(law: Array, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Ids drawn by a law: a random number between 0 and 1, looked up among the law's running sums.

    The last sum is set to 1, which rounding may miss.
    """
    sums = np.cumsum(law)
    sums[-1] = 1.0
    return sums.searchsorted(rng.random(shape), side="right")


def pairs(ids: Ids, window: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Every word with each of its neighbours: centres (N,) and contexts (N,), by distance.

    How far a word looks is drawn for each occurrence, 1 to `window` on both sides. So the next
    word is always seen and the last of the window once in `window` times: nearer says more.
    """
    reach = rng.integers(1, window + 1, len(ids))
    centres, contexts = [ids[:0]], [ids[:0]]
    for distance in range(1, min(window, len(ids) - 1) + 1):
        left, right = ids[:-distance], ids[distance:]
        looks_right, looks_left = reach[:-distance] >= distance, reach[distance:] >= distance
        centres += [left[looks_right], right[looks_left]]
        contexts += [right[looks_right], left[looks_left]]
    return np.concatenate(centres), np.concatenate(contexts)


class SkipGram:
    """Two vectors for each word: one when it asks, one when it is asked for.

    centres   (V, C)  the word in the middle; these are the vectors that one keeps
    contexts  (V, C)  the word beside it; they start at 0, so that every pair starts at a chance of
                      one half

    With `one_matrix` both are the same array. A word hardly ever stands beside itself, and such a
    model cannot say so: the score of a word with itself is its own length squared.
    """

    def __init__(
        self,
        n_words: int,
        n_features: int,
        rng: np.random.Generator,
        *,
        one_matrix: bool = False,
        dtype: type = np.float32,
    ) -> None:
        start = (rng.random((n_words, n_features)) - 0.5) / n_features
        self.centres: Array = start.astype(dtype)
        self.contexts: Array = self.centres if one_matrix else np.zeros_like(self.centres)

    def slopes(self, centres: Ids, contexts: Ids, negatives: Ids) -> tuple[Array, Ids, Array]:
        """Of each pair its loss, in nats, and which way its scores should go.

        centres, contexts (N,), negatives (N, K). Returns losses (N,), rows (N, 1 + K), which are
        the context and its negatives, and dscores (N, 1 + K). A score is a product of two vectors,
        its sigmoid the belief that the two are neighbours:

            loss = -log sigmoid(score of the context) - sum of log sigmoid(-score of a negative)

        whose slope is the belief minus the truth. A negative that is the context itself by chance
        is passed over.
        """
        rows = np.concatenate([contexts[:, None], negatives], axis=1)
        asked = self.contexts.take(rows, axis=0)
        scores = np.einsum("nkc,nc->nk", asked, self.centres.take(centres, axis=0))
        counted = np.ones(rows.shape, bool)
        counted[:, 1:] = negatives != contexts[:, None]
        scores[:, 1:] *= -1  # from here on every score should be large
        # log(1 + e^-s) without a power that overflows; its slope is sigmoid(s) - 1
        small = np.exp(-np.abs(scores))
        losses = (np.log1p(small) + np.maximum(-scores, 0)) * counted
        dscores = -np.where(scores > 0, small, 1) / (1 + small) * counted
        dscores[:, 1:] *= -1
        return losses.sum(axis=1), rows, dscores

    def step(self, centres: Ids, contexts: Ids, negatives: Ids, rate: float) -> Array:
        """Descend once for a batch of pairs; the losses before, (N,).

        What the pairs do is added up, not averaged: a batch does what its pairs would do one after
        another if none saw what the others changed. A word that occurs five times in the batch
        moves five times as far.
        """
        losses, rows, dscores = self.slopes(centres, contexts, negatives)
        dscores *= -rate
        asking = self.centres.take(centres, axis=0)
        dcentres = np.einsum("nk,nkc->nc", dscores, self.contexts.take(rows, axis=0))
        add_rows(self.contexts, rows.ravel(), (dscores[:, :, None] * asking[:, None, :]))
        add_rows(self.centres, centres, dcentres)
        return losses


def add_rows(table: Array, rows: Ids, changes: Array) -> None:
    """table[rows[i]] += changes[i] for every i, one after another, in place.

    `table[rows] += changes` keeps the last of several changes to one row and loses the others
    without a word. np.add.at loses none; over single numbers it takes a quarter of its time over
    rows, so the table is told as one long row.
    """
    if not table.flags.c_contiguous:
        raise ValueError(
            "table: expected rows one after another in memory, since changes to a copy would be "
            "lost, and got another layout; pass np.ascontiguousarray(table) and keep that"
        )
    n_features = table.shape[1]
    places = rows[:, None].astype(np.intp) * n_features + np.arange(n_features)
    np.add.at(table.reshape(-1), places.reshape(-1), changes.reshape(-1))


@dataclass(frozen=True)
class Settings:
    """What a training is made of; the defaults are the published program's, for a small text."""

    n_features: int = 100
    window: int = 5
    n_negatives: int = 5
    noise_power: float = 0.75
    subsampling: float = 1e-3  # a threshold, as keep_probability takes it; infinity keeps all
    rate: float = 0.025  # at the start; it falls in a straight line to almost nothing
    n_epochs: int = 5
    batch_size: int = 256
    one_matrix: bool = False

    def __post_init__(self) -> None:
        for name in ("n_features", "window", "n_negatives", "n_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("subsampling", "rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")


def train(
    model: SkipGram,
    ids: Ids,
    counts: NDArray[np.int64],
    settings: Settings,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train in place; yields the mean loss of a pair after each batch, in nats.

    ids     the text, (T,), each in [0, V)
    counts  (V,), as the vocabulary has them

    Each epoch drops other occurrences of frequent words, draws other windows and other negatives,
    and goes through the pairs in another order: side by side in the text they share words, and a
    batch of neighbours would move few rows far. About 4 microseconds a pair at the defaults.
    """
    keep = keep_probability(counts, settings.subsampling)
    law = noise_law(counts, settings.noise_power)
    for epoch in range(settings.n_epochs):
        stays = rng.random(len(ids)) < keep[ids]
        centres, contexts = pairs(ids[stays], settings.window, rng)
        order = rng.permutation(len(centres))
        for at in range(0, len(order), settings.batch_size):
            chosen = order[at : at + settings.batch_size]
            done = (epoch + at / len(order)) / settings.n_epochs
            negatives = draw(law, (len(chosen), settings.n_negatives), rng)
            losses = model.step(
                centres[chosen], contexts[chosen], negatives, settings.rate * max(1 - done, 1e-4)
            )
            yield float(losses.mean())


def unit(vectors: Array) -> Array:
    """Each vector at length 1: a product of two is then their cosine. A zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest(
    vectors: Array, direction: Array, n: int = 10, without: Sequence[int] = ()
) -> list[tuple[int, float]]:
    """The ids whose vectors point most the same way, with their cosines, best first."""
    cosines = unit(vectors) @ unit(direction[None])[0]
    cosines[list(without)] = -np.inf
    best = np.argsort(-cosines, kind="stable")[: min(n, len(vectors) - len(set(without)))]
    return [(int(i), float(cosines[i])) for i in best]


def analogy(vectors: Array, a: int, b: int, c: int, n: int = 5) -> list[tuple[int, float]]:
    """a is to b as c is to which? Where the step from a to b leads from c; none of the three."""
    long = unit(vectors[[a, b, c]])
    return nearest(vectors, long[1] - long[0] + long[2], n, without=(a, b, c))


def ranks(values: Array) -> Array:
    """The place of each value in their order, from 0; equal values share the mean of theirs."""
    _, which, n = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(n)
    return ((last - n + last - 1) / 2)[which]


def spearman(ours: Array, theirs: Array) -> float:
    """How far two lists of numbers order things alike, -1 to 1; 0 where one has no order."""
    x, y = ranks(ours) - (len(ours) - 1) / 2, ranks(theirs) - (len(theirs) - 1) / 2
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else 0.0


def judged(vectors: Array, vocabulary: Vocabulary, text: str) -> tuple[float, int]:
    """How far cosines order pairs of words as people did, and how many pairs both know.

    text   WordSim-353 and its like: two words and a number on each line

    Raises ValueError for another line.
    """
    ours, theirs, long = [], [], unit(vectors)
    for number, line in enumerate(text.lower().splitlines(), 1):
        try:
            a, b, score = line.split()
            theirs_here = float(score)
        except ValueError as error:
            raise ValueError(
                f"line {number}: expected two words and a number, got {line!r}"
            ) from error
        if a in vocabulary.words and b in vocabulary.words:
            ours.append(long[vocabulary.id(a)] @ long[vocabulary.id(b)])
            theirs.append(theirs_here)
    return spearman(np.array(ours), np.array(theirs)), len(ours)


def plane(vectors: Array) -> Array:
    """The vectors seen from where they differ most, (N, 2): principal components, by SVD."""
    around = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(around, full_matrices=False)[2]
    seen: Array = around @ directions[:2].T
    return seen
