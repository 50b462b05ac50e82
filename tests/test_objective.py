"""What is minimised by labels alone, and sums over processes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptm.base.console import Silent
from ptm.errors import ConfigError
from ptm.objective import Supervised, TeacherOutputs, TrainBatch, all_counts, new_counts
from ptm.pipeline import Batch


def batch(*ids):
    return Batch(ids=np.array(ids), inputs={"x": torch.zeros(len(ids))}, targets=torch.zeros(len(ids)))


class Recorded:
    """A pipeline that says what it was asked for."""

    def __init__(self):
        self.epochs = []

    def batches(self, split, plan, epoch):
        assert split == "train"
        self.epochs.append(epoch)
        return (batch(*ids) for ids in plan)

    def forward(self, model, batch):
        return model, batch


@pytest.mark.parametrize(("views", "epochs"), [(None, [0, 1, 2, 3]), (2, [0, 1, 0, 1]), (1, [0, 0, 0, 0])])
def test_views_of_so_many_epochs_come_in_rotation(views, epochs):
    pipeline = Recorded()
    objective = Supervised(pipeline, views)
    for epoch in range(4):
        made = list(objective.train_batches([np.array([3]), np.array([1, 2])], epoch))
        assert [each.batch.ids.tolist() for each in made] == [[3], [1, 2]]
        assert all(each.teacher_outputs == () for each in made)
    assert pipeline.epochs == epochs


def test_the_loss_is_the_pipelines_own():
    objective, given = Supervised(Recorded()), batch(1)
    assert objective.loss("model", TrainBatch(given)) == ("model", given)
    assert objective.module is None and objective.counts == {}
    assert objective.prepare(0, lambda: True, Silent())  # there is nothing to do, so nothing to stop


def test_13_08_a_batch_is_its_tensors():
    """By name and back: what is recorded reads copies of them."""
    said = TeacherOutputs(outputs={"logits": torch.ones(2, 3)})
    train = TrainBatch(batch(1, 2), (said, TeacherOutputs()))
    tensors = train.tensors()
    assert sorted(tensors) == ["inputs.x", "targets", "teacher.0.logits"]
    other = train.with_tensors({name: tensor + 1 for name, tensor in tensors.items()})
    assert other.batch.inputs["x"].tolist() == other.batch.targets.tolist() == [1, 1]
    assert other.teacher_outputs[0].outputs["logits"].tolist() == [[2, 2, 2]] * 2
    assert other.teacher_outputs[1] == TeacherOutputs() and other.batch.ids is train.batch.ids
    unlabelled = TrainBatch(replace(batch(1), targets=None))
    assert unlabelled.with_tensors(unlabelled.tensors()).batch.targets is None


def test_13_08_what_is_no_tensor_cannot_be_recorded():
    boxes = TrainBatch(replace(batch(1), targets=[{"boxes": torch.zeros(1, 4)}]))
    with pytest.raises(ConfigError, match="passes over targets cannot be recorded"):
        boxes.tensors()


def test_all_of_a_batch_is_moved():
    stored = TeacherOutputs(outputs={"logits": torch.zeros(2, 3)})
    live = TeacherOutputs(batch=batch(1))
    train = TrainBatch(batch(1, 2), (stored, live, TeacherOutputs()))
    assert train.to(torch.device("cpu")).teacher_outputs[0] is stored
    moved = train.to(torch.device("meta"))
    assert moved.batch.inputs["x"].device.type == "meta"
    first, second, third = moved.teacher_outputs
    assert first.outputs["logits"].device.type == second.batch.targets.device.type == "meta"
    assert (first.batch, second.outputs) == (None, None) and third == TeacherOutputs()


def test_examples_of_processes_are_added_and_their_seconds_averaged():
    one = {"used": 3.0, "computed": 1.0, "teacher_seconds": 2.0, "step_seconds": 1.0}
    other = {"used": 5.0, "computed": 0.0, "teacher_seconds": 4.0, "step_seconds": 0.0}
    assert all_counts([one, other]) == {
        "used": 8.0,
        "computed": 1.0,
        "teacher_seconds": 3.0,
        "step_seconds": 0.5,
    }
    assert set(new_counts()) == set(one) and not any(new_counts().values())
