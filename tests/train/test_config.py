"""Settings come from files as data, are typed, and what does not fit is told."""

import sys
from pathlib import Path

import pytest

from groundup.train.config import TrainConfig, read_config


def _read(tmp_path, contents, suffix=".toml"):
    path = tmp_path / f"run{suffix}"
    path.write_text(contents)
    return read_config(path)


def test_toml_and_yaml_say_the_same(tmp_path):
    toml = 'data = "books"\nsteps = 7\nlearning_rate = 1e-3\ncompile = true\nwarmup = 0\n'
    yaml = "data: books\nsteps: 7\nlearning_rate: 1e-3\ncompile: true\nwarmup: 0\n"
    expected = TrainConfig(
        data=Path("books"), steps=7, learning_rate=1e-3, compile=True, warmup=0.0
    )
    assert _read(tmp_path, toml) == expected
    assert _read(tmp_path, yaml, ".yaml") == expected
    assert isinstance(_read(tmp_path, toml).warmup, float)
    assert _read(tmp_path, "", ".yml") == _read(tmp_path, "") == TrainConfig()


def test_a_config_goes_through_plain_values_unchanged():
    config = TrainConfig(budget_seconds=2.5, steps=None, device="cpu", evaluate_windows=None)
    plain = config.to_mapping()
    assert TrainConfig(evaluate_windows=None).with_mapping(plain, "x") == config


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("learning_rat = 1", "there is no setting 'learning_rat'; did you mean learning_rate?"),
        ("zzz = 1", "there is no setting 'zzz'; known: data, out"),
        ("[model]\nn_layer = 1", "there is no setting 'model'"),
        ('steps = "many"', "steps: expected a whole number, got 'many'"),
        ("steps = 1.5", "steps: expected a whole number, got 1.5"),
        ("steps = true", "steps: expected a whole number, got True"),
        ("learning_rate = true", "learning_rate: expected a number, got True"),
        ('learning_rate = "fast"', "learning_rate: expected a number, got 'fast'"),
        ("compile = 1", "compile: expected true or false, got 1"),
        ("data = 3", "data: expected a path, got 3"),
        ('device = "tpu"', "device: expected one of auto, cpu, cuda; got 'tpu'"),
        ("steps = ", "expected TOML; "),
        ("steps = 0", "steps: expected at least 1, or nothing, got 0"),
        ("learning_rate = nan", "learning_rate: expected a positive number, got nan"),
        ("dropout = 1", r"dropout: expected a number in \[0, 1\), got 1.0"),
        ("warmup = 2", r"warmup: expected a share in \[0, 1\], got 2.0"),
        ("seed = -1", "seed: expected a whole number from 0, got -1"),
        ("budget_seconds = 0", "budget_seconds: expected a positive number, got 0"),
        ("n_embd = 30", "n_embd: expected a multiple of n_head = 4, got 30; try 32"),
    ],
)
def test_a_wrong_setting_is_told_with_its_file(tmp_path, contents, message):
    with pytest.raises(ValueError, match=rf"run\.toml: .*{message}"):
        _read(tmp_path, contents)


@pytest.mark.parametrize(
    "contents", ["!!python/object/apply:os.system ['true']", "a: [", "- 1", "\x00"]
)
def test_yaml_is_data_only(tmp_path, contents):
    with pytest.raises(ValueError, match=r"run\.yaml: expected"):
        _read(tmp_path, contents, ".yaml")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a \.toml, \.yaml or \.yml file"):
        _read(tmp_path, "print('run')", ".py")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")


def test_yaml_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"pip install 'groundup\[train\]', or write TOML"):
        _read(tmp_path, "steps: 1", ".yaml")


def test_a_run_without_an_end_ends_at_1000_steps():
    assert TrainConfig().last_step == 1000
    assert TrainConfig(budget_seconds=3.0).last_step is None
    assert TrainConfig(budget_seconds=3.0, steps=5).last_step == 5
