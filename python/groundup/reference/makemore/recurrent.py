"""One set of weights, used again at every character: a state is carried along.

A plain RNN multiplies its state by the same matrix at every step, and the gradient coming back by
its transpose: after n steps by its n-th power, which vanishes or explodes. Gates let the state
pass by addition instead, as far as they are open. NumPy. Source: Elman 1990; Hochreiter and
Schmidhuber 1997; Cho et al. 2014; makemore.
"""

import numpy as np

from groundup.reference.layers import Embedding, Ids, Linear, Module
from groundup.reference.makemore.mlp import of_any_length
from groundup.reference.tensor import Tensor, as_tensor, concat


class Cell(Module):
    """One step: x (B, E) and a state give the new state, whose first H features are the output."""

    n_states = 1  # how many vectors of H the state holds

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        raise NotImplementedError


class RNNCell(Cell):
    """h' = tanh(W [x, h])."""

    def __init__(self, n_in: int, n_hidden: int, rng: np.random.Generator) -> None:
        self.n_hidden = n_hidden
        self.weights = Linear(n_in + n_hidden, n_hidden, rng)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return self.weights(concat([x, state])).tanh()


class GRUCell(Cell):
    """h' = (1 - z) h + z tanh(W [x, r h]): z, how much is new; r, how much of the old is asked.

    Without a bias of its own z starts about 1/2, and half of the state is forgotten at each step.
    """

    def __init__(self, n_in: int, n_hidden: int, rng: np.random.Generator) -> None:
        self.n_hidden = n_hidden
        self.update = Linear(n_in + n_hidden, n_hidden, rng)
        self.reset = Linear(n_in + n_hidden, n_hidden, rng)
        self.candidate = Linear(n_in + n_hidden, n_hidden, rng)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        both = concat([x, state])
        z, r = self.update(both).sigmoid(), self.reset(both).sigmoid()
        fresh = self.candidate(concat([x, r * state])).tanh()
        return state + z * (fresh - state)


class LSTMCell(Cell):
    """c' = f c + i g, h' = o tanh(c'): the memory c passes by addition alone.

    The state is h and c side by side. The forget gate starts open (bias 1): remembering is the
    better guess.
    """

    n_states = 2

    def __init__(self, n_in: int, n_hidden: int, rng: np.random.Generator) -> None:
        self.n_hidden = n_hidden
        self.gates = Linear(n_in + n_hidden, 4 * n_hidden, rng)
        assert self.gates.bias is not None
        self.gates.bias.data[n_hidden : 2 * n_hidden] = 1.0

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        H = self.n_hidden
        h, c = state[:, :H], state[:, H:]
        made = self.gates(concat([x, h]))
        i, f, o = (made[:, k * H : (k + 1) * H].sigmoid() for k in range(3))
        c = f * c + i * made[:, 3 * H :].tanh()
        return concat([o * c.tanh(), c])


CELLS: dict[str, type[RNNCell] | type[GRUCell] | type[LSTMCell]] = {
    "rnn": RNNCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}


class Recurrent(Module):
    """ids (B, block_size) to logits (B, V): the state after the last character makes the guess."""

    def __init__(
        self,
        vocab_size: int,
        rng: np.random.Generator,
        cell: str = "rnn",
        block_size: int = 8,
        n_features: int = 24,
        n_hidden: int = 64,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"Recurrent: expected a cell of {', '.join(CELLS)}, got {cell!r}")
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, n_features, rng)
        self.cell = CELLS[cell](n_features, n_hidden, rng)
        self.start = Tensor(np.zeros((1, self.cell.n_states * n_hidden)))
        self.last = Linear(n_hidden, vocab_size, rng)
        self.last.weight.data *= 0.1

    def states(self, ids: Ids) -> list[Tensor]:
        """The state before the first character and after each, (B, n_states H)."""
        ids = of_any_length(ids)
        x = self.embedding(ids)
        start = self.start + as_tensor(np.zeros((len(ids), 1), self.start.data.dtype))
        states = [start]
        for t in range(ids.shape[1]):
            states.append(self.cell.step(x[:, t], states[-1]))
        return states

    def __call__(self, ids: Ids) -> Tensor:
        return self.last(self.states(ids)[-1][:, : self.cell.n_hidden])


def gradient_norms(states: list[Tensor]) -> list[float]:
    """After a backward pass: how much of the gradient reached the state after each character."""
    return [0.0 if s.grad is None else float(np.sqrt(np.square(s.grad).sum())) for s in states]
