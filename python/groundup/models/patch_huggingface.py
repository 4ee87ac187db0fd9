"""What gu.patch changes in a Hugging Face model besides its modules: its loss and its attention."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from groundup.models.redirect import Redirect
from groundup.plugs.transformers_attention import NAME, transformers_attention


class RedirectedLoss:
    """A model's loss function, whose F.cross_entropy runs on groundup; deepcopy and pickle work."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with Redirect(("cross_entropy",)):
            return self.original(*args, **kwargs)


def patch_huggingface(
    model: nn.Module,
    changed: list[tuple[str, str, str]],
    left: list[tuple[str, str]],
    undo: list[Callable[[], None]],
) -> None:
    """Add to `changed`, `left` and `undo` what is changed in each transformers model inside."""
    transformers = sys.modules.get("transformers")
    if transformers is None:  # then the model cannot be one of its models
        return
    for name, module in model.named_modules():
        if not isinstance(module, transformers.PreTrainedModel):
            continue
        where = name or type(module).__name__
        if module.get_output_embeddings() is not None and not isinstance(
            module.loss_function, RedirectedLoss
        ):
            undo.append(_redirect_loss(module))
            changed.append((where, f"{type(module).__name__}.loss_function", "cross_entropy"))
    for config, owner in _attention_owners(model, transformers.PreTrainedModel):
        before = config._attn_implementation
        if before == NAME:
            continue
        kind = type(owner).__name__
        if config.model_type != "gpt2":
            left.append((kind, "for its attention see groundup.plugs.transformers_attention"))
        elif before not in ("eager", "sdpa"):
            left.append((kind, f"its attention stays {before!r}, which somebody chose"))
        elif config.output_attentions:
            left.append((kind, "its attention stays: it is to return its weights"))
        else:
            owner.set_attn_implementation(transformers_attention())
            undo.append(partial(_give_back_attention, owner, before))
            changed.append((kind, f"{kind}'s attention", "causal_attention"))


def _attention_owners(model: nn.Module, pretrained: type) -> list[tuple[Any, Any]]:
    """(config, the outermost model that has it): submodels share the config of the whole."""
    owners: dict[int, tuple[Any, Any]] = {}
    for module in model.modules():
        if isinstance(module, pretrained):
            config = module.config
            owners.setdefault(id(config), (config, module))
    return list(owners.values())


def _give_back_attention(model: Any, before: str) -> None:
    if model.config._attn_implementation == NAME:
        model.set_attn_implementation(before)


def _redirect_loss(model: Any) -> Callable[[], None]:
    own = vars(model).get("_loss_function")
    ours = model.loss_function = RedirectedLoss(model.loss_function)

    def undo() -> None:
        if vars(model).get("_loss_function") is not ours:
            return
        if own is None:
            del model._loss_function
        else:
            model._loss_function = own

    return undo
