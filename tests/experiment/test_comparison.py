"""What of a run can be compared example by example: through whole runs, for every task that has a teacher."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tiny
from helpers import run
from ptm.base.console import Silent
from ptm.config.load import dump_config, load_config
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError, RunDirectoryError
from ptm.experiment.comparison import MEASURES, measure_of, same_examples, scores_of
from ptm.experiment.control import run_with_control
from ptm.experiment.scorecard import measure_scorecard
from ptm.run.manifest import write_manifest
from ptm.run.predictions import read_predictions
from records import RECORD

CONFIGS = (
    "image-classification-multilabel",
    "text-classification-regression",
    "token-classification",
    "question-answering",
    "masked-lm",
    "causal-lm",
    "semantic-segmentation",
)


@pytest.fixture(params=CONFIGS)
def spec(request, tmp_path, monkeypatch):
    """A distillation with its control, a step each; its teacher is a run of the same config."""
    from ptm.experiment import scorecard

    monkeypatch.setattr(scorecard, "REPEATS", 2)
    monkeypatch.setattr(scorecard, "SECONDS", 0.0)
    config = tiny.prepare(request.param, tmp_path)
    run(load_config(config, [f"output={tmp_path / 'teacher'}"]))
    changes = [f"teacher.name={tmp_path / 'teacher'}", f"output={tmp_path / 'r'}", "train.epochs=1"]
    return load_config(config, [*changes, "distill.audit=off", "distill.control=true"])


@pytest.mark.slow
def test_verdict_and_scorecard_speak_of_the_metric_that_the_runs_measured(spec, tmp_path):
    verdict = run_with_control(spec, [1, 2], mode="new", reporter=Silent())
    labels = json.loads((tmp_path / "teacher" / "results.json").read_bytes())["labels"]
    measure = measure_of(spec, labels)
    by_parts = spec.task in ("token-classification", "question-answering")  # 10.30: by entities
    assert (measure.metric == "f1") == by_parts
    assert verdict["metric"] == measure.metric
    measured = {}
    for row in verdict["seeds"]:
        for arm in ("distilled", "control"):
            results = json.loads((tmp_path / "r" / f"{arm}-{row['seed']}" / "results.json").read_bytes())
            measured[arm] = results["metrics"][measure.metric]
            assert row[arm] == pytest.approx(measured[arm], rel=1e-5, abs=1e-9)
    assert verdict["sentence"].startswith(("+", "-", "loss", "mean squared error"))
    assert 0 < verdict["p"] <= 1

    card = measure_scorecard(tmp_path / "r" / "distilled-2", Silent())
    models = card["models"]
    assert card["metric"] == measure.metric
    assert models["student distilled"]["value"] == pytest.approx(measured["distilled"], rel=1e-5, abs=1e-9)
    assert models["student alone"]["value"] == pytest.approx(measured["control"], rel=1e-5, abs=1e-9)
    teacher = json.loads((tmp_path / "teacher" / "results.json").read_bytes())["metrics"][measure.metric]
    assert models["teacher"]["value"] == pytest.approx(teacher, rel=1e-5, abs=1e-9)
    for key, compared in (("agreement", measure.agreement), ("correlation", measure.correlation)):
        assert (key in models["teacher"]) == (compared is not None)
        if compared is not None:
            assert models["teacher"][key] == pytest.approx(1)
            assert -1 <= models["student alone"][key] <= 1


def test_every_task_with_a_teacher_has_a_measure(tiny_bert, reviews, tmp_path):
    from helpers import text_spec

    spec = text_spec(tiny_bert, reviews, tmp_path)
    for task in (name for name, task in TASKS.items() if task.distillable):
        assert measure_of(replace(spec, task=task)).metric
    with pytest.raises(ConfigError, match="predictions of translation are not compared"):
        measure_of(replace(spec, task="translation"))


def test_words_and_tokens_weigh_what_they_are():
    rows = {
        0: {"tags": ["O", "B-X", "O"], "predicted_tags": ["O", "O", "O"]},
        1: {"tags": ["B-X"], "predicted_tags": ["B-X"]},
    }
    scores, counts = scores_of(MEASURES["words"], rows, [0, 1])
    assert scores.sum() / counts.sum() == 3 / 4
    lines = {0: {"loss": 2.0, "tokens": 3, "right": 1}, 1: {"loss": 1.0, "tokens": 1, "right": 1}}
    scores, counts = scores_of(MEASURES["tokens"], lines, [0, 1])
    assert scores.sum() / counts.sum() == 7 / 4


def test_10_30_words_that_name_entities_are_compared_by_their_f1(tiny_bert, reviews, tmp_path):
    from helpers import text_spec

    spec = replace(text_spec(tiny_bert, reviews, tmp_path), task="token-classification")
    measure = measure_of(spec, ("O", "B-X", "I-X"))
    rows = {
        0: {"tags": ["O", "B-X", "I-X"], "predicted_tags": ["O", "O", "O"]},
        1: {"tags": ["B-X", "O"], "predicted_tags": ["B-X", "B-X"]},
    }
    scores, counts = scores_of(measure, rows, [0, 1])
    assert scores.sum() / counts.sum() == pytest.approx(2 * 1 / (2 + 2))  # 1 right, 2 there, 2 said
    same = [{"predicted_tags": ["B-X", "I-X"]}]
    assert measure.agreement(same, same) == 1
    assert measure.agreement(same, [{"predicted_tags": ["B-X", "O"]}]) == 0
    assert measure_of(spec, ("NOUN", "VERB")).metric == "accuracy"


def test_arms_that_were_evaluated_on_other_examples_are_refused(tmp_path):
    from ptm.experiment.control import read_verdict

    config = tiny.prepare("token-classification", tmp_path)
    spec = load_config(config, [f"output={tmp_path / 'r'}"])
    for arm, words in (("distilled", 2), ("control", 3)):
        (tmp_path / "r" / f"{arm}-1").mkdir(parents=True)
        (tmp_path / "r" / f"{arm}-1" / "config.yaml").write_text(dump_config(spec))
        write_manifest(tmp_path / "r" / f"{arm}-1" / "manifest.json", RECORD)
        row = {"id": 0, "tags": ["O"] * words, "predicted_tags": ["O"] * words}
        (tmp_path / "r" / f"{arm}-1" / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunDirectoryError, match="evaluated on different examples"):
        read_verdict(spec, [1])
    rows = read_predictions(tmp_path / "r" / "control-1" / "predictions.jsonl")
    assert list(rows) == [0]
    assert np.isfinite(scores_of(measure_of(spec), rows, [0])[0]).all()


@pytest.mark.parametrize("key", ["input", "label", "tags", "answers", "target", "target_masks"])
def test_15_08_examples_with_other_right_answers_are_others(key):
    row = {"id": 0, "prediction": "a", key: ["x"]}
    assert same_examples({0: row}, {0: {**row, "prediction": "b", "scores": {}}})
    assert not same_examples({0: row}, {0: {**row, key: ["y"]}})
    assert not same_examples({0: row}, {0: row, 1: row}) and not same_examples({0: row}, {1: row})
