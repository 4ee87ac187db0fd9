"""Which engine works, that both give the same, and what is imported for it."""

import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

from groundup import _native
from groundup.tokenizer import Tokenizer, encoders, engine

native = pytest.mark.skipif(
    engine.native_core() is None, reason="groundup._C is not built; the reference works instead"
)


@pytest.fixture
def without_native(monkeypatch):
    monkeypatch.setenv("GROUNDUP_NATIVE", "0")
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget():
    """Look for the native core anew, and warn anew."""
    _native._load.cache_clear()
    engine._warn.cache_clear()


@native
def test_the_native_engine_runs_where_it_is_built():
    assert engine.engine_name() == "native"
    tok = Tokenizer.train(["some text"], 260)
    assert type(tok._encoder) is encoders.NativeEncoder
    assert isinstance(tok._training_chunks, engine.NativeChunks)


@native
def test_a_regex_of_one_s_own_still_merges_natively():
    tok = Tokenizer.train(["some text"], 260, pattern=r"\w+|\W+")
    assert type(tok._encoder) is encoders.SplittingEncoder


def test_without_the_native_core_the_reference_runs_and_says_so_once(without_native):
    with pytest.warns(RuntimeWarning, match=r"in plain Python: .* unset it"):
        tok = Tokenizer.train(["some text"], 260)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Tokenizer.train(["some text"], 260)
    assert engine.engine_name() == "reference"
    assert isinstance(tok._encoder, encoders.ReferenceEncoder)
    assert isinstance(tok._training_chunks, engine.ReferenceChunks)


def test_a_missing_core_is_told_with_its_remedy(monkeypatch):
    monkeypatch.delenv("GROUNDUP_NATIVE", raising=False)
    monkeypatch.setitem(sys.modules, "groundup._C", None)
    monkeypatch.delattr("groundup._C", raising=False)
    forget()
    with pytest.warns(RuntimeWarning, match=r"install a C\+\+ compiler"):
        assert engine.native_core() is None
    monkeypatch.undo()
    forget()


def test_a_core_of_another_version_is_told_with_its_remedy(monkeypatch):
    monkeypatch.delenv("GROUNDUP_NATIVE", raising=False)
    older = types.ModuleType("groundup._C")
    older.__version__ = "0.0.9"
    monkeypatch.setitem(sys.modules, "groundup._C", older)
    forget()
    with pytest.warns(RuntimeWarning, match=r"built for version 0\.0\.9 .*pip install -e"):
        assert engine.native_core() is None
    monkeypatch.undo()
    forget()


@native
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "gpt4o", "indic-math", "none", r"[a-z]+|\d"])
@pytest.mark.parametrize("ties", ["smallest_pair", "first_seen", "huggingface"])
def test_both_engines_train_and_encode_alike(pattern, ties, mixed_text, without_native, tmp_path):
    text = mixed_text[: 3_000 if pattern == "none" else 12_000]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        reference = Tokenizer.train([text, text[:99]], 330, pattern=pattern, ties=ties)
        ids = reference.encode_ordinary(text)
        offsets = reference.encode_with_offsets(text)[1]
        batch = reference.encode_batch([text, "", "abc"])
        (tmp_path / "text.txt").write_text(text, encoding="utf-8")
        assert reference.encode_files_to_npy(tmp_path / "text.txt", tmp_path / "ids.npy") == len(
            ids
        )
        assert np.load(tmp_path / "ids.npy").tolist() == ids
        assert reference.encode_to_numpy("ab", dtype="uint16").dtype == np.uint16
        assert reference.encode(text, dropout=1.0) == list(text.encode())
        assert reference.decode(reference.encode(text[:99], dropout=0.4)) == text[:99]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GROUNDUP_NATIVE")
        fast = Tokenizer.train([text, text[:99]], 330, pattern=pattern, ties=ties)
    assert fast.merges.tolist() == reference.merges.tolist()
    assert fast.merge_counts.tolist() == reference.merge_counts.tolist()
    assert fast.encode_ordinary(text) == ids
    assert fast.encode_with_offsets(text)[1].tolist() == offsets.tolist()
    assert fast.encode_batch([text, "", "abc"]) == batch
    assert fast.decode(ids) == reference.decode(ids) == text


def test_torch_is_never_imported():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from groundup.tokenizer import Tokenizer\n"
        "import groundup; assert groundup.tokenizer.Tokenizer is Tokenizer\n"
        "tok = Tokenizer.train(['hello hello'], 260)\n"
        "assert tok.decode(tok.encode('hello')) == 'hello'\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)
