"""The sizes of a GPT-2, under Hugging Face's names, and their config.json."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# What GPT-2's configuration can say and this model does not do; the value is the one it does.
_FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "add_cross_attention": (False,),
    "reorder_and_upcast_attn": (False, True),  # a choice of precision, not of the function
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "tie_word_embeddings": (True,),
}


# A layer is two dozen Python objects, whatever its width: a number out of a damaged file must not
# keep the machine busy making them. GPT-3 has 96.
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class GPTConfig:
    """Defaults are GPT-2's 124M model, except that dropout is off (Hugging Face: 0.1).

    vocab_size      V, rows of the token embedding; may exceed the tokenizer's
    n_positions     the longest sequence, rows of the position embedding
    n_embd          C, width; a multiple of n_head
    n_inner         width inside the MLP; None is 4 C
    *_pdrop         dropout of embeddings, of each residual branch, of attention weights, in [0, 1)
    eos_token_id    where generation may stop; None has no such token
    Raises ValueError for sizes that fit no model.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    embd_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    attn_pdrop: float = 0.0
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.n_layer > _MOST_LAYERS:
            raise ValueError(f"n_layer: expected at most {_MOST_LAYERS:,}, got {self.n_layer}")
        if self.n_inner is not None and self.n_inner < 1:
            raise ValueError(f"n_inner: expected at least 1, or nothing, got {self.n_inner}")
        if not 0.0 < self.layer_norm_epsilon < math.inf:
            raise ValueError(
                f"layer_norm_epsilon: expected a positive number, got {self.layer_norm_epsilon}"
            )
        if not 0.0 <= self.initializer_range < math.inf:
            raise ValueError(
                f"initializer_range: expected a number from 0, got {self.initializer_range}"
            )
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}; "
                f"try {self.n_embd + self.n_head - self.n_embd % self.n_head}"
            )
        for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: expected a share in [0, 1), got {getattr(self, name)}")

    @property
    def head_size(self) -> int:
        """D, width of one head."""
        return self.n_embd // self.n_head

    @property
    def inner_size(self) -> int:
        """Width inside the MLP."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def n_parameters(self) -> int:
        """Numbers in all weights, the tied head's once; nothing is built to know it."""
        width, inner = self.n_embd, self.inner_size
        attention = 4 * width * width + 4 * width
        mlp = 2 * width * inner + inner + width
        norms = 4 * width
        embeddings = (self.vocab_size + self.n_positions) * width
        return embeddings + self.n_layer * (attention + mlp + norms) + 2 * width

    def to_json(self) -> str:
        """config.json as transformers reads it."""
        fields = {
            "architectures": ["GPT2LMHeadModel"],
            "activation_function": "gelu_new",
            "bos_token_id": self.eos_token_id,
            "model_type": "gpt2",
            "tie_word_embeddings": True,
            **asdict(self),
        }
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> "GPTConfig":
        """Read a config.json of groundup or of Hugging Face's gpt2.

        Raises FileNotFoundError, or ValueError for a file that describes another architecture.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors alike
            raise ValueError(f"{path}: expected a model's config.json; {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{path}: expected a JSON object, got {type(fields).__name__}")
        for name, allowed in _FIXED.items():
            if name in fields and fields[name] not in allowed:
                raise ValueError(
                    f"{path}: {name} is {fields[name]!r}, and this model is GPT-2's, "
                    f"which has {allowed[0]!r}"
                )
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        for name, value in known.items():
            takes_float = isinstance(cls.__dataclass_fields__[name].default, float)
            numeric = isinstance(value, int | float if takes_float else int)
            optional = name in ("n_inner", "eos_token_id") and value is None
            if isinstance(value, bool) or not (numeric or optional):
                raise ValueError(f"{path}: {name} is {value!r}, and a number was expected")
        # Hugging Face's dropout is on by default, and a config.json may leave defaults out.
        for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop"):
            known.setdefault(name, 0.1)
        try:
            return cls(**known)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
