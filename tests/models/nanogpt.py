"""Models as people write them after the lectures: plain torch, attention flash or written out."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Norm(nn.Module):
    """A layer norm whose bias may be left out."""

    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class NewGELU(nn.Module):
    """The tanh form, written out."""

    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class SelfAttention(nn.Module):
    """Causal attention, by torch's kernel (flash) or as masked softmax."""

    def __init__(self, width, n_head, block, dropout, flash):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.attn_dropout, self.resid_dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        self.n_head, self.flash = n_head, flash
        self.register_buffer("bias", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1)
        )
        if self.flash:
            p = self.attn_dropout.p if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
            scores = scores.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
            y = self.attn_dropout(F.softmax(scores, dim=-1)) @ v
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class Block(nn.Module):
    def __init__(self, width, n_head, block, dropout, flash, bias, activation):
        super().__init__()
        self.ln_1, self.ln_2 = Norm(width, bias), nn.LayerNorm(width)
        self.attn = SelfAttention(width, n_head, block, dropout, flash)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """forward(ids, targets) -> (logits, loss), targets of -1 left out."""

    def __init__(self, *, flash=True, bias=False, dropout=0.0, activation=nn.GELU):
        super().__init__()
        width, n_head, block = 48, 3, 24
        self.wte, self.wpe = nn.Embedding(65, width), nn.Embedding(block, width)
        self.h = nn.ModuleList(
            Block(width, n_head, block, dropout, flash, bias, activation) for _ in range(2)
        )
        self.ln_f = Norm(width, bias)
        self.lm_head = nn.Linear(width, 65, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids, targets=None):
        x = self.wte(ids) + self.wpe(torch.arange(ids.size(1), device=ids.device))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return logits, loss
