"""Text in, text out: a model with its tokenizer."""

from collections.abc import Iterator
from pathlib import Path

import torch

from groundup.data.prepare import END_OF_TEXT, TOKENIZER, tokenizer_hash
from groundup.generate.stream import stream
from groundup.models import GPT
from groundup.tokenizer import Tokenizer
from groundup.train import checkpoint


def load(path: str | Path, tokenizer: str | Path | None = None) -> tuple[GPT, Tokenizer]:
    """The model and the tokenizer of a run's folder, a checkpoint, or a Hugging Face folder.

    tokenizer  its file; None is the tokenizer.json of the run or of the model's folder
    Raises FileNotFoundError, or ValueError where the two do not belong together.
    """
    path = Path(path)
    trained = not (path / "config.json").is_file() or (path / checkpoint.STATE).is_file()
    folder = checkpoint.find(path) if trained else path
    if tokenizer is not None:
        file = Path(tokenizer)
    else:
        beside = (path, folder, folder.parent.parent)
        file = next((p / TOKENIZER for p in beside if (p / TOKENIZER).is_file()), path / TOKENIZER)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no tokenizer there; name it with --tokenizer")
    if trained:
        made_with = checkpoint.read_state(folder).get("tokenizer_hash")
        if made_with not in (tokenizer_hash(file).hex(), bytes(32).hex()):
            raise ValueError(
                f"{file}: the model was trained on tokens of another tokenizer; name that one with "
                "--tokenizer"
            )
    model, words = GPT.from_pretrained(folder), Tokenizer.load(file)
    if words.n_vocab > model.config.vocab_size:
        raise ValueError(
            f"{file}: the tokenizer has {words.n_vocab} tokens and the model of {folder} "
            f"{model.config.vocab_size}; they do not belong together"
        )
    return model, words


def stream_text(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """Yield the text that follows `prompt` as it comes, never half a character.

    Ends after max_new_tokens or where the model ends the document. An empty prompt begins a
    document. Settings as in next_ids; the pieces joined are what decoding all ids gives.
    """
    end = tokenizer.eot_token if END_OF_TEXT in tokenizer.special_tokens_set else None
    ids = tokenizer.encode(prompt, disallowed_special=())
    if not ids:
        ids = tokenizer.encode("\n") if end is None else [end]
    device = model.lm_head.weight.device
    decoder = tokenizer.stream_decoder()
    for step in stream(
        model,
        torch.tensor([ids], device=device),
        max_new_tokens,
        temperature,
        top_k,
        top_p,
        generator=generator,
        vocab_size=tokenizer.n_vocab,
    ):
        number = int(step.item())
        if number == end:
            break
        if piece := decoder.decode(number):
            yield piece
    if rest := decoder.finish():
        yield rest
