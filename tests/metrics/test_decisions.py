"""Temperature and thresholds: against a search by hand, and what a model that has them answers."""

import json

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn import functional as F

from ptm.config.spec import DecisionsSpec
from ptm.errors import ModelError
from ptm.metrics.decisions import (
    RATES,
    Decisions,
    best_threshold,
    fit_decisions,
    fit_temperature,
    read_decisions,
    stored_decisions,
)
from ptm.metrics.label_types import new_metrics, supervised_loss
from ptm.pipeline import Batch, Output


def drawn(n=400, classes=2, seed=0, several=False):
    """Logits that are three times as sure as they should be, and targets drawn by what they should say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    if several:
        targets = (rng.random((n, classes)) < 1 / (1 + np.exp(-logits + 1))).astype(np.float32)
    else:
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        targets = np.array([rng.choice(classes, p=row / row.sum()) for row in p])
    return 3 * logits, targets


def test_11_02_the_temperature_undoes_what_logits_were_multiplied_by():
    for label_type, several in (("class", False), ("classes", True)):
        logits, targets = drawn(4000, 4, several=several)
        found = fit_temperature(logits, targets, label_type)
        losses = {
            t: float(supervised_loss(torch.from_numpy(logits / t), torch.from_numpy(targets), label_type))
            for t in (found, *np.linspace(0.5, 8, 76))
        }
        assert min(losses, key=losses.get) == found
    assert fit_temperature(*drawn(4000, 4), "class") == pytest.approx(3, rel=0.1)


def test_11_02_right_answers_alone_give_a_low_temperature_not_an_endless_search():
    logits = np.array([[5.0, 0.0], [0.0, 5.0]], dtype=np.float32)
    assert 0.04 < fit_temperature(logits, np.array([0, 1]), "class") < 0.2


SCIKIT = {
    "f1": lambda t, p: sk.f1_score(t, p, zero_division=0),
    "f1_macro": lambda t, p: sk.f1_score(t, p, average="macro", zero_division=0),
    "accuracy": sk.accuracy_score,
    "recall_macro": sk.balanced_accuracy_score,
    "mcc": sk.matthews_corrcoef,
}


@pytest.mark.parametrize("metric", SCIKIT)
def test_11_02_a_threshold_is_the_best_of_all_places_to_cut(metric):
    rng = np.random.default_rng(3)
    for _ in range(2):
        probabilities = rng.random(60).round(1 if _ % 2 else 3)  # with and without equal ones
        truth = rng.random(60) < probabilities / 2
        best = best_threshold(probabilities, truth, RATES[metric])
        reached = SCIKIT[metric](truth, probabilities >= best)
        everywhere = [SCIKIT[metric](truth, probabilities >= cut) for cut in np.linspace(1e-4, 1, 101)]
        assert reached == pytest.approx(max(everywhere))
        assert not np.isin(best, probabilities)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "recall_macro", "mcc"])
def test_11_02_that_none_applies_is_a_threshold_too(metric):
    """A threshold of the highest probability at most was worse than 0.5 where it is best that none applies."""
    probabilities = np.array([0.1, 0.2, 0.3, 0.4, 0.45])
    truth = np.array([True, False, False, False, False])
    best = best_threshold(probabilities, truth, RATES[metric])
    assert 0.45 < best < 1
    assert SCIKIT[metric](truth, probabilities >= best) == pytest.approx(
        max(SCIKIT[metric](truth, probabilities >= cut) for cut in (0, 0.15, 0.25, 0.35, 0.42, 0.5))
    )
    certain = np.array([1.0, 1.0])  # above which nothing is
    assert best_threshold(certain, np.array([False, False]), RATES[metric]) <= 1


def test_11_02_among_equal_thresholds_the_nearest_to_a_half():
    truth = np.array([True, True, False, False])
    assert best_threshold(np.array([0.9, 0.8, 0.2, 0.1]), truth, RATES["f1"]) == 0.5


def evaluated(logits, targets, label_type, decisions=None, labels=None, positive=None):
    labels = labels or tuple("abcdefgh"[: logits.shape[1]])
    metrics = new_metrics(labels, label_type, positive, decisions.thresholds if decisions else {})
    ids = np.arange(len(logits))
    known = torch.from_numpy(targets)
    output = Output(
        loss_sum=supervised_loss(torch.from_numpy(logits), known, label_type),
        count=len(ids),
        logits=torch.from_numpy(logits),
    )
    batch = Batch(ids=ids, inputs={}, targets=known)
    metrics.update(batch, decisions.applied(output, batch, label_type) if decisions else output)
    return metrics


@pytest.mark.parametrize("positive", [None, "a"])
def test_11_02_metrics_of_decided_answers_are_those_of_scikit_learn(positive):
    logits, targets = drawn(300)
    targets[:150] = 0
    spec = DecisionsSpec(temperature=True, thresholds="one")
    decisions = fit_decisions(spec, logits, targets, ("a", "b"), "class", positive)
    assert set(decisions.thresholds) == {positive or "b"}
    metrics = evaluated(logits, targets, "class", decisions, positive=positive)
    values, plain = metrics.compute(), evaluated(logits, targets, "class", positive=positive).compute()
    number = 0 if positive else 1
    p = torch.softmax(torch.from_numpy(logits).double() / decisions.temperature, -1)[:, number].numpy()
    predicted = np.where(p >= decisions.thresholds[positive or "b"], number, 1 - number)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert values["f1"] == pytest.approx(sk.f1_score(targets, predicted, pos_label=number))
    loss = F.cross_entropy(
        torch.from_numpy(logits).double() / decisions.temperature, torch.from_numpy(targets)
    )
    assert values["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert values["loss"] < plain["loss"] and values["f1"] > plain["f1"]
    assert values["auroc"] == pytest.approx(plain["auroc"])
    assert decisions.fitted["f1"]["after"] == pytest.approx(values["f1"])
    assert decisions.fitted["loss"]["after"] == pytest.approx(values["loss"], rel=1e-5)
    rows = list(metrics.predictions())
    assert [("a", "b").index(row["prediction"]) for row in rows] == predicted.tolist()
    assert rows[0]["scores"]["ab"[number]] == pytest.approx(p[0], rel=1e-4)
    halves = [metrics.subset(np.arange(150)), metrics.subset(np.arange(150, 300))]
    assert halves[0].merge(halves[1:]).compute()["f1"] == pytest.approx(values["f1"])


@pytest.mark.parametrize("thresholds", ["one", "each"])
def test_11_02_several_labels_one_threshold_or_one_each(thresholds):
    logits, targets = drawn(400, 3, several=True)
    targets[:, 2] = 0  # one that no example has
    spec = DecisionsSpec(thresholds=thresholds)
    decisions = fit_decisions(spec, logits, targets, ("a", "b", "c"), "classes", None)
    assert decisions.temperature == 1 and list(decisions.thresholds) == ["a", "b", "c"]
    assert (len(set(decisions.thresholds.values())) == 1) == (thresholds == "one")
    metrics = evaluated(logits, targets, "classes", decisions)
    values, plain = metrics.compute(), evaluated(logits, targets, "classes").compute()
    p = torch.sigmoid(torch.from_numpy(logits).double()).numpy()
    applies = p >= np.array(list(decisions.thresholds.values()))
    f1 = sk.f1_score(targets, applies, average="micro")
    assert values["f1_micro"] == pytest.approx(f1) == pytest.approx(decisions.fitted["f1"]["after"])
    assert values["f1_micro"] > plain["f1_micro"]
    assert [row["prediction"] for row in metrics.predictions()] == [
        [name for name, yes in zip("abc", row, strict=True) if yes] for row in applies
    ]


def test_11_02_what_is_written_is_read_and_what_is_not_ptms_is_refused(tmp_path):
    decisions = Decisions(1.5, {"b": 0.3125}, {"split": "eval", "examples": 10})
    decisions.write(tmp_path)
    assert read_decisions(tmp_path, ("a", "b")) == decisions
    assert stored_decisions(str(tmp_path.parent), ("a", "b")) is None
    assert stored_decisions(str(tmp_path), ("a", "b")) == decisions
    assert stored_decisions("bert-base-uncased", ("a", "b")) is None
    with pytest.raises(ModelError, match="threshold for 'b'"):
        read_decisions(tmp_path, ("x", "y"))
    stored = json.loads((tmp_path / "decisions.json").read_text())
    for change in (
        {"temperature": 0},
        {"temperature": None},
        {"thresholds": {"b": 2}},
        {"format": 9},
        {"thresholds": 3},
    ):
        (tmp_path / "decisions.json").write_text(json.dumps(stored | change))
        with pytest.raises(ModelError, match=r"decisions\.json"):
            read_decisions(tmp_path, ("a", "b"))


@pytest.mark.parametrize("temperature", ["9" * 400, "1e-300", "1e300", '"1e999"', "-1"])
def test_15_17_a_temperature_of_no_use_is_one_message(tmp_path, temperature):
    text = f'{{"format": 1, "temperature": {temperature}, "thresholds": {{}}, "fitted": {{}}}}'
    (tmp_path / "decisions.json").write_text(text)
    with pytest.raises(ModelError, match=r"decisions\.json"):
        read_decisions(tmp_path, ("a", "b"))


def test_15_15_decisions_without_end_are_not_read(tmp_path):
    with (tmp_path / "decisions.json").open("wb") as file:
        file.truncate(10**11)
    with pytest.raises(ModelError, match="larger than"):
        read_decisions(tmp_path, ("a", "b"))
