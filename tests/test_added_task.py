"""A task that is added as docs/adding_a_task.md says, here while the tests run, is a task like any other."""

import json

import pytest

import vowels
from helpers import StopAt, evaluation, last_state, run, weights
from ptm.base.console import Silent
from ptm.config.load import dump_config, json_schema, load_config
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError, Interrupted
from ptm.experiment.predict import run_prediction
from tiny.samples import sentences, write_csv

pytestmark = pytest.mark.slow  # each trains

CONFIG = """
version: 1
task: vowel-counting
model: {name: letters, weights: none}
data: {source: csv:data, train: train.csv, eval: eval.csv}
train: {epochs: 6, batch_size: 8, learning_rate: 0.05, save_every_steps: 5, seed: 1}
best: {metric: mean_absolute_error, mode: min}
expect: {mean_absolute_error: "< 1.5"}
runtime: {device: cpu, threads: 1}
output: r
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "vowel-counting", vowels.TASK)
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data" / "train.csv", sentences(64, 1))
    write_csv(tmp_path / "data" / "eval.csv", sentences(32, 2))
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path / "run.yaml"


def load(config, *changes, output="r"):
    return load_config(config, [*changes, f"output={config.parent / output}"])


def test_it_trains_is_resumed_evaluated_and_predicts(config, tmp_path):
    results = run(load(config))
    assert results["expect"] == [results["expect"][0] | {"metric": "mean_absolute_error", "met": True}]
    assert evaluation(tmp_path / "r")["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    with pytest.raises(Interrupted):
        run(load(config, output="parts"), reporter=StopAt(7))
    run(load(config, output="parts"), mode="resume")
    assert last_state(tmp_path / "parts") == last_state(tmp_path / "r")
    assert weights(tmp_path / "parts") == weights(tmp_path / "r")
    output = tmp_path / "p.jsonl"
    run_prediction(tmp_path / "r", [], texts=["aeiou", "xyz"], output=output, reporter=Silent())
    many, few = (json.loads(line)["prediction"] for line in output.read_text().splitlines())
    assert many > few
    assert "ptm finetune config.yaml" in (tmp_path / "r" / "README.md").read_text()


def test_keys_of_texts_are_its_keys_and_others_are_refused_as_for_every_task(config):
    spec = load(config, "data.text=text")
    assert spec.descriptor is vowels.TASK
    assert load_config_of(spec, config) == spec
    refused = {
        "data.image_size=8": "data.image_size is for image tasks, this is vowel-counting",
        "data.text_pair=b": "data.text_pair is for text-classification and text-similarity, this is vowel-counting",
        "data.label_type=number": "data.label_type is for text-classification and text-similarity and image",
        "data.source=imagefolder:x": "imagefolder: holds images, this is vowel-counting",
        "teacher={name: x}": "vowel-counting cannot be distilled",
        "best.metric=accuracy": "there is no metric 'accuracy': one of loss, pearson",
        "task=vowel-count": "did you mean vowel-counting",
    }
    for change, message in refused.items():
        with pytest.raises(ConfigError, match=message):
            load(config, change)


def load_config_of(spec, config):
    saved = config.with_name("saved.yaml")
    saved.write_text(dump_config(spec))
    return load_config(saved)


def test_the_schema_has_it_while_it_is_there(config, monkeypatch):
    def tasks_of(section, key):
        return json_schema()["$defs"][section]["properties"][key]["x-tasks"]

    assert "vowel-counting" in json_schema()["properties"]["task"]["enum"]
    assert "vowel-counting" in tasks_of("DataSpec", "text")
    assert "vowel-counting" not in tasks_of("DataSpec", "augment")
    monkeypatch.delitem(TASKS, "vowel-counting")
    assert "vowel-counting" not in json_schema()["properties"]["task"]["enum"]
    with pytest.raises(ConfigError, match=r"(?s)task is .*vowel-counting.*one of text-class"):
        load(config)
