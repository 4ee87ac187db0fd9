"""A model as a folder: config.json and model.safetensors, in Hugging Face's names."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from groundup._files import write_atomic
from groundup.models.config import GPTConfig


def read(folder: str | PathLike[str]) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Configuration and state_dict (float32 or as stored) of a model folder.

    Takes the older names of Hugging Face's hub too: no "transformer." prefix, mask buffers, and a
    head left out because it is tied. Raises FileNotFoundError or ValueError.
    """
    folder = Path(folder)
    config = GPTConfig.from_json(folder / "config.json")
    path = folder / "model.safetensors"
    weights = {}
    for name, tensor in read_tensors(path).items():
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        if not name.startswith(("transformer.", "lm_head.")):
            name = f"transformer.{name}"
        weights[name] = tensor
    if "transformer.wte.weight" in weights:
        weights["lm_head.weight"] = weights["transformer.wte.weight"]
    _check_sizes(weights, config, path)
    check(weights, expected_shapes(config), path)
    return config, weights


def write(folder: str | PathLike[str], config: GPTConfig, weights: Mapping[str, Tensor]) -> None:
    """Write both files, each of them whole or not at all; the weights without the tied head."""
    folder = Path(folder)
    write_atomic(folder / "model.safetensors", serialise(untied(weights)))
    write_atomic(folder / "config.json", config.to_json().encode())


def untied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` without the head, which is the token embedding."""
    return {name: tensor for name, tensor in weights.items() if name != "lm_head.weight"}


def serialise(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(whole, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, in memory of their own.

    Raises FileNotFoundError, or ValueError for a file that is none or is cut short.
    """
    try:
        return safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: expected a whole safetensors file ({error}); it is cut short or of another "
            "kind"
        ) from error


def _check_sizes(weights: Mapping[str, Tensor], config: GPTConfig, path: Path) -> None:
    """Raise ValueError where config.json's sizes are not the weights' own.

    Before anything is built to those sizes: config.json may be anybody's, while the weights have
    been read and are as large as they are.
    """
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer.h.")}
    if len(layers) != config.n_layer:
        raise ValueError(
            f"{path}: holds {len(layers)} layers, and config.json beside it says n_layer is "
            f"{config.n_layer}"
        )
    for name, shape in (
        ("transformer.wte.weight", (config.vocab_size, config.n_embd)),
        ("transformer.wpe.weight", (config.n_positions, config.n_embd)),
        ("transformer.h.0.mlp.c_fc.weight", (config.n_embd, config.inner_size)),
    ):
        if name not in weights:
            raise ValueError(f"{path}: {name} is missing; expected a GPT-2")
        _check_shape(name, weights[name], shape, path)


def expected_shapes(config: GPTConfig) -> dict[str, torch.Size]:
    """Every name of the state_dict with its shape."""
    from groundup.models.gpt import GPT

    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in GPT(config).state_dict().items()}


def check(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], path: Path) -> None:
    """Raise ValueError unless `tensors` are exactly those of `shapes`."""
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise ValueError(f"{path}: {missing[0]} is missing ({len(missing)} such); expected a GPT-2")
    if foreign := sorted(tensors.keys() - shapes.keys()):
        raise ValueError(f"{path}: {foreign[0]} is not of a GPT-2 ({len(foreign)} such)")
    for name, shape in shapes.items():
        _check_shape(name, tensors[name], shape, path)


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], path: Path) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{path}: {name} has shape {tuple(tensor.shape)}, and config.json beside it says "
            f"{tuple(shape)}"
        )
