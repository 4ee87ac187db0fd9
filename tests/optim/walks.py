"""Models of several shapes, and how two optimizers are set on the same walk."""

import torch

SHAPES = ((3,), (17, 5), (), (0, 4), (64, 33))


def parameters(dtype=torch.float32, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes
    ]


def set_gradients(seed, *models, scale=1.0):
    """The same random gradients for each list of parameters, in each one's dtype."""
    for params in models:
        generator = torch.Generator().manual_seed(seed)
        for param in params:
            param.grad = (torch.randn(param.shape, generator=generator) * scale).to(param.dtype)


def same(ours, theirs, rtol=1e-5, atol=1e-6):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=rtol, atol=atol)


def steps(optimizer, params, count=3, first=0):
    for seed in range(first, first + count):
        set_gradients(seed, params)
        optimizer.step()


def gapped():
    return torch.nn.Parameter(torch.zeros(4, 6)[:, ::2])


def tied_memory():
    whole = torch.zeros(8)
    return [torch.nn.Parameter(whole[:5]), torch.nn.Parameter(whole[4:])]
