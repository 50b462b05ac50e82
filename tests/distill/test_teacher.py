"""A teacher's outputs: live or stored, by view and by example, and what is done where the store fails."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import Saying
from ptm.base.console import Silent
from ptm.config.spec import DistillSpec
from ptm.distill import teacher as teachers
from ptm.distill.teacher import Teacher, dense_logits, named_outputs
from ptm.objective import new_counts
from ptm.pipeline import Batch, Output
from ptm.training.runtime import Runtime

CPU = Runtime(device=torch.device("cpu"), precision="fp32", threads=1)
ROWS, CLASSES, BLOCK = 20, 5, 4
IDENTITY = {"teacher": "t"}


class Linear:
    """A pipeline over ROWS vectors; a view adds its epoch. ``asked``: the ids of each forward pass."""

    per_example = True
    labels = tuple("abcde")

    def __init__(self, *, seed=0, inputs="same", random_views=False):
        self.model = nn.Linear(3, CLASSES)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            self.model.weight.copy_(torch.randn(CLASSES, 3, generator=generator))
            self.model.bias.zero_()
        self.input_fingerprint, self.random_views = inputs, random_views
        self.data = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(9))
        self.asked: list[list[int]] = []
        self.read = 0

    def size(self, split):
        return ROWS

    def lengths(self, split):
        return None

    def batches(self, split, plan, epoch):
        for ids in plan:
            self.read += 1
            shift = float(epoch) if self.random_views else 0.0
            yield Batch(ids=np.array(ids), inputs={"x": self.data[np.array(ids)] + shift}, targets=None)

    def forward(self, model, batch, requested=()):
        self.asked.append(batch.ids.tolist())
        logits = model(batch.inputs["x"])
        features = dict.fromkeys(requested, 2 * batch.inputs["x"])
        return Output(loss_sum=logits.sum(), count=len(batch), logits=logits, features=features)

    def says(self, ids, epoch=0):
        shift = float(epoch) if self.random_views else 0.0
        with torch.no_grad():
            return self.model(self.data[np.array(ids)] + shift)


def make(pipeline=None, student=None, *, requested=(), **spec):
    pipeline = pipeline or Linear()
    counts = new_counts()
    made = Teacher(
        pipeline,
        student or Linear(seed=1),
        CPU,
        DistillSpec(**spec),
        requested=requested,
        seed=7,
        counts=counts,
    )
    return made, counts


def opened(tmp_path, *args, **spec):
    made, counts = make(*args, **spec)
    made.open_store(tmp_path, IDENTITY, {}, block=BLOCK, views=1)
    assert made.no_store == ""
    return made, counts


def given(teacher, ids, epoch=0):
    """What the objective gets for a batch of these ids."""
    (stored,) = teacher.load([np.array(ids)], epoch)
    (batch,) = Linear(random_views=teacher.random_views).batches("train", [np.array(ids)], epoch)
    return teacher.outputs(stored, batch)


def test_a_teacher_does_not_learn():
    pipeline = Linear()
    make(pipeline)
    assert not pipeline.model.training
    assert not any(parameter.requires_grad for parameter in pipeline.model.parameters())


def test_of_a_frozen_backbone_the_engine_marks_what_learns():
    pipeline = Linear()
    make(pipeline, pipeline)
    assert all(parameter.requires_grad for parameter in pipeline.model.parameters())


def test_without_a_store_it_is_run_on_each_batch():
    teacher, counts = make()
    found = given(teacher, [3, 1])
    assert torch.equal(found["logits"], Linear().says([3, 1]))
    assert (counts["used"], counts["computed"]) == (2, 2)
    assert counts["teacher_seconds"] == counts["step_seconds"] > 0


def test_batches_are_read_again_only_where_the_inputs_differ():
    for inputs, reads in (("same", 0), ("other", 1)):
        pipeline = Linear(inputs=inputs)
        teacher, _ = make(pipeline)
        given(teacher, [0, 1])
        assert pipeline.read == reads


@pytest.mark.parametrize(("views", "names"), [(None, [0, 1, 2, 3]), (2, [0, 1, 0, 1])])
def test_a_view_is_named_after_the_seed_and_the_epoch(views, names):
    teacher, _ = make(student=Linear(random_views=True), **({"views": views} if views else {}))
    assert [teacher.view_of(epoch) for epoch in range(4)] == [(f"seed7-epoch{n}", n) for n in names]
    fixed, _ = make()
    assert fixed.view_of(5) == ("fixed", 0) and not fixed.random_views


def test_what_is_stored_is_what_the_teacher_says_in_any_order_and_computed_once(tmp_path):
    teacher, counts = opened(tmp_path, requested=("pooled",))
    assert teacher.prepare(0, lambda: False, Silent())
    assert counts["computed"] == ROWS
    before = len(teacher.pipeline.asked)
    found = given(teacher, [17, 0, 5])
    torch.testing.assert_close(found["logits"], Linear().says([17, 0, 5]))
    torch.testing.assert_close(found["pooled"], 2 * Linear().data[[17, 0, 5]])
    assert teacher.prepare(1, lambda: False, Silent())
    assert len(teacher.pipeline.asked) == before and counts["used"] == 3
    teacher.close()
    again, counts = opened(tmp_path, requested=("pooled",))
    assert again.prepare(0, lambda: False, Silent())
    assert counts["computed"] == 0
    assert sum(map(len, again.pipeline.asked)) == 1 + teachers.SAMPLE  # shapes, and a few that are compared
    assert torch.equal(given(again, [17])["logits"], found["logits"][:1])


def test_a_filling_that_is_stopped_goes_on_where_it_was(tmp_path):
    teacher, counts = opened(tmp_path)
    answers = iter([False, False, True])
    assert not teacher.prepare(0, lambda: next(answers), Silent())
    assert counts["computed"] == 2 * BLOCK
    teacher.close()
    again, counts = opened(tmp_path)
    assert again.prepare(0, lambda: False, Silent())
    assert counts["computed"] == ROWS - 2 * BLOCK
    torch.testing.assert_close(given(again, list(range(ROWS)))["logits"], Linear().says(list(range(ROWS))))


def test_outputs_of_other_weights_are_found_out_and_computed_anew(tmp_path):
    first, _ = opened(tmp_path)
    first.prepare(0, lambda: False, Silent())
    first.close()
    reporter = Saying()
    other, counts = opened(tmp_path, Linear(seed=5))
    assert other.prepare(0, lambda: False, reporter)
    assert "all are computed anew" in "".join(reporter.lines) and counts["computed"] == ROWS
    torch.testing.assert_close(given(other, [2, 3])["logits"], Linear(seed=5).says([2, 3]))


def test_each_epoch_has_its_own_views(tmp_path):
    own = Linear(random_views=True)
    teacher, counts = opened(tmp_path, own, Linear(seed=1, random_views=True), views=2)
    for epoch in range(4):
        assert teacher.prepare(epoch, lambda: False, Silent())
        torch.testing.assert_close(given(teacher, [4, 6], epoch)["logits"], own.says([4, 6], epoch % 2))
    assert counts["computed"] == 2 * ROWS


def test_of_many_outputs_the_highest_are_stored_and_the_rest_is_spread_evenly(tmp_path):
    teacher, _ = opened(tmp_path, top_k=2)
    assert teacher.prepare(0, lambda: False, Silent())
    (logits,), (whole,) = given(teacher, [8])["logits"], Linear().says([8])
    stored, truth = logits.softmax(-1), whole.softmax(-1)
    top = whole.topk(2).indices
    torch.testing.assert_close(stored[top], truth[top], rtol=1e-4, atol=1e-6)
    rest = [k for k in range(CLASSES) if k not in top.tolist()]
    left = float(1 - truth[top].sum()) / len(rest)
    assert stored[rest].tolist() == pytest.approx([left] * len(rest), rel=1e-3)


def test_where_there_is_no_room_it_is_run_live(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "room_for", lambda *_: False)
    teacher, counts = make()
    teacher.open_store(tmp_path, IDENTITY, {}, block=BLOCK, views=1)
    assert "do not fit" in teacher.no_store and teacher.store is None
    assert teacher.prepare(0, lambda: False, Silent())
    assert torch.equal(given(teacher, [1])["logits"], Linear().says([1])) and counts["computed"] == 1


def test_names_of_outputs():
    output = Output(
        loss_sum=torch.zeros(()), count=1, logits=torch.ones(1, 2), features={"pooled": torch.ones(1)}
    )
    assert set(named_outputs(output)) == {"logits", "pooled"}
    pipeline = Linear()
    assert dense_logits(pipeline) == ()
    pipeline.per_example = False
    assert dense_logits(pipeline) == ("logits",)
