"""Checkpoints that are whole or absent, whatever kills the run.

A checkpoint is a folder `step-00000500` with

    config.json, model.safetensors   the model, as GPT.from_pretrained and transformers read it
    optimizer.safetensors            AdamW's moments, by the names of their parameters
    state.json                       everything else, and the size and CRC-32 of the others

It is written under another name, flushed to the disk file by file, and only then renamed; the
folder above is flushed last. Nothing in it is pickled.
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundup._files import sync_folder, write_atomic
from groundup.models import pretrained
from groundup.models.config import GPTConfig

STATE = "state.json"
_OPTIMIZER = "optimizer.safetensors"
_MODEL = "model.safetensors"
_FORMAT = 1
_PREFIX = "step-"
_PARTIAL = ".partial-"


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    config: GPTConfig,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    *,
    keep: int,
) -> Path:
    """Write folder/step-<step>, then remove all but the newest `keep`; return its path.

    `state` is whatever JSON holds. Raises OSError when the disk is full; older checkpoints are
    then untouched.
    """
    path = folder / f"{_PREFIX}{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_partial(folder)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        files = {
            _MODEL: pretrained.serialise(pretrained.untied(model.state_dict())),
            _OPTIMIZER: pretrained.serialise(_moments(model, optimizer)),
        }
        told = {name: [len(contents), zlib.crc32(contents)] for name, contents in files.items()}
        whole = {"format": _FORMAT, "step": step, **state, "files": told}
        files["config.json"] = config.to_json().encode()
        files[STATE] = (json.dumps(whole, indent=1) + "\n").encode()
        for name, contents in files.items():
            write_atomic(partial / name, contents)
        partial.chmod(0o755)  # a temporary folder is its owner's alone
        os.rename(partial, path)
        sync_folder(folder)
    except BaseException as error:  # a second Ctrl-C too
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        before = newest(folder)
        stays = f"; {before} is whole" if before else ""
        raise OSError(
            error.errno, f"{error.strerror}: the checkpoint could not be written{stays}", str(path)
        ) from error
    for stale in _steps(folder)[:-keep]:
        _remove(stale)
    return path


def newest(folder: Path) -> Path | None:
    """The checkpoint of the highest step in `folder`, or None."""
    steps = _steps(folder)
    return steps[-1] if steps else None


def remove_all(folder: Path) -> None:
    """Remove every checkpoint in `folder`, which may be a link; OSError where one cannot be."""
    _remove_partial(folder)
    for path in _steps(folder):
        _remove(path)


def of_run(path: Path) -> Path:
    """The newest checkpoint of the run in the folder `path`, to go on from.

    Raises FileNotFoundError, naming the run where `path` lies inside one.
    """
    if found := newest(path / "checkpoints"):
        return found
    found = find(path)
    whole = found.absolute().parent.parent
    raise FileNotFoundError(
        f"{path}: expected the folder of a run, got a part of {whole}; name that"
    )


def find(path: Path) -> Path:
    """The checkpoint that `path` means: itself, or the newest of a run's folder.

    Raises FileNotFoundError.
    """
    if (path / STATE).is_file():
        return path
    found = newest(path / "checkpoints") or newest(path)
    if found is None:
        state = "holds no checkpoint yet" if path.is_dir() else "is not there"
        if path.is_file():
            state = "is a file; name the run's folder"
        raise FileNotFoundError(f"{path}: expected a run of `groundup train`; it {state}")
    return found


def read_state(path: Path) -> dict[str, Any]:
    """What `save` was given as state, with step and format, after a look at the other files.

    Raises ValueError for a checkpoint that is foreign, cut short or damaged.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        version, files, step = state["format"], state["files"], state["step"]
        told = {name: (int(files[name][0]), int(files[name][1])) for name in (_MODEL, _OPTIMIZER)}
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{path / STATE}: expected a checkpoint's state; it is damaged") from error
    if version != _FORMAT or not isinstance(step, int):
        raise ValueError(
            f"{path / STATE}: expected format version {_FORMAT}, got {version}; it needs another "
            "release of groundup"
        )
    for name, (n_bytes, crc) in told.items():
        contents = (path / name).read_bytes()
        if len(contents) != n_bytes or zlib.crc32(contents) != crc:
            raise ValueError(
                f"{path / name}: the file is damaged or cut short ({len(contents)} of {n_bytes} "
                f"bytes); remove {path} to go on from the checkpoint before it"
            )
    state["step"] = step
    return dict(state)


def restore(
    path: Path,
    state: Mapping[str, Any],
    model: nn.Module,
    config: GPTConfig,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Load weights and moments of a checkpoint in place; the optimizer keeps its settings.

    Raises ValueError where the checkpoint is of another model.
    """
    saved, weights = pretrained.read(path)
    for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
        if getattr(saved, name) != getattr(config, name):
            raise ValueError(
                f"{path}: {name} is {getattr(saved, name)} there and {getattr(config, name)} "
                "here; resume with the sizes the run began with"
            )
    tensors = pretrained.read_tensors(path / _OPTIMIZER)
    # Before the first step AdamW has no moments.
    names = _names(model, optimizer) if state["step"] else []
    parameters = dict(model.named_parameters())
    by_index: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(names))}
    for index, name in enumerate(names):
        for key in ("exp_avg", "exp_avg_sq", "step"):
            tensor = tensors.pop(f"{name}.{key}", None)
            expected = torch.Size() if key == "step" else parameters[name].shape
            if tensor is None or tensor.shape != expected:
                raise ValueError(f"{path / _OPTIMIZER}: {name}.{key} is missing or misshapen")
            by_index[index][key] = tensor
    if tensors:
        raise ValueError(f"{path / _OPTIMIZER}: {min(tensors)} is not of this optimizer")
    model.load_state_dict(weights)
    current = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": by_index, "param_groups": current})


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Parameter names in the optimizer's order, which numbers its state."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [name_of[id(p)] for group in optimizer.param_groups for p in group["params"]]


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = _names(model, optimizer)
    return {
        f"{names[index]}.{key}": tensor
        for index, values in optimizer.state_dict()["state"].items()
        for key, tensor in values.items()
    }


def _steps(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()
    )


def _remove(path: Path) -> None:
    # Renamed first: a kill halfway through must not leave half a checkpoint under its name.
    doomed = path.with_name(f"{_PARTIAL}{path.name}")
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_partial(folder: Path) -> None:
    for partial in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
