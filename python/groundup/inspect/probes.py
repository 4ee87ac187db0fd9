"""Each op at a small size, forward and backward: does it run here, by what, and is it right?"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import groundup as gu
from groundup.ops import dispatch


def _cross_entropy(device: str) -> tuple[Tensor, ...]:
    logits = _normal(device, 6, 37)
    target = torch.tensor([0, 36, -100, 5, 5, 1], device=device)
    loss = gu.cross_entropy(logits, target)
    loss.backward()
    return loss, _gradient(logits)


def _causal_attention(device: str) -> tuple[Tensor, ...]:
    query, key, value = (_normal(device, 1, 2, 9, 16) for _ in range(3))
    out = gu.causal_attention(query, key, value)
    out.square().sum().backward()
    return out, _gradient(query), _gradient(key), _gradient(value)


def _causal_attention_varlen(device: str) -> tuple[Tensor, ...]:
    query, key, value = (_normal(device, 12, 2, 16) for _ in range(3))
    cu_seqlens = torch.tensor([0, 5, 5, 12], device=device)
    out = gu.causal_attention_varlen(query, key, value, cu_seqlens)
    out.square().sum().backward()
    return out, _gradient(query), _gradient(key), _gradient(value)


def _decode_attention(device: str) -> tuple[Tensor, ...]:
    query = _normal(device, 2, 2, 1, 16).detach()
    keys, values = (_normal(device, 2, 2, 9, 16).detach() for _ in range(2))
    return (gu.decode_attention(query, keys, values, torch.tensor([9, 4], device=device)),)


def _layer_norm(device: str) -> tuple[Tensor, ...]:
    x, weight, bias = _normal(device, 5, 24), _normal(device, 24), _normal(device, 24)
    out = gu.layer_norm(x, (24,), weight, bias)
    out.square().sum().backward()
    return out, _gradient(x), _gradient(weight), _gradient(bias)


def _gelu(device: str) -> tuple[Tensor, ...]:
    x = _normal(device, 5, 24)
    out = gu.gelu(x, approximate="tanh")
    out.square().sum().backward()
    return out, _gradient(x)


def _linear(device: str) -> tuple[Tensor, ...]:
    # As small as the native kernel takes by itself: below, torch goes first.
    x, weight, bias = _normal(device, 256, 256), _normal(device, 128, 256), _normal(device, 128)
    out = gu.linear(x, weight, bias, activation="gelu_tanh")
    out.square().mean().backward()
    return out, _gradient(x), _gradient(weight), _gradient(bias)


def _adamw(device: str) -> tuple[Tensor, ...]:
    parameters = [_normal(device, 3, 7), _normal(device, 11)]
    optimizer = gu.optim.AdamW(parameters, lr=0.1)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = parameter.detach().cos()
        optimizer.step()
    return tuple(parameters)


PROBES: dict[str, Callable[[str], tuple[Tensor, ...]]] = {
    "cross_entropy": _cross_entropy,
    "causal_attention": _causal_attention,
    "causal_attention_varlen": _causal_attention_varlen,
    "decode_attention": _decode_attention,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "linear": _linear,
    "adamw": _adamw,
}


@dataclass(frozen=True)
class Finding:
    """What happened to one op on one device.

    runs     the implementation that ran when left alone, or None where it raised
    others   implementation -> why it did not run: what keeps it, or what goes before it
    problem  what is broken, in a sentence; None if nothing is
    """

    op: str
    device: str
    runs: str | None
    others: dict[str, str]
    problem: str | None


def examine(op: str, device: str) -> Finding:
    """Run `op` as a script would, then each of its other implementations by name.

    device  "cpu" or "cuda"
    """
    asked = dispatch.forced.get(op)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dispatch.ImplementationWarning)
        runs, result, problem = _attempt(op, device)
        others: dict[str, str] = {}
        for name in dispatch.NAMES:
            if name == runs:
                continue
            if name not in dispatch.IMPLEMENTATIONS[op]:
                others[name] = "not written"
                continue
            with dispatch.use(f"{op}={name}"):
                ran, forced, why = _attempt(op, device)
            if ran != name:
                others[name] = _reason(op, name, why)
            elif runs is None:
                others[name] = "runs"
            elif result is not None and forced is not None and not _alike(result, forced):
                problem = f"{op} on {device}: {runs} and {name} give different results"
                others[name] = f"differs from {runs}"
            else:
                others[name] = f"{runs} is asked for" if asked else f"{runs} goes first"
    return Finding(op, device, runs, others, problem)


def _attempt(op: str, device: str) -> tuple[str | None, tuple[Tensor, ...] | None, str | None]:
    """(implementation that ran, its results, what it raised)"""
    try:
        # Its own generator state: the results are compared, and the caller's are not disturbed.
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), dispatch.ran() as log:
            torch.manual_seed(0)
            results = PROBES[op](device)
    except (RuntimeError, TypeError, ValueError, ImportError, OSError) as error:
        return None, None, f"{op} on {device} raises {type(error).__name__}: {error}"
    ran = [name for each, name in log if each == op]
    return (ran[0] if ran else None), tuple(t.detach().cpu() for t in results), None


def _reason(op: str, name: str, why: str | None) -> str:
    forced = str(dispatch.cannot(op, name, ""))
    return (why or "another one ran in its place").partition(forced)[2] or why or forced


def _alike(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return all(torch.allclose(a, b, 1e-3, 1e-4) for a, b in zip(ours, theirs, strict=True))


def _normal(device: str, *shape: int) -> Tensor:
    return torch.randn(shape).to(device).requires_grad_()


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad
