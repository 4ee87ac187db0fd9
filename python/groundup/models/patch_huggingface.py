"""What gu.patch changes in a Hugging Face model besides its modules: its loss and its attention."""

import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from groundup.models.redirect import Redirect


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
