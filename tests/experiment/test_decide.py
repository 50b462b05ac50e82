"""Decisions of a run: fitted on eval alone, saved, and used by eval, predict, export and expectations."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk
from typer.testing import CliRunner

from helpers import Saying, StopAt, evaluation, export_of, image_spec, run, text_spec, weights
from ptm.cli.app import app
from ptm.config.spec import DecisionsSpec
from ptm.errors import ConfigError, DataError, Interrupted, ModelError
from ptm.experiment.decide import require_decidable
from ptm.experiment.predict import run_prediction
from ptm.experiment.rejection import least_in_set
from ptm.experiment.trained import Trained
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
    exported, own = dict(evaluation(export)["test"]["metrics"]), dict(results["test"]["metrics"])
    # Texts with the same words have the same score, and rounding decides which of them comes first.
    scores = {
        label: np.array([row["scores"]["positive"] for row in written if row["label"] == label])
        for label in ("positive", "negative")
    }
    ties = np.abs(scores["positive"][:, None] - scores["negative"]) < 2e-6
    assert exported.pop("auroc") == pytest.approx(own.pop("auroc"), abs=1e-6 + ties.mean())
    assert exported == pytest.approx(own, abs=1e-3)
    both = []
    for target in (path, export):
        run_prediction(
            target, [data / "test.csv"], output=tmp_path / "p.csv", coverage=0.9, reporter=Saying()
        )
        table = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
        both.append([json.loads(r["prediction_set"]) for r in table])
    assert both[0] == both[1] and {"negative", "positive"} in [set(each) for each in both[0]]
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


def told_of_sets(path, predictions="test_predictions.jsonl"):
    """Coverage → (probability of at least, realised, mean size), from the predictions of a run alone."""
    p = np.sort([r["scores"][r["label"]] for r in rows_of(path / "predictions.jsonl")])[::-1]
    found = {}
    for coverage in (0.8, 0.9, 0.95):
        least = p[int(np.ceil((len(p) + 1) * coverage - 1e-9)) - 1] * (1 - 2e-5)
        rows = rows_of(path / predictions)
        sets = [{n for n, s in r["scores"].items() if s >= least} | {r["prediction"]} for r in rows]
        held = np.mean([r["label"] in each for r, each in zip(rows, sets, strict=True)])
        found[coverage] = (least, held, np.mean([len(each) for each in sets]))
    return found


@pytest.mark.slow
def test_11_02_prediction_sets_go_by_eval_alone_and_are_measured_on_the_test(made, data, tmp_path):
    path, results, _, _ = made
    told = {r["coverage"]: r for r in results["prediction_sets"]["sets"]}
    expected = told_of_sets(path)
    assert set(told) == set(expected) and results["prediction_sets"]["examples"] == 64  # 0.99 takes 99
    for coverage, (least, realised, size) in expected.items():
        row = told[coverage]
        assert (row["least"], row["split"]) == (pytest.approx(least, rel=2e-5), "test")
        assert (row["realised"], row["mean_size"]) == pytest.approx((realised, size))
    page = (path / "report.html").read_text()
    assert (
        "Prediction sets" in page
        and f"{expected[0.9][2]:.2f}</td>" in page
        and "measured on <code>test</code>" in page
    )
    out = CliRunner().invoke(app, ["predict", str(path), str(data / "test.csv"), "--coverage", "0.9", "-q"])
    assert out.exit_code == 0, out.output
    least = expected[0.9][0]
    for row in map(json.loads, out.stdout.splitlines()):
        wanted = {n for n, s in row["scores"].items() if s >= least} | {row["prediction"]}
        assert set(row["prediction_set"]) == wanted


@pytest.mark.slow
def test_11_02_prediction_sets_of_images_and_what_has_none(tmp_path, made, data):
    spec = image_spec(tmp_path / "r", epochs=1, max_eval_examples=40)
    results = run(spec)
    expected = told_of_sets(tmp_path / "r", "predictions.jsonl")
    told = {r["coverage"]: r for r in results["prediction_sets"]["sets"]}
    assert {c: (r["realised"], r["mean_size"]) for c, r in told.items()} == {
        c: pytest.approx(e[1:]) for c, e in expected.items()
    }
    assert all(row["realised"] >= c and row["split"] == "eval" for c, row in told.items())
    picture = tmp_path / "a.png"
    Image.new("L", (8, 8), 90).save(picture)
    ask = ["predict", str(tmp_path / "r"), str(picture), "-q", "--coverage"]
    out = CliRunner().invoke(app, [*ask, "0.95"])
    assert out.exit_code == 0, out.output
    row = json.loads(out.stdout)
    wanted = {n for n, s in row["scores"].items() if s >= expected[0.95][0]} | {row["prediction"]}
    assert set(row["prediction_set"]) == wanted
    refused = CliRunner().invoke(app, [*ask, "0.99"])
    assert "at least 99 examples in data.eval" in str(refused.exception)
    refused = CliRunner().invoke(app, [*ask, "1"])
    assert "between 0 and 1" in str(refused.exception)
    (tmp_path / "r/model/conformal.json").unlink()
    with pytest.raises(ModelError):  # a model that lost a file is damaged
        run_prediction(tmp_path / "r", [picture], coverage=0.9, reporter=Saying())


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


def test_11_02_what_has_no_prediction_sets_is_refused_by_name(tiny_bert, data, tmp_path):
    spec = text_spec(tiny_bert, data, tmp_path / "r")
    target = Trained(tmp_path, spec, spec.model)
    with pytest.raises(ConfigError, match="saved without what its evaluation split says"):
        least_in_set(target, 0.9)
    for changed in (
        replace(spec, data=replace(spec.data, label_type="classes")),
        replace(spec, task="translation"),
    ):
        with pytest.raises(ConfigError, match=r"--coverage: .* has no single answer"):
            least_in_set(replace(target, spec=changed), 0.9)


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
