"""Each task's module offers what the protocol says. mypy reads this file as well, so the signatures are held too."""

import importlib

import numpy as np
import pytest
import torch

from ptm.config.tasks import TASKS
from ptm.pipeline import Batch, Pipeline, TaskModule, task_module
from ptm.text import classification as text_classification
from ptm.text import language_modeling, question_answering, similarity, token_classification, translation
from ptm.vision import classification as image_classification
from ptm.vision import detection, instances, segmentation

MODULES: tuple[TaskModule, ...] = (
    text_classification,
    token_classification,
    question_answering,
    language_modeling,
    translation,
    similarity,
    image_classification,
    detection,
    instances,
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


def test_a_module_is_found_by_the_name_of_its_task() -> None:
    assert task_module("masked-lm") is language_modeling
    assert task_module("semantic-segmentation") is segmentation


def test_a_batch_is_moved_with_all_that_is_in_it() -> None:
    inputs = {
        "ids": torch.zeros(2, 3),
        "boxes": [torch.ones(1), {"deep": torch.ones(2)}],
        "words": ["a", "b"],
    }
    batch = Batch(ids=np.array([4, 7]), inputs=inputs, targets=torch.tensor([0, 1]))
    assert len(batch) == 2
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    tensors = [moved.inputs["ids"], moved.inputs["boxes"][0], moved.inputs["boxes"][1]["deep"], moved.targets]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 4
    assert [tuple(tensor.shape) for tensor in tensors] == [(2, 3), (1,), (2,), (2,)]
    assert moved.inputs["words"] == ["a", "b"] and moved.ids is batch.ids
    ids = inputs["ids"]
    assert isinstance(ids, torch.Tensor) and ids.device.type == "cpu"
