"""A teacher's evaluation as it is stored and reported."""

import math

import pytest

from ptm.distill.evaluation import TeacherEvaluation

EVALUATION = TeacherEvaluation(metrics={"loss": 0.4, "accuracy": 0.75}, targets=[0, 1], predicted=[0, 0])


def test_what_is_stored_is_read_again():
    assert TeacherEvaluation.parse(EVALUATION.as_dict(), 2) == EVALUATION


def stored(metrics=None, targets=(), predicted=()):
    found = {"loss": 1.0} if metrics is None else metrics
    return {
        "metrics": found,
        "targets": targets and list(targets),
        "predicted": predicted and list(predicted),
    }


@pytest.mark.parametrize(
    "content",
    [
        None, {}, {"metrics": {}, "targets": []}, {"metrics": {"loss": 1.0}, "targets": "a", "predicted": "a"},
        stored({}, [0], [0]), stored([], [0], [0]), stored({"loss": "x"}, [0], [0]), stored(None, [[]], [0]),
        stored(None, [0, 1], [0]), stored(None, [2], [0]), stored(None, [0], [-1]), stored(None, [0.5], [0]),
    ],
)  # fmt: skip
def test_15_09_what_is_no_evaluation_is_evaluated_anew(content):
    assert TeacherEvaluation.parse(content, 2) is None


@pytest.mark.parametrize(
    ("metrics", "headline"),
    [
        ({"loss": 0.4, "f1_macro": 0.5, "accuracy": 0.75}, "accuracy 0.7500"),
        ({"loss": 0.4, "spearman": 0.5, "pearson": 0.25}, "spearman 0.5000"),
        ({"loss": 0.4}, "loss 0.4000"),
    ],
)
def test_one_metric_stands_for_the_others(metrics, headline):
    evaluation = TeacherEvaluation(metrics=metrics, targets=[], predicted=[])
    assert evaluation.headline("accuracy") == headline


def test_a_metric_that_is_not_finite_is_not_stored():
    assert EVALUATION.finite
    assert not TeacherEvaluation(metrics={"loss": math.nan}, targets=[], predicted=[]).finite
