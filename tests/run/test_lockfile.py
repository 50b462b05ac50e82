"""Pins: written beside the config, and nothing starts when something is not as it was pinned."""

import json
from dataclasses import replace

import pytest

from helpers import evaluation, text_spec
from ptm.base.console import Silent
from ptm.config.load import dump_config, load_config
from ptm.errors import ConfigError
from ptm.experiment.train import run_training
from ptm.run.lockfile import Pins, lock_path, read_lock, require_lock_place, require_unchanged, write_lock

PINS = Pins(
    task="text-classification",
    labels=("negative", "positive"),
    data={"train": "a"},
    files={},
    weights={"model": "b"},
    revisions={"model": None},
    packages={"torch": "2.11"},
    python="3.11.7",
)


def test_every_change_is_listed_at_once():
    now = replace(PINS, labels=("positive", "negative"), weights={"model": "c", "teacher": "d"})
    with pytest.raises(ConfigError, match="3 inputs are not as they were pinned") as caught:
        require_unchanged(PINS, now, "x")
    for line in ("labels: ", "weights.model: b → c", "weights.teacher: None → d"):
        assert line in str(caught.value)
    require_unchanged(PINS, now, "x", ("labels", "weights"))
    require_unchanged(PINS, PINS, "x")


def test_15_10_two_configs_do_not_share_a_lock(tmp_path):
    for name in ("a.yaml", "a.yml"):
        (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match=r"a\.yml and a\.yaml would have one lock file"):
        require_lock_place(tmp_path / "a.yml")


def test_15_10_what_reads_the_texts_is_pinned_too():
    """Another tokenizer or number of heads, with the same weights, started with --locked; locks of before say nothing
    of it."""
    now = replace(PINS, models={"model": "d"})
    require_unchanged(PINS, now, "x")
    with pytest.raises(ConfigError, match=r"models\.model: c → d"):
        require_unchanged(replace(PINS, models={"model": "c"}), now, "x")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format": 2}', "[" * 5000, "\0"])
def test_what_is_no_lock_file_is_refused(content, tmp_path):
    config = tmp_path / "run.yaml"
    if content is not None:
        lock_path(config).write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_lock(config)
    assert "ptm lock" in str(caught.value)


def test_a_locked_run_starts_only_on_what_was_pinned(run_cli, tiny_bert, reviews, tmp_path):
    """From the command line: lock, train, evaluate; then other data, which are named, and nothing is written."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.csv", "eval.csv"):
        (data / name).write_bytes((reviews / name).read_bytes())
    config = tmp_path / "tiny.yaml"
    config.write_text(dump_config(text_spec(tiny_bert, data, tmp_path / "r", epochs=1)))
    early = run_cli("finetune", config, "--locked")
    assert early.returncode == 2
    assert "there is no lock file" in early.stderr

    done = run_cli("lock", config)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "tiny.lock").read_text())
    assert content["labels"] == ["negative", "positive"]
    assert set(content["files"]) == {"train.csv", "eval.csv"}
    assert len(content["weights"]["model"]) == 64
    pins = read_lock(config)

    # Another seed gives another head, but the same loaded weights.
    spec = load_config(config, ["train.seed=7"])
    results = run_training(spec, mode="new", reporter=Silent(), pins=pins)
    again = evaluation(tmp_path / "r", pins=pins)
    assert again["metrics"] == pytest.approx(results.metrics)
    done = run_cli("eval", tmp_path / "r", "--locked")  # by the pins that the run keeps
    assert done.returncode == 0, done.stderr
    (tmp_path / "r" / "config.lock").unlink()
    refused = run_cli("eval", tmp_path / "r", "--locked")
    assert refused.returncode == 2
    assert "not started with --locked" in refused.stderr

    (data / "train.csv").write_text((data / "train.csv").read_text() + "the film was good,positive\n")
    refused = run_cli("finetune", config, "--locked", "--output", tmp_path / "second")
    assert refused.returncode == 2, refused.stderr
    assert "files.train.csv: " in refused.stderr
    assert "data.train: " in refused.stderr
    assert not (tmp_path / "second").exists()


def test_15_01_a_config_is_not_replaced_by_its_own_lock_file(tmp_path):
    config = tmp_path / "run.lock"
    config.write_text("version: 1\n")
    with pytest.raises(ConfigError, match="named as its own lock file"):
        require_lock_place(config)


@pytest.mark.parametrize("content", ["# somebody's\n[[package]]\n", "[]", '{"a": 1}', "\0", "[" * 5000])
def test_15_01_a_lock_file_of_another_program_stays(tmp_path, content):
    (tmp_path / "poetry.lock").write_text(content)
    with pytest.raises(ConfigError, match="what ptm did not write"):
        require_lock_place(tmp_path / "poetry.yaml")


def test_15_01_an_earlier_lock_file_may_be_replaced(tmp_path):
    config = tmp_path / "run.yaml"
    require_lock_place(config)
    write_lock(config, PINS)
    require_lock_place(config)
