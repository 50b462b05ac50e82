"""Descriptors of tasks: each fits together, and says what is true of the task."""

import pytest

from ptm.config.label_types import LABEL_TYPES
from ptm.config.tasks import FILE_SOURCES, SOURCES, TASKS
from ptm.distill.audit import REFERENCES
from ptm.experiment.comparison import MEASURES


@pytest.mark.parametrize("name", TASKS)
def test_a_descriptor_fits_together(name: str) -> None:
    task = TASKS[name]
    assert task.name == name
    assert set(task.sources) <= set(SOURCES)
    assert set(task.label_types) <= set(LABEL_TYPES)
    assert bool(task.label_types) == (task.evaluation is None)
    for label_type in task.label_types or ("class",):
        evaluation = task.evaluation_of(label_type)
        assert evaluation.headline in evaluation.metrics
        assert evaluation.audit is None or evaluation.audit in evaluation.metrics
        assert (evaluation.comparison in MEASURES) == task.distillable
        assert evaluation.audit is None or evaluation.audit in REFERENCES


def test_every_kind_of_source_is_read_by_a_task_and_no_task_reads_another():
    assert {kind for task in TASKS.values() for kind in task.sources} == set(SOURCES)
    assert set(SOURCES) == {*FILE_SOURCES, "hub", "builtin"}


def test_only_language_models_read_plain_text():
    assert [name for name, task in TASKS.items() if task.language_model] == ["masked-lm", "causal-lm"]
    assert all(task.language_model == ("text" in task.sources) for task in TASKS.values())


def test_an_evaluation_is_that_of_the_label_type_where_a_task_has_several():
    text = TASKS["text-classification"]
    assert text.evaluation_of("number") is LABEL_TYPES["number"].evaluation
    assert text.evaluation_of("class") is LABEL_TYPES["class"].evaluation
    detection = TASKS["object-detection"]
    assert detection.evaluation_of("class") is detection.evaluation_of("number") is detection.evaluation


def test_one_class_is_enough_where_boxes_are_found_only():
    found = [name for name, task in TASKS.items() if task.fewest_labels == 1]
    assert (
        found
        == [n for n, task in TASKS.items() if task.boxes]
        == ["object-detection", "instance-segmentation"]
    )
