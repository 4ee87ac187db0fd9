"""GPT-2 on groundup's ops, with Hugging Face's module names and weight layout.

A state_dict goes to and from transformers' GPT2LMHeadModel unchanged. The model reads as the
paper draws it: embeddings, n_layer times (attention, MLP), a last norm, and a head that shares
the token embedding. Source: Radford et al. 2019; Zero to Hero, "Let's reproduce GPT-2".
"""

import math
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import groundup as gu
from groundup.models import pretrained
from groundup.models.config import GPTConfig

if TYPE_CHECKING:
    from groundup.generate.cache import KeyValueCache


def _dropout(x: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(x, p, training) if p else x


class Conv1D(nn.Module):
    """x @ weight + bias with weight (in, out): GPT-2's layout, the transpose of nn.Linear's."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        return gu.linear(x, self.weight, self.bias, activation=activation, transposed=True)


def _is_only_its_weights(module: nn.Module) -> bool:
    """Whether calling a Conv1D runs nothing but its product: it is no adapter in its place, has no
    hooks and nobody's forward, and torch neither compiles nor watches it."""
    return (
        not torch.compiler.is_compiling()
        and type(module) is Conv1D
        and "forward" not in module.__dict__
        and module._compiled_call_impl is None
        and not (
            module._forward_pre_hooks
            or module._forward_hooks
            or module._backward_pre_hooks
            or module._backward_hooks
        )
        and not torch.nn.modules.module._has_any_global_hook()
    )


class Head(nn.Linear):
    """nn.Linear on gu.linear: (..., C) to logits (..., V)."""

    def forward(self, x: Tensor) -> Tensor:
        return gu.linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """gu.layer_norm over the last dimension, with weight and bias (C,)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.eps = config.layer_norm_epsilon
        self.weight = nn.Parameter(torch.empty(config.n_embd))
        self.bias = nn.Parameter(torch.empty(config.n_embd))

    def forward(self, x: Tensor, branch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(norm of the residual stream, the stream): `x`, plus what a branch adds to it."""
        shape = (x.size(-1),)
        if branch is None:
            return gu.layer_norm(x, shape, self.weight, self.bias, self.eps), x
        return gu.add_layer_norm(branch, x, shape, self.weight, self.bias, self.eps)


class Attention(nn.Module):
    """Causal self-attention over H heads; (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.n_head, self.layer = config.n_head, layer
        self.attn_pdrop, self.resid_pdrop = config.attn_pdrop, config.resid_pdrop
        self.c_attn = Conv1D(config.n_embd, 3 * config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, cache: "KeyValueCache | None") -> Tensor:
        batch, length, _ = x.shape
        qkv = self.c_attn(x).view(batch, length, 3, self.n_head, -1)  # (B, T, 3, H, D)
        if cache is None:
            dropout_p = self.attn_pdrop if self.training else 0.0
            mixed = gu.causal_attention_qkvpacked(qkv, dropout_p=dropout_p)
        else:
            query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
            mixed = cache.attend(self.layer, query, key, value).transpose(1, 2)
        out = self.c_proj(mixed.flatten(2))  # the heads lie side by side: a view
        return _dropout(out, self.resid_pdrop, self.training)


class MLP(nn.Module):
    """Two projections around a GELU; (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.resid_pdrop = config.resid_pdrop
        self.c_fc = Conv1D(config.n_embd, config.inner_size)
        self.c_proj = Conv1D(config.inner_size, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        up, down = self.c_fc, self.c_proj
        if _is_only_its_weights(up) and _is_only_its_weights(down):
            out = gu.mlp(x, up.weight, up.bias, down.weight, down.bias, transposed=True)
        else:
            out = down(up(x, "gelu_tanh"))
        return _dropout(out, self.resid_pdrop, self.training)


class Block(nn.Module):
    """Attention and MLP, each reading a norm of the residual stream and adding to it.

    What a branch adds is handed on and added where the next norm reads the stream: one pass.
    """

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config)
        self.attn = Attention(config, layer)
        self.ln_2 = LayerNorm(config)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, branch: Tensor | None, cache: "KeyValueCache | None"
    ) -> tuple[Tensor, Tensor]:
        """The stream `x` (B, T, C) and what is still to be added to it; the same again."""
        normed, x = self.ln_1(x, branch)
        normed, x = self.ln_2(x, self.attn(normed, cache))
        return x, self.mlp(normed)


class Transformer(nn.Module):
    """Everything below the head; token ids (B, T) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.embd_pdrop = config.embd_pdrop
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = LayerNorm(config)

    def forward(self, ids: Tensor, cache: "KeyValueCache | None") -> Tensor:
        start = 0 if cache is None else cache.length
        x = self.wte(ids) + self.wpe.weight[start : start + ids.size(1)]
        x = _dropout(x, self.embd_pdrop, self.training)
        branch: Tensor | None = None
        for block in self.h:
            x, branch = block(x, branch, cache)
        if cache is not None:
            cache.advance(ids.size(1))
        normed: Tensor = self.ln_f(x, branch)[0]
        return normed


class GPT(nn.Module):
    """GPT-2 with tied embeddings; 124,439,808 parameters at the default sizes.

    Untrained, its loss is near ln V. Weights are drawn from torch's global generator.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = Head(config.n_embd, config.vocab_size, bias=False, device="meta")
        self.lm_head.weight = self.transformer.wte.weight
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            elif name.endswith("c_proj.weight"):
                # 2 n_layer branches add to one stream: their sum keeps a branch's variance.
                parameter.normal_(0.0, std / math.sqrt(2 * self.config.n_layer))
            else:
                parameter.normal_(0.0, std)

    def forward(self, ids: Tensor, cache: "KeyValueCache | None" = None) -> Tensor:
        """Logits (B, T, V) of the token after each of `ids` (B, T), int64 in [0, V).

        With a cache, `ids` continue the sequence it holds, and are added to it.
        Raises ValueError for a wrong shape or more than n_positions tokens, IndexError for an id
        outside the vocabulary.
        """
        self._check(ids, 0 if cache is None else cache.length)
        logits: Tensor = self.lm_head(self.transformer(ids, cache))
        return logits

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy () in nats of `targets` (B, T) under the logits of `ids` (B, T).

        Targets of -100 are left out. The logits are consumed: in training the backward pass
        reuses their memory, which is most of a small model's.
        """
        logits = self(ids)
        # Nothing else reads the logits: a linear layer's backward needs its input, not its output.
        inplace = torch.is_grad_enabled() and logits.requires_grad
        rows = logits.view(-1, logits.size(-1))
        return gu.cross_entropy(rows, targets.reshape(-1), inplace=inplace)

    def generate(
        self,
        ids: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`ids` (B, T) followed by max_new_tokens sampled ones: (B, T + max_new_tokens), int64.

        Settings as in groundup.generate.next_ids. Past n_positions tokens the model sees the last
        n_positions of them. The same generator state gives the same text.
        """
        from groundup.generate import stream

        steps = stream(self, ids, max_new_tokens, temperature, top_k, top_p, generator=generator)
        return torch.cat([ids, *steps], dim=1)

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str]) -> "GPT":
        """The model of a local folder with config.json and model.safetensors, in eval mode.

        Reads what save_pretrained wrote, a checkpoint of `groundup train`, or Hugging Face's gpt2.
        Raises FileNotFoundError, or ValueError for files that do not hold such a model.
        """
        config, weights = pretrained.read(folder)
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(weights, assign=True)
        model.lm_head.weight = model.transformer.wte.weight
        return model.eval()

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write config.json and model.safetensors, which transformers reads too."""
        pretrained.write(folder, self.config, self.state_dict())

    def _check(self, ids: Tensor, start: int) -> None:
        if ids.dim() != 2:
            raise ValueError(f"ids: expected shape (B, T), got {tuple(ids.shape)}")
        if start + ids.size(1) > self.config.n_positions:
            raise ValueError(
                f"ids: expected at most n_positions = {self.config.n_positions} tokens, "
                f"got {start + ids.size(1)}; pass the last ones, ids[:, -n:]"
            )
        # On other devices the check would wait for them, and the device itself traps.
        if ids.device.type == "cpu" and ids.numel() and not torch.compiler.is_compiling():
            lowest, highest = (int(bound) for bound in ids.aminmax())
            if lowest < 0 or highest >= self.config.vocab_size:
                worst = lowest if lowest < 0 else highest
                raise IndexError(
                    f"ids: expected token ids in [0, {self.config.vocab_size}), got {worst}; "
                    "was the text encoded by another tokenizer?"
                )
