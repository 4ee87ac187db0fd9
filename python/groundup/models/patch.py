"""gu.patch: somebody else's model on groundup's ops."""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import nn

from groundup.models.patch_huggingface import patch_huggingface
from groundup.models.patch_modules import swap, swapped_from
from groundup.models.patch_trial import gelu_form, is_causal_attention, names_read
from groundup.models.redirect import REDIRECTED


@dataclass
class Patch:
    """What gu.patch changed, and the way back: `.undo()`, or a `with` block.

    changed  (module's name, its class, the op that it runs on now)
    left     (module's name, why it was left as it was)
    """

    model: nn.Module
    changed: list[tuple[str, str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    _undo: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def undo(self) -> None:
        """Give every module its own class back; once is enough. Weights stay as trained."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()

    def __str__(self) -> str:
        counts = Counter((kind, op) for _, kind, op in self.changed)
        kinds = max((len(kind) for kind, _ in counts), default=0)
        lines = [f"groundup.patch: {type(self.model).__name__}"]
        lines += [
            f"  {n:4} x {kind:<{kinds}}  now runs on {op}" for (kind, op), n in counts.items()
        ]
        lines += [f"  {name}: {why}" for name, why in self.left]
        return "\n".join(lines)


def patch(model: nn.Module) -> Patch:
    """Run a model that was written for torch on groundup's ops, in place; print what changed.

    model    nanoGPT-style modules or Hugging Face GPT-2; on any device and in any dtype, before
             torch.compile
    returns  a Patch; `.undo()` restores the model, `str()` of it is what was printed

    Changed are, wherever they stand in the model: nn.LayerNorm; activations that compute either
    gelu, whatever their name; attention as nanoGPT writes it out (c_attn, n_head, c_proj), after a
    trial on random input; and every module whose own forward calls F.layer_norm, F.gelu,
    F.cross_entropy or F.scaled_dot_product_attention. Of a Hugging Face GPT-2 also its attention
    and its loss; queries at padding see then what they see under "sdpa". Parameters, their names,
    hooks, checkpointing and train/eval stay.

    Loss and gradients are the same up to rounding; attention dropout draws other numbers. What an
    op does not take (an attention mask, float64, another device) runs on torch as before.

    Raises TypeError for what is no module or was compiled or scripted, ValueError where nothing in
    the model is known.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model: expected a module in Python, got a scripted one; patch it before")
    if hasattr(model, "_orig_mod"):
        raise TypeError(
            "model: expected a module that is not yet compiled; call gu.patch before torch.compile"
        )
    done = Patch(model)
    already = 0
    for name, module in model.named_modules():
        if swapped_from(module) is not None:
            already += 1
            continue
        recipe = _recipe(module)
        where = name or type(module).__name__
        if recipe is None:
            if _looks_like_nanogpt_attention(module):
                done.left.append((where, _NOT_PLAIN))
            continue
        if "forward" in vars(module):
            done.left.append((where, "left as it is: its forward was replaced by somebody else"))
            continue
        done.changed.append((where, type(module).__name__, _op(recipe)))
        done._undo.append(_swap(module, recipe))
    patch_huggingface(model, done.changed, done.left, done._undo)
    if not done.changed and not already:
        raise ValueError(
            f"model: found nothing in {type(model).__name__} that groundup has an op for; expected "
            "nanoGPT-style modules or Hugging Face GPT-2. A script of one's own calls the ops "
            "directly: gu.causal_attention, gu.layer_norm, gu.gelu, gu.cross_entropy"
        )
    if not done.changed:
        done.left.append((type(model).__name__, "is patched already"))
    print(done)
    return done


_NOT_PLAIN = "left as it is: built as causal attention, and a trial did not give the same"


def _swap(module: nn.Module, recipe: str) -> Callable[[], None]:
    before = type(module)
    swap(module, recipe)
    after = type(module)

    def undo() -> None:
        now = type(module)
        if now is after:
            module.__class__ = before
        elif after in now.__bases__:  # parametrized since: a class of the module's own on top
            now.__bases__ = tuple(before if base is after else base for base in now.__bases__)

    return undo


def _recipe(module: nn.Module) -> str | None:
    """How `module` gets onto groundup's ops; None for one that groundup has nothing for."""
    kind = type(module)
    if kind.forward is nn.LayerNorm.forward:
        return "layer_norm"
    childless = next(module.children(), None) is None and next(module.parameters(), None) is None
    if childless and "gelu" in kind.__name__.lower() and (form := gelu_form(module)):
        return f"gelu:{form}"
    calls = names_read(kind)
    if _looks_like_nanogpt_attention(module) and not (
        "scaled_dot_product_attention" in calls and getattr(module, "flash", True)
    ):
        return "causal_attention" if is_causal_attention(module) else None
    found = [name for name in REDIRECTED if name in calls]
    return f"redirect:{','.join(found)}" if found else None


def _looks_like_nanogpt_attention(module: nn.Module) -> bool:
    return (
        all(
            hasattr(module, name)
            for name in ("c_attn", "c_proj", "n_head", "attn_dropout", "resid_dropout")
        )
        and len(inspect.signature(type(module).forward).parameters) == 2
    )


def _op(recipe: str) -> str:
    kind, _, detail = recipe.partition(":")
    named: Any = {"redirect": detail.replace(",", ", ")}
    text: str = named.get(kind, kind)
    return text.replace("scaled_dot_product_attention", "causal_attention")
