"""The race: everybody does the same work, and the table says so or says that they did not."""

import pytest
import torch

from groundup.demo import race
from groundup.demo.steps import eager_step, groundup_step, strongest_step
from groundup.demo.threads import fastest_threads
from groundup.inspect.timing import Contender
from groundup.models import GPT, GPTConfig
from groundup.tokenizer import Tokenizer

CONFIG = GPTConfig(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2)
TEXTS = ["def f(x):\n    return x + 1\n" * 40, "the cat sat on the mat\n" * 60]


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(64, (3, 17), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def test_every_way_to_take_a_step_follows_the_same_losses() -> None:
    torch.manual_seed(0)
    weights = GPT(CONFIG).state_dict()
    steps = [make(CONFIG, weights) for make in (groundup_step, eager_step, strongest_step)]
    for number in range(6):
        losses = [step(*batch(number)) for step in steps]
        assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_the_step_entry_reports_the_largest_difference_and_leaves_compiling_out_of_no_budget() -> (
    None
):
    entry = race.race_step(CONFIG, [batch(n) for n in range(4)], 0.1, race.CompileBudget(0))
    assert entry.agrees
    assert "losses of" in entry.agreement
    assert list(entry.absent) == ["torch.compile of its best path"]
    record = entry.record()
    assert record["contenders"]["groundup"]["groundup_is_faster_by"] == 1
    assert record["rounds"] >= race.LEAST_ROUNDS


def test_cross_entropy_contenders_agree() -> None:
    entry = race.race_cross_entropy(33, 129, 0.05, race.CompileBudget(0))
    assert set(entry.timings) == {"groundup", "torch eager"}
    assert entry.agrees


def test_training_gives_the_merges_of_hugging_face() -> None:
    pytest.importorskip("tokenizers")
    entry = race.race_training(TEXTS, 300, 0.05)
    assert entry.agreement == "the same merges in the same order"
    assert "300 tokens" in entry.work


def test_encoding_gives_the_ids_of_tiktoken() -> None:
    pytest.importorskip("tiktoken")
    tokenizer = Tokenizer.train(TEXTS, 300, special_tokens=("<|endoftext|>",))
    entry = race.race_encoding(TEXTS, tokenizer, 0.05)
    assert entry.agreement == "the same ids"


def test_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race.importlib.util, "find_spec", lambda name: None)
    tokenizer = Tokenizer.train(TEXTS, 300, special_tokens=("<|endoftext|>",))
    assert race.race_training(TEXTS, 300, 0.05).absent == {
        "Hugging Face tokenizers": "not installed"
    }
    assert race.race_encoding(TEXTS, tokenizer, 0.05).absent == {"tiktoken": "not installed"}


def test_compiling_goes_on_only_while_it_fits_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "can_compile", lambda: True)
    now = [0.0]
    monkeypatch.setattr(race.time, "perf_counter", lambda: now[0])
    budget = race.CompileBudget(10.0)
    assert budget.admits(3.0)

    def compile_for_three_seconds() -> None:
        now[0] += 3.0

    budget.spend(Contender(compile_for_three_seconds))
    assert budget.admits(2.0)
    assert not budget.admits(3.0)
    assert "too long here" in budget.why
    monkeypatch.setattr(race, "can_compile", lambda: False)
    assert not race.CompileBudget(10.0).admits(1.0)
    assert "needs a C++ compiler" in race.CompileBudget(10.0).why


def test_the_thread_count_is_one_that_torch_has_and_nothing_else_changes() -> None:
    before = torch.get_num_threads()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert 1 <= fastest_threads(CONFIG, 2) <= before
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
