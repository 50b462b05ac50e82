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
