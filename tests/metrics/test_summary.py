"""What stands beside the metrics: constant answers against scikit-learn's, classes that are not there, what is told."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier, DummyRegressor

from ptm.metrics.classification import ClassificationMetrics
from ptm.metrics.multilabel import MultiLabelMetrics
from ptm.metrics.regression import NumberMetrics
from ptm.metrics.segmentation import SegmentationMetrics, Segmented
from ptm.metrics.summary import summary_of
from ptm.metrics.tagging import TaggedWords, TagMetrics
from ptm.pipeline import Batch, Output


def filled(metrics, targets, logits, predictions=None):
    ids = np.arange(len(logits if logits is not None else predictions))
    batch = Batch(ids=ids, inputs={}, targets=None if targets is None else torch.tensor(targets))
    scores = None if logits is None else torch.tensor(logits, dtype=torch.float32)
    metrics.update(
        batch, Output(loss_sum=torch.tensor(1.0), count=len(ids), logits=scores, predictions=predictions)
    )
    return metrics


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


def classes_of(targets, predicted, labels, **options):
    return filled(ClassificationMetrics(labels, **options), targets, one_hot(predicted, len(labels)))


def test_10_26_the_constant_class_is_scikit_learns():
    draw = np.random.default_rng(0)
    targets = draw.choice(4, 200, p=[0.5, 0.3, 0.15, 0.05])
    summary = classes_of(targets, draw.integers(0, 4, 200), ("a", "b", "c", "d")).summary()
    dummy = DummyClassifier(strategy="most_frequent").fit(targets, targets).predict(targets)
    assert summary.constant["accuracy"] == pytest.approx(sk.accuracy_score(targets, dummy))
    assert summary.constant["f1_macro"] == pytest.approx(sk.f1_score(targets, dummy, average="macro"))
    assert summary.constant["recall_macro"] == pytest.approx(sk.recall_score(targets, dummy, average="macro"))
    assert summary.constant["mcc"] == 0
    prior = DummyClassifier(strategy="prior").fit(targets, targets).predict_proba(targets)
    assert summary.constant["loss"] == pytest.approx(sk.log_loss(targets, prior))


def test_10_26_f1_of_always_positive():
    targets = np.array([1] * 133 + [0] * 67)
    summary = classes_of(targets, targets, ("no", "yes")).summary()
    assert summary.constant["f1"] == pytest.approx(sk.f1_score(targets, np.ones_like(targets)))
    assert summary.constant["f1"] == pytest.approx(0.7988, abs=1e-3)
    (line,) = (
        classes_of(targets, np.ones_like(targets) * 0, ("no", "yes"))
        .summary()
        .warnings({"accuracy": 0.9}, "accuracy")
    )
    assert "the same answer to every example: 'no'" in line


def test_10_26_constant_sets_of_labels():
    draw = np.random.default_rng(1)
    targets = (draw.random((300, 4)) < [0.5, 0.3, 0.1, 0.0]).astype(np.float32)
    summary = filled(MultiLabelMetrics(tuple("abcd")), targets, np.full((300, 4), -1.0)).summary()
    by_size = []
    order = np.argsort(-targets.sum(0))
    for size in range(1, 5):
        answer = np.zeros_like(targets)
        answer[:, order[:size]] = 1
        by_size.append(sk.f1_score(targets, answer, average="micro"))
    assert summary.constant["f1_micro"] == pytest.approx(max(by_size))
    everything = sk.f1_score(targets[:, :3], np.ones((300, 3)), average="macro")
    assert summary.constant["f1_macro"] == pytest.approx(everything)
    assert summary.answers == 0 and summary.absent == ("d",)
    assert "predicts nothing for any example" in summary.warnings({"f1_micro": 0.0}, "f1_micro")[0]
    assert "f1_micro is 0.0000" in summary.warnings({"f1_micro": 0.0}, "f1_micro")[1]


def test_10_26_the_mean_of_numbers():
    truth = np.array([1.0, 2.0, 4.0, 9.0], dtype=np.float32)
    summary = filled(NumberMetrics(), truth, np.full((4, 1), 3.5)).summary()
    mean = DummyRegressor().fit(truth, truth).predict(truth)
    assert summary.constant["mean_squared_error"] == pytest.approx(sk.mean_squared_error(truth, mean))
    assert summary.constant["mean_absolute_error"] == pytest.approx(sk.mean_absolute_error(truth, mean))
    assert summary.answers == 1 and summary.only == "3.5"


def test_10_26_one_tag_for_every_word_and_one_class_at_every_pixel():
    tagged = [("a b", [1, 0]), ("c d", [1, 1])]
    words = [
        TaggedWords(text, [0, 2], text.split(), np.array(tags), np.array([1, 1]), np.ones(2, np.float32))
        for text, tags in tagged
    ]
    summary = filled(TagMetrics(("B-X", "O")), None, None, words).summary()
    assert summary.constant["accuracy"] == 0.75 and summary.constant["f1"] == 0
    assert summary.answers == 1 and "'O' for every word" in summary.warnings({}, "f1")[0]
    image = Segmented(np.array([[0, 3], [0, 9]]), np.array([0, 12]), None)
    summary = filled(SegmentationMetrics(("cell", "other")), None, None, [image]).summary()
    assert summary.constant["pixel_accuracy"] == 0.75
    assert summary.constant["miou"] == pytest.approx((0 + 9 / 12) / 2)
    assert "'other' at every pixel" in summary.warnings({"miou": 0.375}, "miou")[0]


def test_10_11_every_answer_right_gives_one_and_absent_classes_are_named():
    targets = np.array([0, 1, 2, 0])
    metrics = classes_of(targets, targets, tuple("abcd"))
    values = metrics.compute()
    assert values["recall_macro"] == values["precision_macro"] == values["f1_macro"] == 1
    summary = metrics.summary()
    assert summary.absent == ("d",)
    assert "no evaluated example has the label d" in summary.warnings(values, "accuracy")[-1]


def test_10_11_a_class_without_examples_has_no_recall():
    targets, predicted = np.array([0, 1, 2, 0]), np.array([0, 1, 2, 3])
    values = classes_of(targets, predicted, tuple("abcd")).compute()
    assert values["recall_macro"] == pytest.approx(sk.balanced_accuracy_score([0, 1, 2], [0, 1, 2]) * 2.5 / 3)
    assert values["recall_macro"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert values["precision_macro"] == pytest.approx((1 + 1 + 1 + 0) / 4)


def test_10_10_f1_is_that_of_the_positive_label():
    targets = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    predicted = np.array([0, 1, 0, 1, 1, 1, 1, 1])
    of_ok = classes_of(targets, predicted, ("fraud", "ok"))
    of_fraud = classes_of(targets, predicted, ("fraud", "ok"), positive="fraud")
    assert of_ok.compute()["f1"] == pytest.approx(sk.f1_score(targets, predicted, pos_label=1))
    assert of_fraud.compute()["f1"] == pytest.approx(sk.f1_score(targets, predicted, pos_label=0))
    assert of_fraud.merge([]).compute()["f1"] == of_fraud.compute()["f1"]
    assert (of_ok.summary().positive, of_fraud.summary().positive) == ("ok", "fraud")
    assert of_fraud.compute()["auroc"] == of_ok.compute()["auroc"]


def test_metrics_that_know_no_constant_answer():
    assert summary_of(object()).constant == {}
