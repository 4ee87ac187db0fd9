"""A folder of shards is finished or is told to be unfinished."""

import json
import resource

import numpy as np
import pytest

from groundup.data.dataset import INDEX, DatasetWriter, open_tokens


def _write(folder, documents, **settings):
    with DatasetWriter(folder, vocab_size=1000, **settings) as writer:
        for split, ids in documents:
            writer.add(split, ids)
    return writer


def test_documents_follow_one_another_across_shards(tmp_path):
    documents = [("train", list(range(n))) for n in (3, 0, 25, 7)] + [("validation", [9, 8])]
    writer = _write(tmp_path, documents, shard_tokens=10)
    training = open_tokens(tmp_path, "train")
    expected = [*range(3), *range(25), *range(7)]
    assert training.read(0, len(training)).tolist() == expected
    assert len(list(tmp_path.glob("train-*.tokens"))) == 4
    assert open_tokens(tmp_path, "validation").read(0, 2).tolist() == [9, 8]
    assert writer.n_tokens == {"train": 35, "validation": 2}
    assert writer.n_documents == {"train": 4, "validation": 1}


def test_writing_again_leaves_no_shard_of_before(tmp_path):
    _write(tmp_path, [("train", np.arange(50)), ("validation", [1, 2])], shard_tokens=10)
    _write(tmp_path, [("train", np.arange(10)), ("validation", [1, 2])], shard_tokens=10)
    assert len(list(tmp_path.glob("*.tokens"))) == 2
    assert len(open_tokens(tmp_path, "train")) == 10


def test_a_writer_that_fails_leaves_an_unfinished_folder(tmp_path):
    _write(tmp_path, [("train", np.arange(50)), ("validation", [1, 2])])
    with pytest.raises(ValueError, match="got 1000"):
        _write(tmp_path, [("train", np.arange(30)), ("train", [1000])], shard_tokens=10)
    with pytest.raises(FileNotFoundError, match=r"dataset\.json; prepare it again"):
        open_tokens(tmp_path, "train")


def test_a_full_disk_leaves_an_unfinished_folder_and_no_partial_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*train-00000\.tokens"):
            _write(tmp_path, [("train", np.arange(900))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_index_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="`groundup prepare` makes such a folder"):
        open_tokens(tmp_path / "nowhere", "train")


def test_a_side_without_tokens_is_told(tmp_path):
    _write(tmp_path, [("train", [1, 2, 3])])
    with pytest.raises(ValueError, match="there are no validation tokens"):
        open_tokens(tmp_path, "validation")


def test_a_missing_or_foreign_shard_is_told(tmp_path):
    _write(tmp_path, [("train", np.arange(30))], shard_tokens=10)
    middle = tmp_path / "train-00001.tokens"
    middle.write_bytes((tmp_path / "train-00000.tokens").read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"train-00001.tokens: expected 84 bytes for 10 tokens"):
        open_tokens(tmp_path, "train")
    middle.unlink()
    with pytest.raises(FileNotFoundError, match="train-00001"):
        open_tokens(tmp_path, "train")


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("splits"),
        lambda told: told["splits"]["train"].update(files=3),
        lambda told: told["splits"]["train"].update(files=["../train-00000.tokens"]),
        lambda told: told["splits"]["train"].update(tokens="many"),
    ],
)
def test_a_damaged_index_is_told(tmp_path, change):
    _write(tmp_path, [("train", np.arange(30))])
    told = json.loads((tmp_path / INDEX).read_text())
    change(told)
    (tmp_path / INDEX).write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"dataset\.json: the file is damaged"):
        open_tokens(tmp_path, "train")


def test_an_index_that_tells_of_other_tokens_is_told(tmp_path):
    _write(tmp_path, [("train", np.arange(30))])
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text.replace('"tokens": 30', '"tokens": 31'))
    with pytest.raises(ValueError, match="tells of 31 train tokens and the shards hold 30"):
        open_tokens(tmp_path, "train")
    (tmp_path / INDEX).write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(ValueError, match="expected format version 1, got 9"):
        open_tokens(tmp_path, "train")
