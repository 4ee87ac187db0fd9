"""Lesson 7's large model: 10,788,929 parameters learn tiny Shakespeare; held out, 1.48 nats.

    groundup data get tinyshakespeare
    python examples/shakespeare.py              # for a GPU: two cores would take days
    python examples/shakespeare.py --steps 20   # to see that it runs

The parts are those of groundup/reference/gpt.py under the same names, in torch, with groundup's
attention, loss and optimizer.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

import groundup as gu
from groundup.data import catalogue

DROPOUT, BATCH = 0.2, 64


class Attention(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.c_attn(x).unflatten(-1, (3, self.n_head, -1)).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        dropout_p = DROPOUT if self.training else 0.0
        heard = gu.causal_attention(query, key, value, dropout_p=dropout_p)
        return F.dropout(self.c_proj(heard.transpose(1, 2).flatten(2)), DROPOUT, self.training)


class FeedForward(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(n_embd, 4 * n_embd), nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.c_proj(self.c_fc(x).relu()), DROPOUT, self.training)


class Block(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(n_embd), Attention(n_embd, n_head)
        self.ln_2, self.mlp = nn.LayerNorm(n_embd), FeedForward(n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, V: int, block: int, n_embd: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, n_embd), nn.Embedding(block, n_embd)
        self.h = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.ln_f, self.head = nn.LayerNorm(n_embd), nn.Linear(n_embd, V)
        for name, parameter in self.named_parameters():
            if "ln_" not in name:
                nn.init.normal_(parameter, std=0.02 if parameter.dim() == 2 else 0.0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.wte(ids) + self.wpe.weight[: ids.size(1)]
        return self.head(self.ln_f(self.h(x)))

    def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.is_cuda):
            logits = self(ids)
        return gu.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@torch.no_grad()
def held_out_loss(model: GPT, ids: torch.Tensor, block: int) -> float:
    """The whole of it once, in pieces of `block`."""
    n = (len(ids) - 1) // block * block
    x, y = ids[:n].view(-1, block), ids[1 : n + 1].view(-1, block)
    model.eval()
    losses = [
        model.loss(a, b).item() * len(a)
        for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)
    ]
    model.train()
    return sum(losses) / len(x)


@torch.no_grad()
def written(model: GPT, block: int, n: int) -> list[int]:
    line = torch.zeros(1, 1, dtype=torch.long, device=model.wpe.weight.device)
    model.eval()
    for _ in range(n):
        chances = model(line[:, -block:])[:, -1].softmax(-1)
        line = torch.cat([line, chances.multinomial(1)], dim=1)
    return line[0].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("n-layer", 6), ("n-head", 6), ("n-embd", 384), ("block", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.manual_seed(1337)
    text = catalogue.locate("tinyshakespeare/input.txt").read_text(encoding="utf-8")
    characters = sorted(set(text))
    ids = torch.tensor([characters.index(c) for c in text], device=args.device)
    cut = int(0.9 * len(ids))
    model = GPT(len(characters), args.block, args.n_embd, args.n_head, args.n_layer)
    model.to(args.device)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{n_parameters:,} parameters on {args.device}")
    optimizer = gu.optim.AdamW(model.parameters(), lr=3e-4)
    best, began = float("inf"), time.perf_counter()
    for step in range(args.steps + 1):
        if step % 500 == 0 or step == args.steps:
            loss = held_out_loss(model, ids[cut:], args.block)
            best = min(best, loss)
            seconds = time.perf_counter() - began
            print(f"step {step:5}  held out {loss:.4f} nats  {seconds:6.0f} s", flush=True)
        starts = torch.randint(cut - args.block, (BATCH, 1), device=args.device)
        rows = ids[starts + torch.arange(args.block + 1, device=args.device)]
        loss = model.loss(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("".join(characters[i] for i in written(model, args.block, 500)))
    verdict = "pass" if abs(best - 1.48) <= 0.03 else "not there"
    print(f"best held-out loss {best:.4f}, published 1.48 within .03: {verdict}")


if __name__ == "__main__":
    main()
