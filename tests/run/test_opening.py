"""Whose directory is it? Nothing of anyone else's is touched."""

import subprocess
import sys

import pytest

from ptm.errors import RunDirectoryError
from ptm.run.directory import begin_run
from ptm.run.opening import open_run, refuse_early, require_run


def make_run(path, config="task: a\n"):
    with open_run(path, config, "new") as run:
        begin_run(run, config)
        (run.checkpoints / "step-000001").mkdir()


def test_a_second_run_needs_resume_or_overwrite(tmp_path):
    make_run(tmp_path / "r")
    with (
        pytest.raises(RunDirectoryError, match=r"--resume.*--overwrite"),
        open_run(tmp_path / "r", "task: a\n", "new"),
    ):
        pass
    with open_run(tmp_path / "r", "task: a\n", "resume") as run:
        assert run.resuming
        assert (run.checkpoints / "step-000001").is_dir()
    with open_run(tmp_path / "r", "task: b\n", "overwrite") as run:
        assert not run.resuming
        assert (run.checkpoints / "step-000001").is_dir()  # nothing is lost before the new run can begin
        begin_run(run, "task: b\n")
        assert list(run.checkpoints.iterdir()) == []
    assert (tmp_path / "r" / "config.yaml").read_text() == "task: b\n"


def test_a_run_that_never_began_leaves_no_folder_behind(tmp_path):
    with open_run(tmp_path / "runs" / "d" / "r", "task: a\n", "new"):
        assert (tmp_path / "runs" / "d" / "r").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with open_run(tmp_path / "mine" / "d" / "r", "task: a\n", "new"):
        (tmp_path / "mine" / "d" / "other").mkdir()
    assert [p.name for p in (tmp_path / "mine" / "d").iterdir()] == ["other"]


def test_resuming_what_is_not_there_starts_it(tmp_path):
    with open_run(tmp_path / "r", "task: a\n", "resume") as run:
        assert not run.resuming


def test_a_changed_config_is_not_resumed_and_the_change_is_shown(tmp_path):
    make_run(tmp_path / "r", "seed: 1\n")
    with pytest.raises(RunDirectoryError) as caught, open_run(tmp_path / "r", "seed: 2\n", "resume"):
        pass
    assert "seed: 1 → 2" in str(caught.value)


@pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
def test_a_directory_of_somebody_else_is_never_touched(tmp_path, mode):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match=r"thesis\.tex"), open_run(tmp_path, "task: a\n", mode):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_distillation_with_its_control_is_named_as_one(tmp_path):
    for name in ("control-42", "distilled-42"):
        make_run(tmp_path / name)
    (tmp_path / "verdict.json").write_text("{}")
    for action in (
        lambda: require_run(tmp_path),
        lambda: refuse_early(tmp_path, "new"),
        lambda: refuse_early(tmp_path, "overwrite"),
    ):
        with pytest.raises(RunDirectoryError, match="a distillation with its control") as caught:
            action()
        assert str(tmp_path / "distilled-42") in caught.value.problems[0].cure
    require_run(tmp_path / "distilled-42")
    with pytest.raises(RunDirectoryError, match="not a run of ptm"):
        require_run(tmp_path / "nowhere")


def test_an_output_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(RunDirectoryError, match="is a file"), open_run(tmp_path / "f", "task: a\n", "new"):
        pass


def test_two_at_once_one_wins_and_a_dead_lock_does_not_block(tmp_path):
    path = tmp_path / "r"
    holder = (
        "import sys, time; from pathlib import Path; from ptm.run.directory import begin_run\n"
        "from ptm.run.opening import open_run\n"
        f"with open_run(Path({str(path)!r}), 'task: a\\n', 'new') as run:\n"
        " begin_run(run, 'task: a\\n'); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        for mode in ("resume", "overwrite"):
            with (
                pytest.raises(RunDirectoryError, match=f"process {process.pid} is writing"),
                open_run(path, "task: b\n", mode),
            ):
                pass
        assert (path / "config.yaml").read_text() == "task: a\n"
    finally:
        process.kill()
        process.communicate()
    with open_run(path, "task: a\n", "resume") as run:
        assert run.resuming


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="bad data"), open_run(tmp_path / "r", "task: a\n", "new"):
        raise ValueError("bad data")
    assert not (tmp_path / "r").exists()
    make_run(tmp_path / "r")
    with pytest.raises(ValueError, match="bad data"), open_run(tmp_path / "r", "task: b\n", "overwrite"):
        raise ValueError("bad data")
    assert (tmp_path / "r" / "config.yaml").read_text() == "task: a\n"
    assert (tmp_path / "r" / "checkpoints" / "step-000001").is_dir()


@pytest.mark.parametrize("inner", ["again", "checkpoints/step-000009", "model/again", "linked/again"])
def test_15_04_no_run_begins_inside_another(finished_run, tmp_path, inner):
    (tmp_path / "linked").symlink_to(finished_run)
    place = tmp_path / inner if inner.startswith("linked") else finished_run / inner
    for mode in ("new", "overwrite", "resume"):
        with pytest.raises(RunDirectoryError, match="in another run"):
            refuse_early(place, mode)
        with pytest.raises(RunDirectoryError, match="in another run"), open_run(place, "a: 1\n", mode):
            raise AssertionError
    assert not place.exists()


@pytest.mark.parametrize("inside", [".", "store", "model/store", "../link/store"])
def test_15_04_no_store_lies_in_the_run_itself(tmp_path, inside):
    """It was filled before the run began, which then was refused, and stayed in the folder."""
    place = tmp_path / "r"
    (tmp_path / "link").symlink_to(place)
    for enter in (
        refuse_early,
        lambda path, mode, inputs: open_run(path, "", mode, inputs=inputs).__enter__(),
    ):
        with pytest.raises(RunDirectoryError, match="would lie in the run itself"):
            enter(place, "new", [("distill.store", place / inside)])
    assert not place.exists()
    refuse_early(place, "new", [("distill.store", tmp_path / "r-store"), ("model.name", place)])


@pytest.mark.parametrize("allow_drift", [False, True])
def test_13_07_a_finished_run_of_another_config_is_not_told_to_allow_drift(finished_run, allow_drift):
    """What was given, or would not help, is no cure."""
    config = (finished_run / "config.yaml").read_text().replace("seed: ", "seed: 1")
    with (
        pytest.raises(RunDirectoryError) as refused,
        open_run(finished_run, config, "resume", allow_drift=allow_drift),
    ):
        pass
    (problem,) = refused.value.problems
    assert (
        "--allow-drift" not in problem.cure
        and "--overwrite" in problem.cure
        and "finished" in problem.expected
    )
