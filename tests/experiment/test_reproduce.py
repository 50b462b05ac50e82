"""The record against a second run: the same bits on the same machine, and what changed where they are not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import copy_of, image_spec, run, text_spec
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.errors import ModelError, RunDirectoryError
from ptm.experiment.reproduce import first_difference, history, reproduce
from ptm.run.manifest import changes
from ptm.run.predictions import read_predictions
from records import RECORD

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.slow
def test_the_same_machine_gives_the_same_bits(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "text"))
    run(image_spec(tmp_path / "image"))
    for name in ("text", "image"):
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / name).rglob("*")}
        found = reproduce(tmp_path / name, tmp_path / f"{name}-again", 0.005, Silent())
        assert found.verdict == "bit-identical"
        assert found.first_difference is None
        assert found.changed == ()
        assert set(found.distances.values()) == {0.0}
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / name).rglob("*")} == before


def test_other_data_are_named_and_the_first_different_step_too(run_cli, tiny_bert, reviews, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.csv", "eval.csv"):
        (data / name).write_text((reviews / name).read_text())
    run(text_spec(tiny_bert, data, tmp_path / "r", learning_rate=3e-3, epochs=4))
    flipped = (data / "train.csv").read_text().replace(",positive", ",x").replace(",negative", ",positive")
    (data / "train.csv").write_text(flipped.replace(",x", ",negative"))
    done = run_cli("reproduce", str(tmp_path / "r"), "--json")
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "different"
    assert found["first_difference"] == 2
    assert any(change.startswith("digests.data.train") for change in found["changed"])


@pytest.mark.slow
def test_what_a_run_did_on_its_way_is_told(tiny_bert, reviews, tmp_path):
    """A linear decay that was extended is no longer run of the new length, and that is said."""
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=2), "resume")
    found = reproduce(tmp_path / "r", tmp_path / "again", 0.0, Silent())
    assert found.verdict != "bit-identical"
    assert found.first_difference == 2
    assert found.changed == ("extended from 1 to 2 epochs, not trained so long at once",)


def test_15_09_a_record_without_metrics_is_damaged_not_within_tolerance(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    results = tmp_path / "r" / "results.json"
    results.write_text(json.dumps({**json.loads(results.read_text()), "metrics": {}}))
    with pytest.raises(ModelError, match="no metrics"):
        reproduce(tmp_path / "r", tmp_path / "again", 0.005, Silent())
    assert not (tmp_path / "again").exists()


def test_15_09_a_metric_that_is_not_what_the_predictions_come_to_is_not_identical(
    tiny_bert, reviews, tmp_path
):
    """All else had the same bits: it was bit-identical, with a metric half a point off."""
    run(text_spec(tiny_bert, reviews, tmp_path / "r", epochs=1))
    path = tmp_path / "r" / "results.json"
    results = json.loads(path.read_text())
    results["metrics"]["accuracy"] += 0.5
    path.write_text(json.dumps(results))
    found = reproduce(tmp_path / "r", tmp_path / "again", 0.005, Silent())
    assert found.verdict == "different" and found.first_difference is None


def test_15_14_a_place_that_is_taken_has_a_cure_that_reproduce_knows(finished_run, tmp_path):
    there = copy_of(finished_run, tmp_path / "there")
    with pytest.raises(RunDirectoryError, match="choose another --output") as refusal:
        reproduce(finished_run, there, 0.005, Silent())
    assert "--resume" not in str(refusal.value)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="a finished run"):
        reproduce(tmp_path, tmp_path / "x", 0.005, Silent())


def test_the_first_difference_by_hand():
    old = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    assert first_difference(old, old) is None
    assert first_difference(old, [old[0], {"step": 2, "loss": 0.6}]) == 2
    assert first_difference(old, old[:1]) == 2


def test_changed_inputs_are_named_and_the_config_is_none_of_them():
    other = replace(RECORD, packages={"torch": "2.12"}, digests=replace(RECORD.digests, config="4" * 64))
    assert changes(RECORD, other) == ("packages.torch: 2.11 → 2.12",)
    assert changes(RECORD, RECORD) == ()


SHIPPED = ["quickstart", "quickstart_scratch", "digits_resnet", "digits_distill"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_offline_config_reproduces(name, tmp_path, monkeypatch):
    """A few steps of each; docs/reliability.md says of whole runs."""
    monkeypatch.chdir(tmp_path)
    few = ["train.epochs=null", "train.steps=4", "runtime.threads=1", "expect={}"]
    if name == "digits_distill":
        run(load_config(CONFIGS / "digits_resnet.yaml", ["train.epochs=1", "runtime.threads=1", "expect={}"]))
        few += [f"teacher.name={tmp_path / 'runs' / 'digits_resnet'}", "distill.audit=off"]
    spec = load_config(CONFIGS / f"{name}.yaml", few)
    run(spec)
    found = reproduce(Path(spec.output), tmp_path / "again", 0.005, Silent())
    assert found.verdict == "bit-identical"
    assert found.changed == ()


@pytest.mark.parametrize("line", ["5", "[]", "{}", '{"step": "x"}', "null", "{"])
def test_15_09_lines_that_are_none_are_a_damaged_record(tmp_path, line):
    """Found after the training that they are to be compared with, or never: as a traceback."""
    (tmp_path / "metrics.jsonl").write_text(f'{{"kind": "train", "step": 1, "loss": 1.0}}\n{line}\n')
    with pytest.raises(ValueError):
        history(tmp_path / "metrics.jsonl")
    (tmp_path / "predictions.jsonl").write_text(f'{{"id": 0}}\n{line}\n')
    with pytest.raises(ValueError):
        read_predictions(tmp_path / "predictions.jsonl")
