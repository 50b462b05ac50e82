"""Keys about rare classes: where they mean nothing, and which exclude each other."""

import pytest

from config_texts import IMAGE, TEXT, changed, only, parse

LABELS_OPEN = changed("labels:", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_weights", "balanced"),
        ("focal_gamma", "2"),
        ("logit_adjustment", "1"),
        ("sampling", "balanced"),
    ],
)
@pytest.mark.parametrize("task", ["token-classification", "translation"])
def test_11_01_tasks_without_classes_an_example_refuse_them_by_name(key, value, task):
    text = LABELS_OPEN.replace("task: text-classification", f"task: {task}").replace(
        'accuracy: ">= 0.9"', 'loss: "< 9"'
    )
    problem = only(text.replace("best: {metric: accuracy}", "best: {metric: loss}"), f"train.{key}={value}")
    assert problem.what == f"train.{key} is for text-classification and image-classification, this is {task}"


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["data.label_type=number", "train.focal_gamma=2"], "label_type: number has no classes"),
        (["data.label_type=classes", "train.sampling=balanced"], "sampling goes by shares of classes"),
        (
            ["data.label_type=classes", "train.logit_adjustment=1"],
            "logit_adjustment goes by shares of classes",
        ),
    ],
)
def test_11_01_label_types_for_which_they_mean_nothing(overrides, what):
    assert only(LABELS_OPEN, *overrides, "best={metric: loss}", "expect={}").what.startswith(what)


def test_11_01_one_remedy_by_the_share_of_classes_is_enough():
    problem = only(TEXT, "train.class_weights=balanced", "train.sampling=balanced")
    assert problem.what == ("class_weights, sampling each make up for rare classes: together they overdo it")
    assert parse(TEXT, "train.class_weights=balanced", "train.focal_gamma=2").train.focal_gamma == 2


def test_11_01_weights_name_labels():
    assert only(TEXT, "train.class_weights={good: 2}").what == "'good' is none of data.labels"
    assert parse(TEXT, "train.class_weights={positive: 2}").train.class_weights == {"positive": 2.0}
    assert "class_weights" in only(TEXT, "train.class_weights={positive: 0}").what


def test_11_01_a_student_of_the_teacher_alone_has_no_labels_to_weigh():
    problem = only(IMAGE, "distill.ce_weight=0", "train.class_weights=balanced")
    assert problem.what.startswith("class_weights goes by the labels")


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["decisions={}"], "decisions has neither a temperature nor thresholds"),
        (["decisions={temperature: true, metric: mcc}"], "metric is for the threshold of two labels"),
        (["decisions={thresholds: one}", "data.labels=[a, b, c]"], "of 3 labels, the one with the highest"),
        (
            [
                "decisions={temperature: true}",
                "data.label_type=number",
                "data.labels=null",
                "best=null",
                "expect={}",
            ],
            "label_type: number has no probabilities",
        ),
    ],
)
def test_11_02_decisions_that_mean_nothing(overrides, what):
    assert only(TEXT, *overrides).what.startswith(what)


def test_11_02_decisions_are_for_classifiers():
    text = LABELS_OPEN.replace("task: text-classification", "task: token-classification")
    problem = only(text.replace("best: {metric: accuracy}", ""), "decisions={temperature: true}")
    assert problem.what.startswith("decisions is for text-classification and image-classification")


def test_11_06_a_draw_of_each_class_where_there_are_none():
    text = ("data.label_type=classes", "best={metric: loss}", "expect={}", "data.per_class=8")
    assert only(LABELS_OPEN, *text).what.startswith("an example of label_type: classes is of no one class")
    assert only(IMAGE, "distill.ce_weight=0", "data.per_class=8").what.startswith(
        "per_class goes by the labels"
    )
    assert parse(TEXT, "data.per_class=8").data.per_class == 8
