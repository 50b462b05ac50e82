"""Each task's module offers what the protocol says. mypy reads this file as well, so the signatures are held too."""

import importlib

import pytest

from ptm.config.label_types import LABEL_TYPES
from ptm.config.tasks import SOURCES, TASKS
from ptm.data.targets import KINDS
from ptm.distill.audit import REFERENCES
from ptm.distill.losses import DISTANCES
from ptm.experiment.comparison import MEASURES
from ptm.metrics.label_types import SUPERVISION
from ptm.pipeline import Pipeline, TaskModule
from ptm.text import classification as text_classification
from ptm.text import language_modeling, token_classification, translation
from ptm.text.classifiers import PURPOSES
from ptm.vision import classification as image_classification
from ptm.vision import detection, segmentation

MODULES: tuple[TaskModule, ...] = (
    text_classification,
    token_classification,
    language_modeling,
    translation,
    image_classification,
    detection,
    segmentation,
)


def test_every_module_is_held_against_the_protocol() -> None:
    assert {importlib.import_module(task.module) for task in TASKS.values()} == set(MODULES)


@pytest.mark.parametrize("name", TASKS)
def test_a_descriptor_says_of_its_pipelines_what_they_say_themselves(name: str) -> None:
    task = TASKS[name]
    classes = [c for c in vars(importlib.import_module(task.module)).values() if isinstance(c, type)]
    pipelines = [c for c in classes if issubclass(c, Pipeline) and c.__module__ == task.module]
    assert pipelines
    for pipeline in pipelines:
        assert pipeline.distillable == task.distillable
        assert pipeline.per_example == task.per_example
        assert (pipeline.render_prediction is not Pipeline.render_prediction) == task.draws


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


def test_a_label_type_has_an_entry_in_each_table() -> None:
    for name in LABEL_TYPES:
        assert name in KINDS
        assert name in SUPERVISION
        assert name in DISTANCES
    assert set(TASKS["text-classification"].label_types) <= set(PURPOSES)
