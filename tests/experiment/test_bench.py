"""``ptm bench`` of real tiny configs: all tasks, distillation, frozen backbones; nothing is left behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tiny
from helpers import image_spec, text_spec
from ptm.base.console import Silent
from ptm.cli.app import app, run
from ptm.config.load import dump_config, load_config
from ptm.config.tasks import TASKS
from ptm.experiment.bench import run_bench, spread_out
from ptm.experiment.bench_changes import changes_of
from ptm.experiment.trial import try_run


def files_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in tiny.NAMES if n in TASKS or n == "text-classification-lora"])
def test_13_05_every_task_is_measured(name, tmp_path, monkeypatch):
    """Parts are there and make up the step; each setting was tried or says why not; no file is written."""
    if name not in ("text-classification", "image-classification"):  # of these everything is tried
        monkeypatch.setattr("ptm.experiment.bench.changes_of", lambda *a, **k: changes_of(*a, **k)[:1])
    monkeypatch.setattr("ptm.experiment.bench_changes.core_count", lambda: 1)
    config, cache = tiny.prepare(name, tmp_path), tmp_path / "cache"
    monkeypatch.setenv("PTM_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    spec = load_config(config, ["runtime.threads=1"])
    bench = run_bench(spec, Silent(), steps=1, rounds=1)
    assert files_below(tmp_path) == before
    assert {"data", "forward", "backward", "optimizer", "evaluation", "save"} == set(bench.parts)
    inside = sum(bench.parts[part] for part in ("data", "forward", "backward", "optimizer"))
    assert inside == pytest.approx(bench.seconds, rel=0.3, abs=0.01)
    assert bench.operations > 0 and bench.products_seconds > 0 and bench.examples >= 1
    assert (bench.tokens is None) == (spec.descriptor.modality == "image")
    assert bench.tried and all(t.ratios or t.problem for t in bench.tried)


@pytest.mark.slow
def test_13_05_the_command_says_it_in_json_and_leaves_runs_alone(
    tmp_path, tiny_bert, reviews, reviews_run, capsys
):
    """A distillation, whose teacher has seconds of its own; its run directory is one that is there."""
    place = tmp_path / "r"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    config = tmp_path / "run.yaml"
    spec = text_spec(tiny_bert, reviews, place)
    config.write_text(f"{dump_config(spec)}")
    words = [
        "bench",
        str(config),
        "--steps",
        "1",
        "--rounds",
        "1",
        "--set",
        f"teacher.name={reviews_run}",
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["parts"]["teacher"] > 0 and found["parts"]["forward"] > 0
    assert found["examples_per_second"] > 0 and found["tokens_per_second"] > found["examples_per_second"]
    assert "the teacher was run on each batch" in found["notes"][0]
    assert isinstance(found["doubts"], list) and isinstance(found["helps"], list)
    assert [p.name for p in place.iterdir()] == ["mine.txt"]


def test_13_05_errors_are_those_of_a_run(tmp_path, capsys):
    assert run(["bench", str(tmp_path / "no.yaml"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problems"][0]["what"] == "there is no such file"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["frozen", "distilled"])
def test_13_05_steps_of_what_keeps_outputs_in_a_store_can_be_tried(
    change, tmp_path, tiny_bert, reviews, reviews_run
):
    """``ptm check --deep`` took no step where a frozen backbone, or a teacher, has a store that is not filled."""
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", freeze="backbone" if change == "frozen" else "none")
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(spec))
    spec = load_config(config, [f"teacher.name={reviews_run}"] if change == "distilled" else [])
    assert try_run(spec).epoch_seconds > 0


@pytest.mark.slow
def test_13_05_workers_are_tried_and_ended(tmp_path, monkeypatch):
    """Views that are decoded for every batch gain workers; the run's own number is there again afterwards."""
    monkeypatch.setattr(
        "ptm.experiment.bench.changes_of",
        lambda *a, **k: [c for c in changes_of(*a, **k) if c.setting == "runtime.workers=1"],
    )
    spec = image_spec(tmp_path / "r", max_train_examples=32, augment="trivial")
    bench = run_bench(spec, Silent(), steps=1, rounds=1)
    assert [t.setting for t in bench.tried if t.ratios] == ["runtime.workers=1"]


def test_13_05_batches_stand_for_as_many_others_each():
    plan = [np.array([i]) for i in range(10)]
    assert [int(ids[0]) for ids in spread_out(plan, 5)] == [1, 3, 5, 7, 9]
    assert [int(ids[0]) for ids in spread_out(plan[:1], 3)] == [0, 0, 0]
