"""Whether trainers learned the same: each contender's tokens, in their order, beside groundup's.

No string is learned twice (docs/bpe.md), so the same tokens in the same order are the same merges.
Where a peer breaks ties by a rule that groundup has too, it is held against groundup under that
rule; where its rule is its own, the first tie parts them and the share of equal tokens tells more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from groundup.inspect.timing import Contender


@dataclass(frozen=True)
class Trainer(Contender):
    """A contender that can tell, once it has run, what it learned."""

    learned: Callable[[], list[bytes]] = list  # tokens beyond the single bytes, the oldest first


@dataclass(frozen=True)
class Peer:
    """How a peer chooses among the most frequent pairs, and whom of ours to hold it against."""

    ties: str
    ours: str = "groundup"


def trainer(train: Callable[[], Any], learned: Callable[[Any], list[bytes]]) -> Trainer:
    """A contender that keeps the last thing it trained."""
    kept: list[Any] = []

    def run() -> None:
        kept[:] = [train()]

    return Trainer(run, learned=lambda: learned(kept[0]))


def by_id(ranks: Mapping[bytes, int]) -> list[bytes]:
    """Tokens of more than one byte in the order of their ids."""
    return sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)


def agreement(
    contenders: Mapping[str, Contender], peers: Mapping[str, Peer]
) -> dict[str, dict[str, Any]]:
    """For each peer that ran: {"with", "ties", "same", "first_difference", "share", "says"}.

    first_difference   the first merge that is another, from 0; None where all are the same
    share              of groundup's tokens that are the peer's too, whatever their order
    """
    found = {}
    for name, peer in peers.items():
        ours, theirs = contenders.get(peer.ours), contenders.get(name)
        if isinstance(ours, Trainer) and isinstance(theirs, Trainer):
            found[name] = {"with": peer.ours, "ties": peer.ties}
            found[name] |= compared(ours.learned(), theirs.learned())
            found[name]["says"] = _told(found[name])
    return found


def compared(ours: list[bytes], theirs: list[bytes]) -> dict[str, Any]:
    unequal = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b]
    same = ours == theirs
    first = unequal[0] if unequal else min(len(ours), len(theirs))
    return {
        "same": same,
        "first_difference": None if same else first,
        "share": round(len(set(ours) & set(theirs)) / max(1, len(ours)), 4),
    }


def _told(found: Mapping[str, Any]) -> str:
    if found["same"]:
        return f"the same merges as {found['with']} ({found['ties']})"
    return (
        f"differs from {found['with']} from merge {found['first_difference']:,} on, "
        f"{100 * found['share']:.2f}% of the tokens are the same ({found['ties']})"
    )
