"""How each contender trains on a corpus: ours, and the peers that the [peers] extra installs.

Each in the way that is fastest for it: from a file where it reads files, else from a list of
documents. All split by the pattern of the case, or are absent from it, but for SentencePiece, which
has no patterns: it splits at white space, digits and changes of script, lines apart, and merges
characters. All take every core that the process has.
"""

import io
import json
import os
from collections.abc import Callable
from typing import Any

from benchmarks.bpe_agreement import Peer, Trainer, by_id, trainer
from benchmarks.cases import Unavailable
from benchmarks.corpora import Corpus
from benchmarks.peers import installed
from groundup.tokenizer import PATTERNS, Tokenizer
from groundup.tokenizer.byte_letters import from_letters

Training = Callable[[Corpus], Trainer]

_LONGEST_LINE = 1 << 20  # SentencePiece leaves longer ones out; it would stop at 4,192 bytes
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def ours(vocab_size: int, pattern: str, threads: int | None = None) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        file = corpus.file
        return trainer(
            lambda: Tokenizer.train_files([file], vocab_size, pattern=pattern, threads=threads),
            _our_tokens,
        )

    return setup


def ours_from_texts(vocab_size: int, pattern: str, ties: str = "smallest_pair") -> Training:
    def setup(corpus: Corpus) -> Trainer:
        return trainer(
            lambda: Tokenizer.train(corpus.texts, vocab_size, pattern=pattern, ties=ties),
            _our_tokens,
        )

    return setup


def _our_tokens(tokenizer: Tokenizer) -> list[bytes]:
    return tokenizer.token_byte_values()[256:]


def huggingface(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        hf = installed("tokenizers")
        splits = hf.pre_tokenizers

        def train() -> Any:
            tokenizer = hf.Tokenizer(hf.models.BPE())
            tokenizer.pre_tokenizer = splits.ByteLevel(add_prefix_space=False)
            if pattern != "gpt2":
                cut = splits.Split(hf.Regex(PATTERNS[pattern]), "isolated")
                letters = splits.ByteLevel(add_prefix_space=False, use_regex=False)
                tokenizer.pre_tokenizer = splits.Sequence([cut, letters])
            trained = hf.trainers.BpeTrainer(
                vocab_size=vocab_size,
                show_progress=False,
                initial_alphabet=splits.ByteLevel.alphabet(),
            )
            tokenizer.train_from_iterator(corpus.texts, trained)
            return tokenizer

        return trainer(train, _tokens_of_letters)

    return setup


def _tokens_of_letters(tokenizer: Any) -> list[bytes]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [from_letters(left + right) or b"" for left, right in merges]


def rustbpe(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        new = installed("rustbpe").Tokenizer
        spelled = PATTERNS[pattern]

        def train() -> Any:
            tokenizer = new()
            tokenizer.train_from_iterator(iter(corpus.texts), vocab_size, pattern=spelled)
            return tokenizer

        return trainer(train, lambda trained: by_id(dict(trained.get_mergeable_ranks())))

    return setup


def bpeasy(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        train = installed("bpeasy").train_bpe
        spelled = PATTERNS[pattern]
        longest = 1 << 20  # of tokens; it has to be given one
        return trainer(lambda: train(iter(corpus.texts), spelled, longest, vocab_size), by_id)

    return setup


def ffbpe(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        package = installed("ffbpe")

        def train() -> Any:
            if pattern == "gpt2":  # its own
                return package.train_bpe(corpus.texts, vocab_size=vocab_size)
            words = package.PreTokenizer([], pat_str=PATTERNS[pattern]).word_counter()
            words.add_batch(list(corpus.texts))
            trained = package.BpeTrainer([])
            trained.add_word_counter(words)
            trained.train(vocab_size)
            return trained

        return trainer(train, lambda trained: by_id(trained.vocab))

    return setup


def gigatoken(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        train = installed("gigatoken").train_bpe
        if pattern != "gpt2":
            raise Unavailable("gigatoken trains with GPT-2's pattern only")
        file = str(corpus.file)
        return trainer(
            lambda: train(file, vocab_size, []),
            lambda trained: [left + right for left, right in trained[1]],
        )

    return setup


def sentencepiece(vocab_size: int, pattern: str) -> Training:
    def setup(corpus: Corpus) -> Trainer:
        package = installed("sentencepiece")
        file = str(corpus.file)

        def train() -> bytes:
            model = io.BytesIO()
            package.SentencePieceTrainer.train(
                input=file,
                model_writer=model,
                model_type="bpe",
                vocab_size=vocab_size,
                byte_fallback=True,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                max_sentence_length=_LONGEST_LINE,
                hard_vocab_limit=False,
                minloglevel=2,
                num_threads=len(os.sched_getaffinity(0)),
            )
            return model.getvalue()

        def learned(model: bytes) -> list[bytes]:
            made = package.SentencePieceProcessor(model_proto=model)
            pieces = (made.id_to_piece(i) for i in range(made.get_piece_size()) if _is_own(made, i))
            tokens = (piece.replace(_SPACE, " ").encode() for piece in pieces)
            return [token for token in tokens if len(token) > 1]

        return trainer(train, learned)

    return setup


def _is_own(made: Any, piece: int) -> bool:
    return not (made.is_control(piece) or made.is_unknown(piece) or made.is_byte(piece))


TRAINERS: dict[str, Callable[[int, str], Training]] = {
    "gigatoken": gigatoken,
    "ffbpe": ffbpe,
    "rustbpe": rustbpe,
    "bpeasy": bpeasy,
    "SentencePiece": sentencepiece,
    "Hugging Face tokenizers": huggingface,
}

# The file is one text and the documents are many: a peer is held against whom it shares that with.
OURS_FROM_TEXTS = "groundup, from texts"
OURS_WITH_THEIR_TIES = "groundup, Hugging Face's ties"
PEERS = {
    "gigatoken": Peer("ties by a rule it does not tell"),
    "ffbpe": Peer("ties: smallest pair of ids", OURS_FROM_TEXTS),
    "rustbpe": Peer("ties: smallest pair of ids", OURS_FROM_TEXTS),
    "bpeasy": Peer("ties by a rule it does not tell", OURS_FROM_TEXTS),
    "SentencePiece": Peer("merges characters, splits by its own rules"),
    "Hugging Face tokenizers": Peer(
        "ties: smallest pair, bytes in its alphabet's order", OURS_WITH_THEIR_TIES
    ),
}
