"""Names of metrics: which there are, which value of them is the best, and what is said of a wrong one."""

import pytest

from ptm.config.evaluation import Evaluation, LabelCount, best_mode
from ptm.errors import ConfigError

EVALUATION = Evaluation(
    metrics=("loss", "miou", "iou/"),
    by_label_count={"auroc": LabelCount(2, 2, "two"), "top5": LabelCount(6, None, "more than five")},
    headline="miou",
)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("loss", "min"),
        ("bits_per_byte", "min"),
        ("mean_absolute_error", "min"),
        ("map50", "max"),
        ("x", "max"),
    ],
)
def test_losses_and_errors_are_best_when_low(metric, mode):
    assert best_mode(metric) == mode


def test_a_number_of_labels_is_between_two_bounds_that_count():
    two, many = EVALUATION.by_label_count["auroc"], EVALUATION.by_label_count["top5"]
    assert [two.allows(n) for n in (1, 2, 3)] == [False, True, False]
    assert [many.allows(n) for n in (5, 6, 1000)] == [False, True, True]


def test_metrics_of_some_numbers_of_labels_are_named_while_the_labels_are_unknown():
    assert EVALUATION.names() == ("loss", "miou", "iou/", "auroc", "top5")
    assert EVALUATION.names(["a", "b"]) == ("loss", "miou", "iou/", "auroc")
    assert EVALUATION.names(list("abcdef")) == ("loss", "miou", "iou/", "top5")


@pytest.mark.parametrize("name", ["loss", "iou/cell", "iou/a/b", "auroc"])
def test_what_is_measured(name):
    assert EVALUATION.objection(name) is None


@pytest.mark.parametrize(
    ("name", "labels", "cure"),
    [
        ("mio", None, "did you mean miou?"),
        ("bleu", None, "name one of them"),
        ("au", None, "did you mean auroc?"),
        ("iou/", None, "did you mean miou?"),
        ("auroc", ["a", "b", "c"], "auroc is measured with two labels"),
        ("top5", ["a", "b", "c"], "top5 is measured with more than five labels"),
    ],
)
def test_what_is_not_measured(name, labels, cure):
    objection = EVALUATION.objection(name, labels)
    assert objection is not None and objection[1] == cure


def test_all_wrong_metrics_are_named_at_once_with_their_places():
    with pytest.raises(ConfigError) as caught:
        EVALUATION.require([("best.metric", "f1"), ("expect", "loss"), ("expect", "top5")], ["a", "b"])
    assert [(p.where, p.what) for p in caught.value.problems] == [
        ("best.metric", "there is no metric 'f1' with these labels"),
        ("expect", "there is no metric 'top5' with these labels"),
    ]
    EVALUATION.require([("expect", "auroc")], ["a", "b"])


TAGGED = Evaluation(metrics=("loss", "f1", "f1/"), of_entities=("f1", "f1/"), headline="f1")


@pytest.mark.parametrize(
    ("evaluation", "name", "labels", "cure"),
    [
        (EVALUATION, "iou/cel", ["cell", "wall"], "did you mean iou/cell?"),
        (EVALUATION, "iou/xyz", ["cell", "wall"], "name one of them"),
        (TAGGED, "f1/PRE", ["O", "B-PER", "I-PER", "B-LOC"], "did you mean f1/PER?"),
        (TAGGED, "f1/B-PER", ["O", "B-PER", "I-PER"], "did you mean f1/PER?"),
    ],
)
def test_a_metric_of_a_label_that_there_is_not_is_told_with_those_there_are(evaluation, name, labels, cure):
    objection = evaluation.objection(name, labels)
    assert objection is not None and objection[1] == cure
    assert objection[0] in ("one of iou/cell, iou/wall", "one of f1/PER, f1/LOC", "one of f1/PER")
    assert evaluation.objection(name) is None  # while the labels are not known


def test_a_metric_of_a_label_that_there_is():
    assert EVALUATION.objection("iou/cell", ["cell", "wall"]) is None
    assert EVALUATION.objection("iou/a/b", ["a", "a/b"]) is None
    assert TAGGED.objection("f1/PER", ["O", "B-PER", "I-PER"]) is None
