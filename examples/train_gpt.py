"""A character GPT in plain torch, trained on this Python's own library in half a minute.

groundup is four lines of it, marked on the right: the import, the attention, the loss and the
optimizer. Everything else is the script as one writes it for torch.
"""

import sysconfig
from pathlib import Path

import torch
from torch import nn

import groundup as gu  # 1: the import

torch.manual_seed(0)
width, n_head, n_layer, block, batch, steps = 128, 4, 2, 64, 16, 200

library = Path(sysconfig.get_path("stdlib"))
text = "".join(path.read_text("utf-8") for path in sorted(library.glob("[a-h]*.py")))
ids = torch.tensor([byte if byte < 128 else 63 for byte in text.encode()])
cut = int(0.9 * len(ids))


def random_batch(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(len(ids) - block - 1, (batch, 1))
    rows = ids[starts + torch.arange(block + 1)]
    return rows[:, :-1], rows[:, 1:]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.heads(self.norm_1(x)).view(*x.shape[:2], 3, n_head, -1).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        mixed = gu.causal_attention(query, key, value)  # 2: the attention
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(128, width), nn.Embedding(block, width)
        self.blocks = nn.Sequential(*(Block() for _ in range(n_layer)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token(ids) + self.place.weight[: ids.size(1)]
        return self.head(self.norm(self.blocks(x)))


def loss_of(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    inputs, targets = random_batch(ids)
    return gu.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())  # 3: the loss


model = GPT()
optimizer = gu.optim.AdamW(model.parameters(), lr=3e-3)  # 4: the optimizer
for step in range(steps + 1):
    loss = loss_of(model, ids[:cut])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        with torch.no_grad():
            held_out = torch.stack([loss_of(model, ids[cut:]) for _ in range(10)]).mean()
        print(f"step {step:3}  loss {loss.item():.3f}  held out {held_out.item():.3f} nats")

line = torch.tensor([list(b"def ")])
for _ in range(200):
    with torch.no_grad():
        chances = model(line[:, -block:])[:, -1].div(0.8).softmax(-1)
    line = torch.cat([line, chances.multinomial(1)], dim=1)
print(bytes(line[0].tolist()).decode())
