"""How each contender trains on a corpus: ours, and the peers that the [peers] extra installs.

Each in the way that is fastest for it: from a file where it reads files, else from a list of
documents. All split by the pattern of the case, or are absent from it.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.cases import Setup, Unavailable
from benchmarks.corpora import Corpus
from benchmarks.peers import installed
from groundup.tokenizer import PATTERNS, Tokenizer

Work = Callable[[], Any]


def ours(vocab_size: int, pattern: str, threads: int | None = None) -> Setup:
    def setup(corpus: Corpus) -> Work:
        file = corpus.file
        return lambda: Tokenizer.train_files([file], vocab_size, pattern=pattern, threads=threads)

    return setup


def ours_from_texts(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        return lambda: Tokenizer.train(corpus.texts, vocab_size, pattern=pattern)

    return setup


def huggingface(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        hf = installed("tokenizers")
        splits = hf.pre_tokenizers

        def train() -> None:
            tokenizer = hf.Tokenizer(hf.models.BPE())
            tokenizer.pre_tokenizer = splits.ByteLevel(add_prefix_space=False)
            if pattern != "gpt2":
                cut = splits.Split(hf.Regex(PATTERNS[pattern]), "isolated")
                letters = splits.ByteLevel(add_prefix_space=False, use_regex=False)
                tokenizer.pre_tokenizer = splits.Sequence([cut, letters])
            trainer = hf.trainers.BpeTrainer(
                vocab_size=vocab_size,
                show_progress=False,
                initial_alphabet=splits.ByteLevel.alphabet(),
            )
            tokenizer.train_from_iterator(corpus.texts, trainer)

        return train

    return setup


def rustbpe(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        trainer = installed("rustbpe").Tokenizer
        spelled = PATTERNS[pattern]
        return lambda: trainer().train_from_iterator(
            iter(corpus.texts), vocab_size, pattern=spelled
        )

    return setup


def bpeasy(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        train = installed("bpeasy").train_bpe
        spelled = PATTERNS[pattern]
        return lambda: train(iter(corpus.texts), spelled, 128, vocab_size)

    return setup


def ffbpe(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        package = installed("ffbpe")
        if pattern == "gpt2":  # its own
            return lambda: package.train_bpe(corpus.texts, vocab_size=vocab_size)

        def train() -> None:
            words = package.PreTokenizer([], pat_str=PATTERNS[pattern]).word_counter()
            words.add_batch(list(corpus.texts))
            trainer = package.BpeTrainer([])
            trainer.add_word_counter(words)
            trainer.train(vocab_size)

        return train

    return setup


def gigatoken(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        train = installed("gigatoken").train_bpe
        if pattern != "gpt2":
            raise Unavailable("gigatoken trains with GPT-2's pattern only")
        file = str(corpus.file)
        return lambda: train(file, vocab_size, [])

    return setup


def sentencepiece(vocab_size: int, pattern: str) -> Setup:
    def setup(corpus: Corpus) -> Work:
        import io

        train = installed("sentencepiece").SentencePieceTrainer.train
        return lambda: train(
            sentence_iterator=(line for text in corpus.texts for line in text.split("\n")),
            model_writer=io.BytesIO(),
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            hard_vocab_limit=False,
            minloglevel=2,
            num_threads=2,
        )

    return setup


PEERS = {
    "gigatoken": gigatoken,
    "ffbpe": ffbpe,
    "rustbpe": rustbpe,
    "bpeasy": bpeasy,
    "SentencePiece": sentencepiece,
    "Hugging Face tokenizers": huggingface,
}
