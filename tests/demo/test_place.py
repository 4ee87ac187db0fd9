"""A run of the demo costs no earlier one anything until it is done; then it takes its place."""

import json
import shutil
from pathlib import Path

import pytest

from groundup.demo import place as places
from groundup.demo.place import MARK, check_place, claim, replace


def make_run(
    folder: Path, what: str, *, finished: bool = True, steps: tuple[int, ...] = ()
) -> None:
    """A demo's files, each of which says whose it is."""
    for name in ("tokenizer.json", "sample.txt", "metrics.jsonl", "data/train-00000.tokens"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(what)
    for step in steps:
        (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        (folder / "checkpoints" / f"step-{step:08d}" / "state.json").write_text(what)
    (folder / MARK).write_text(json.dumps({"finished": finished, "run": what}))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "unfinished-" not in str(path)
    }


def test_the_first_run_lands_in_the_folder_itself(tmp_path: Path) -> None:
    assert claim(tmp_path / "run") == tmp_path / "run"
    assert not json.loads((tmp_path / "run" / MARK).read_text())["finished"]


@pytest.mark.parametrize("finished", [True, False])
def test_a_later_run_leaves_every_file_of_those_before(tmp_path: Path, finished: bool) -> None:
    make_run(tmp_path, "first", finished=finished, steps=(4, 8))
    before = contents(tmp_path)
    second = claim(tmp_path)
    make_run(second, "second", finished=False, steps=(3,))
    third = claim(tmp_path)
    assert contents(tmp_path) == before
    assert [second.name, third.name] == ["unfinished-1", "unfinished-2"]
    assert (second / "checkpoints" / "step-00000003" / "state.json").read_text() == "second"


def test_a_finished_run_takes_the_place_and_foreign_files_stay(tmp_path: Path) -> None:
    make_run(tmp_path, "first", steps=(4, 8))
    (tmp_path / "loss.png").write_text("first")
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    make_run(claim(tmp_path), "killed", finished=False)
    done = claim(tmp_path)
    make_run(done, "new", steps=(5,))
    replace(tmp_path, done)
    there = contents(tmp_path)
    assert there.pop("checkpoints/notes.txt") == "mine"
    assert json.loads(there.pop(MARK))["run"] == "new"
    assert set(there.values()) == {"new"}
    assert [p for p in there if "step-" in p] == ["checkpoints/step-00000005/state.json"]
    assert not list(tmp_path.glob("unfinished-*"))


def test_a_replacement_killed_at_any_moment_is_completed_by_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    move, remove = shutil.move, Path.unlink
    for moment in range(40):
        out = tmp_path / str(moment)
        make_run(out, "first", steps=(4, 8))
        done = claim(out)
        make_run(done, "new", steps=(5, 6))
        left = [moment]

        def counted(act, left=left):  # type: ignore[no-untyped-def]
            def acts(*args, **options):  # type: ignore[no-untyped-def]
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return act(*args, **options)

            return acts

        with monkeypatch.context() as patch:
            patch.setattr(places.shutil, "move", counted(move))
            patch.setattr(Path, "unlink", counted(remove))
            try:
                replace(out, done)
                completed = True
            except Killed:
                completed = False
        if not completed:
            claim(out)
        there = contents(out)
        assert json.loads(there.pop(MARK))["run"] == "new"
        assert set(there.values()) == {"new"}
        assert len([path for path in there if "step-" in path]) == 2
        if completed:
            return
    pytest.fail("the replacement never came to its end")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds files, and not an earlier demo's; name another"):
        check_place(tmp_path)
    with pytest.raises(ValueError, match="holds files, and not an earlier demo's"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
