"""Texts with any number of labels, and with a number: losses, saved models, models trained for something else."""

import json

import numpy as np
import pytest
import torch

from helpers import run
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.data.examples import Examples
from ptm.errors import ModelError
from ptm.text import classification
from tiny import prepare

KINDS = ["text-classification-multilabel", "text-classification-regression"]


@pytest.fixture(params=KINDS)
def world(request, tmp_path):
    config = prepare(request.param, tmp_path)
    return lambda *changes: load_config(config, [f"output={tmp_path / 'r'}", *changes])


def build(spec, model=None, complete=False):
    data = classification.load_data(spec)
    return classification.build(spec, data, model=model or spec.model.ref(), complete=complete)


def logits(pipeline, ids):
    pipeline.model.eval()
    (batch,) = pipeline.batches("eval", [np.array(ids)], 0)
    with torch.no_grad():
        return batch, pipeline.forward(pipeline.model, batch)


@pytest.mark.slow
def test_a_stranger_gets_the_same_scores(world, tmp_path):
    from transformers import pipeline as stranger

    spec = world()
    run(spec)
    rows = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()][:6]
    theirs = stranger("text-classification", str(tmp_path / "r" / "model"), device="cpu", top_k=None)
    for row, answer in zip(rows, theirs([row["input"] for row in rows]), strict=True):
        if spec.data.label_type == "number":
            assert answer[0]["score"] == pytest.approx(row["prediction"], abs=1e-4)
        else:
            assert {a["label"]: a["score"] for a in answer} == pytest.approx(row["scores"], abs=1e-4)
            assert row["prediction"] == [name for name, score in row["scores"].items() if score >= 0.5]
    kinds = {"classes": "multi_label_classification", "number": "regression"}
    config = json.loads((tmp_path / "r" / "model" / "config.json").read_text())
    assert config["problem_type"] == kinds[spec.data.label_type]


def test_the_loss_is_that_of_transformers(world):
    pipeline = build(world())
    batch, output = logits(pipeline, [0, 1, 2])
    with torch.no_grad():
        labels = batch.targets.float() if batch.targets.is_floating_point() else batch.targets
        theirs = pipeline.model(**batch.inputs, labels=labels).loss  # by problem_type, the mean over examples
    torch.testing.assert_close(output.loss_sum, 3 * theirs)
    assert output.count == 3


def test_without_targets_it_computes_all_the_same(world):
    pipeline = build(world())
    texts = [pipeline.example("eval", i)["text"] for i in range(3)]
    other = pipeline.with_examples(Examples({"text": texts}, None, str))
    batch, output = logits(other, [0, 1, 2])
    assert batch.targets is None
    assert output.loss_sum == 0
    torch.testing.assert_close(output.logits, logits(pipeline, [0, 1, 2])[1].logits)
    metrics = other.new_metrics()
    metrics.update(batch, output)
    assert [row["id"] for row in metrics.predictions()] == [0, 1, 2]


def test_outputs_that_were_trained_for_something_else_are_refused(world, tmp_path):
    spec = world()
    pipeline = build(spec)
    folder = tmp_path / "m"
    folder.mkdir()
    pipeline.save_model(folder)
    path = folder / "config.json"
    number = spec.data.label_type == "number"
    foreign = "multi_label_classification" if number else "single_label_classification"
    content = json.loads(path.read_text()) | {"problem_type": foreign}
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"its outputs are those of {foreign}"):
        build(spec, ModelRef(name=str(folder)), complete=True)
    build(spec, ModelRef(name=str(folder)))  # to train on from it is another matter


def test_a_classifier_can_be_trained_on_to_say_something_else(world, tmp_path):
    """Its encoder is kept, its output layer is new."""
    spec = load_config(prepare("text-classification", tmp_path), [f"output={tmp_path / 'r'}"])
    first = build(spec)
    folder = tmp_path / "m"
    folder.mkdir()
    first.save_model(folder)
    second = build(world(), ModelRef(name=str(folder)))
    assert set(second.load_report.new) == {"classifier.weight", "classifier.bias"}
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if not n.startswith("classifier."))


def test_a_number_has_one_output(tmp_path):
    config = prepare(KINDS[1], tmp_path)
    spec = load_config(config, [f"output={tmp_path / 'r'}"])
    pipeline = build(spec)
    assert pipeline.labels == ()
    assert logits(pipeline, [0, 1])[1].logits.shape == (2, 1)
    folder = tmp_path / "m"
    folder.mkdir()
    many = load_config(prepare(KINDS[0], tmp_path), [f"output={tmp_path / 'r'}"])
    other = build(many)
    other.model.config.problem_type = None
    other.save_model(folder)
    with pytest.raises(ModelError, match="the model has 3 outputs, a number is predicted by one"):
        build(spec, ModelRef(name=str(folder)), complete=True)


@pytest.mark.slow
def test_the_report_of_such_a_run_shows_metrics_and_no_classes(world, tmp_path):
    run(world("train.epochs=1"))
    page = (tmp_path / "r" / "report.html").read_text()
    metric = "auroc_macro" if "multilabel" in str(world().model.name) else "spearman"
    assert metric in page
    assert "left out" not in page
