"""Who learned the same: what the benchmark of training says of its peers."""

import sys
from dataclasses import replace

import pytest

from benchmarks import bpe_agreement, bpe_training, harness, pinned
from benchmarks.bench_bpe import training_case
from benchmarks.bpe_agreement import Peer, compared, trainer
from benchmarks.corpora import Corpus
from groundup.inspect.timing import Contender

TEXTS = ("the cat that the hat sat on 🎩 " * 3, "a cat, that cat; 42 hats\n" * 5)


def test_the_same_tokens_in_the_same_order_are_the_same_merges() -> None:
    found = compared([b"ab", b"abc"], [b"ab", b"abc"])
    assert found == {"same": True, "first_difference": None, "share": 1.0}


@pytest.mark.parametrize(
    ("theirs", "first", "share"),
    [
        ([b"ab", b"cd"], 1, 0.5),
        ([b"abc", b"ab"], 0, 1.0),
        ([b"ab"], 1, 0.5),
        ([b"ab", b"abc", b"d"], 2, 1.0),
        ([], 0, 0.0),
    ],
)
def test_the_first_difference_is_told_and_how_many_tokens_are_equal(
    theirs: list[bytes], first: int, share: float
) -> None:
    found = compared([b"ab", b"abc"], theirs)
    assert found == {"same": False, "first_difference": first, "share": share}


def test_a_contender_is_held_against_ours_only_where_both_ran() -> None:
    ours = trainer(lambda: [b"ab"], lambda learned: learned)
    theirs = trainer(lambda: [b"ba"], lambda learned: learned)
    for each in (ours, theirs):
        each.run()
    peers = {"peer": Peer("its own ties"), "absent": Peer("its own ties")}
    found = bpe_agreement.agreement(
        {"groundup": ours, "peer": theirs, "limit": Contender(lambda: None)}, peers
    )
    assert list(found) == ["peer"]
    assert found["peer"]["says"] == (
        "differs from groundup from merge 0 on, 0.00% of the tokens are the same (its own ties)"
    )


@pytest.mark.parametrize("pattern", ["gpt2", "indic-math"])
@pytest.mark.parametrize("peer", ["Hugging Face tokenizers", "rustbpe"])
def test_peers_with_our_ties_learn_our_merges(peer: str, pattern: str) -> None:
    pytest.importorskip("tokenizers" if peer.startswith("Hugging") else peer)
    case = training_case("small", lambda: Corpus(TEXTS), 300, pattern, few_rounds={})
    ours = bpe_training.PEERS[peer].ours
    contenders = {
        name: case.contenders[name](Corpus(TEXTS)) for name in dict.fromkeys((ours, peer))
    }
    for each in contenders.values():
        each.run()
    said = bpe_agreement.agreement(contenders, bpe_training.PEERS)[peer]["says"]
    assert said.startswith(f"the same merges as {ours} (ties: smallest pair")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores are chosen on Linux only")
def test_a_case_on_one_core_runs_on_one_core() -> None:
    case = next(case for case in harness.load("layer_norm").cases if not case.slow)
    record = pinned.measure("layer_norm", replace(case, cores=1), rounds=7)
    assert record["cores"] == 1
    assert len(record["contenders"]["groundup"]["seconds"]) == 7
