"""Decisions of a run: fitted on eval alone, saved, and used by eval, predict, export and expectations."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from helpers import Saying, StopAt, evaluation, export_of, run, text_spec, weights
from ptm.config.spec import DecisionsSpec
from ptm.errors import ConfigError, DataError, Interrupted
from ptm.experiment.decide import require_decidable
from ptm.experiment.predict import run_prediction
from tiny.samples import sentences, write_csv

BOTH = DecisionsSpec(temperature=True, thresholds="one", metric="accuracy")


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A quarter of the labels of ``eval`` and ``test`` are turned around, so that no model is sure with reason."""
    folder = tmp_path_factory.mktemp("noisy")
    for name, count, seed in (("train", 64, 1), ("eval", 64, 2), ("test", 64, 3)):
        rows = sentences(count, seed)
        turned = [
            (
                t,
                {"positive": "negative", "negative": "positive"}[label]
                if i % 4 == 0 and name != "train"
                else label,
            )
            for i, (t, label) in enumerate(rows)
        ]
        write_csv(folder / f"{name}.csv", turned)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_bert, data):
    folder = tmp_path_factory.mktemp("decided")
    spec = text_spec(
        tiny_bert,
        data,
        folder / "r",
        epochs=12,
        learning_rate=5e-3,
        eval_every_steps=96,
        test="test.csv",
        decisions=BOTH,
        expect={"loss": "< 0.65"},
    )
    said = Saying()
    return folder / "r", run(spec, reporter=said), spec, said.lines


@pytest.mark.slow
def test_11_02_a_run_is_measured_with_what_was_fitted_on_eval_alone(made, tiny_bert, data, tmp_path):
    _, results, spec, said = made
    plain = run(replace(spec, decisions=None, output=str(tmp_path / "plain"), expect={}))
    decided = results["decisions"]
    assert any(line.startswith("decisions, fitted on eval: temperature ") for line in said)
    assert decided["fitted"]["split"] == "eval" and decided["fitted"]["examples"] == 64
    assert decided["temperature"] > 1.2  # it was too sure
    assert results["metrics"]["loss"] == pytest.approx(decided["fitted"]["loss"]["after"], rel=1e-5)
    assert plain["metrics"]["loss"] == pytest.approx(decided["fitted"]["loss"]["before"], rel=1e-5)
    assert results["test"]["metrics"]["loss"] < plain["test"]["metrics"]["loss"]
    assert results["expect"][0]["value"] == pytest.approx(results["test"]["metrics"]["loss"])


@pytest.mark.slow
def test_11_02_eval_predict_and_export_answer_as_the_run_did(made, data, tmp_path, monkeypatch):
    path, results, _, _ = made
    again = evaluation(path)
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    assert again["test"]["metrics"] == pytest.approx(results["test"]["metrics"], abs=1e-6)
    written = rows_of(path / "test_predictions.jsonl")
    run_prediction(path, [data / "test.csv"], output=tmp_path / "p.jsonl", reporter=Saying())
    predicted = rows_of(tmp_path / "p.jsonl")
    for ours, theirs in zip(predicted, written, strict=True):
        assert ours["scores"] == pytest.approx(theirs["scores"], rel=1e-4)
    threshold = results["decisions"]["thresholds"]["positive"]
    for row in written:
        score = row["scores"]["positive"]  # of six digits
        assert (row["prediction"] == "positive") == (score >= threshold) or abs(score - threshold) < 1e-5
    truth = [r["label"] for r in written]
    accuracy = sk.accuracy_score(truth, [r["prediction"] for r in written])
    assert accuracy == pytest.approx(results["test"]["metrics"]["accuracy"])
    export = export_of(path, tmp_path / "onnx")
    assert evaluation(export)["test"]["metrics"] == pytest.approx(results["test"]["metrics"], abs=1e-3)
    texts = [r["input"] for r in written[:8]]
    done = subprocess.run(
        [sys.executable, str(export / "predict.py"), *texts], capture_output=True, text=True, check=True
    )
    for line, row in zip(done.stdout.splitlines(), written, strict=False):
        answer = json.loads(line)
        near = abs(row["scores"]["positive"] - threshold) < 1e-4
        assert answer["prediction"] == row["prediction"] or near
        assert answer["scores"] == pytest.approx(row["scores"], abs=1e-4)


