"""What is in a run directory, and what a finished one lacks."""

import pytest

from ptm.base import files
from ptm.errors import Interrupted, NotFinite
from ptm.run.directory import RunDirectory, begin_run
from ptm.run.opening import open_run
from ptm.run.results import Results


def finished(path):
    with open_run(path, "task: a\n", "new") as run:
        begin_run(run, "task: a\n")
        results = Results(task="text-classification", status="done", metrics={"accuracy": 0.5})
        run.finish(results, {"eval": b"{}\n"}, lambda folder: (folder / "config.json").write_text("{}"))
    return run


def test_a_kill_while_the_config_was_written_blocks_nothing(tmp_path):
    (tmp_path / "r").mkdir()
    part = files.beside(tmp_path / "r" / "config.yaml")
    part.write_text("ver")
    finished(tmp_path / "r")
    assert not part.exists()


def test_a_finished_run_is_whole_and_what_it_lacks_is_named(tmp_path):
    run = finished(tmp_path / "r")
    assert not run.finished()  # the card is written last
    (run.path / "README.md").write_text("# a card\n")
    assert run.finished() and run.damage() is None
    assert run.read_results().metrics == {"accuracy": 0.5}
    run.predictions.unlink()
    assert run.damage() == "predictions.jsonl is missing"
    (run.model / "config.json").write_text("[]")
    assert run.damage().startswith("model/config.json")
    for file in run.model.iterdir():
        file.unlink()
    run.model.rmdir()
    assert run.damage() == "there is no model/"


@pytest.mark.parametrize(
    ("error", "status"), [(Interrupted("stopped"), "interrupted"), (NotFinite("loss is nan"), "failed")]
)
def test_why_a_run_ended_early_stands_in_its_results(tmp_path, error, status):
    run = RunDirectory(tmp_path)
    run.fail("text-classification", error)
    results = run.read_results()
    assert (results.status, results.reason, run.finished()) == (status, str(error), False)
