"""One kernel in a script of one's own: a bigram language model of this very file.

Everything is plain torch; the two groundup lines are the import and the loss.
"""

from pathlib import Path

import torch

import groundup as gu

ids = torch.tensor(list(Path(__file__).read_bytes()))
logits_of = torch.nn.Embedding(256, 256)
optimizer = torch.optim.AdamW(logits_of.parameters(), lr=0.1)

for step in range(200):
    loss = gu.cross_entropy(logits_of(ids[:-1]), ids[1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0 or step == 199:
        print(f"step {step:3}  {loss.item():.3f} nats per byte")