@pytest.mark.slow
def test_11_02_a_resumed_run_with_another_test_decides_the_same(made, data, tmp_path):
    """Stopped before its last step; nothing of the test examples goes into what is fitted."""
    path, results, spec, _ = made
    (data / "test2.csv").write_text("".join((data / "test.csv").read_text().splitlines(True)[:40]))
    data_spec = replace(spec.data, test="test2.csv")
    other = replace(spec, data=data_spec, output=str(tmp_path / "r"), expect={})
    with pytest.raises(Interrupted):
        run(other, reporter=StopAt(95))
    assert run(other, mode="resume")["decisions"] == results["decisions"]
    assert (tmp_path / "r/model/decisions.json").read_bytes() == (path / "model/decisions.json").read_bytes()
    assert weights(tmp_path / "r") == weights(path)


@pytest.mark.slow
def test_11_02_unsure_answers_are_kept_back(made, data, tmp_path):
    path = made[0]
    told = run_prediction(
        path, [data / "test.csv"], output=tmp_path / "p.jsonl", reject_below=0.7, reporter=Saying()
    )
    rows = rows_of(tmp_path / "p.jsonl")
    written = rows_of(path / "test_predictions.jsonl")
    for row, plain in zip(rows, written, strict=True):
        unsure = plain["scores"][plain["prediction"]] < 0.7
        assert row["prediction"] == (None if unsure else plain["prediction"])
        assert set(row["scores"]) == {"negative", "positive"}
    kept_back = sum(row["prediction"] is None for row in rows)
    assert told["rejected"] == kept_back and 0 < kept_back < 64
    run_prediction(path, [data / "test.csv"], output=tmp_path / "p.csv", reject_below=0.7, reporter=Saying())
    assert sum(",," in line for line in (tmp_path / "p.csv").read_text().splitlines()) == kept_back


@pytest.mark.slow
def test_11_02_the_report_has_the_curve_of_coverage_and_accuracy(made):
    page = (made[0] / "report.html").read_text()
    assert "Coverage and accuracy" in page and "share answered" in page


def test_11_02_what_has_no_single_answer_keeps_none_back(tiny_bert, data, tmp_path):
    from ptm.experiment.rejection import require_rejectable

    spec = text_spec(tiny_bert, data, tmp_path / "r")
    require_rejectable(spec)
    for kind in ("classes", "number"):
        with pytest.raises(ConfigError, match=f"label_type: {kind} has no single answer"):
            require_rejectable(replace(spec, data=replace(spec.data, label_type=kind)))
    with pytest.raises(ConfigError, match="causal-lm has no single answer"):
        require_rejectable(replace(spec, task="causal-lm"))


def test_11_02_thresholds_of_three_classes_are_refused_where_the_data_have_them(tiny_bert, data, tmp_path):
    spec = text_spec(tiny_bert, data, tmp_path / "r", decisions=BOTH)
    require_decidable(spec, ("a", "b"))
    with pytest.raises(DataError, match="there are 3 labels"):
        require_decidable(spec, ("a", "b", "c"))


def test_11_02_the_curve_of_coverage_by_hand():
    from ptm.report.scores import coverage

    curve = coverage(np.array([0.9, 0.6, 0.8, 0.8]), np.array([True, False, True, False]))
    assert curve.covered.tolist() == [0.25, 0.75, 1.0]
    assert curve.accuracy.tolist() == pytest.approx([1, 2 / 3, 0.5])
    assert curve.least.tolist() == [0.9, 0.8, 0.6]
    assert curve.at(0.5) == pytest.approx((0.75, 2 / 3, 0.8))
    assert curve.at(1)[0] == 1
