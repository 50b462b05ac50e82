"""What a student minimises: its own loss and the distance to its teachers; or a head over a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import nn

from ptm.base.console import Reporter
from ptm.config.label_types import CLASS
from ptm.config.spec import DistillSpec
from ptm.distill import losses
from ptm.distill.features import Features
from ptm.distill.teacher import Teacher, dense_logits, named_outputs
from ptm.objective import TeacherOutputs, TrainBatch
from ptm.pipeline import Output, Pipeline


class Distilled:
    """``ce_weight`` · the pipeline's own loss + ``kd_weight`` · the distance to the teacher's outputs
    + ``feature_weight`` · the distance to its features.

    Teachers are run as the student is: ``forward`` of a pipeline over the same data, frozen, in evaluation mode,
    without gradients; they are in no checkpoint. ``teacher_weights`` are those of the mean of several teachers, all
    alike where they are None.
    """

    def __init__(
        self,
        student: Pipeline,
        teachers: Sequence[Teacher],
        spec: DistillSpec,
        counts: dict[str, float],
        *,
        teacher_weights: Sequence[float] | None = None,
        features: Features | None = None,
        label_type: str = CLASS.name,
    ) -> None:
        self.module = features.module if features else None
        self.counts = counts
        self._student = student
        self._teachers = tuple(teachers)
        self._spec = spec
        weights = teacher_weights or [1.0] * len(teachers)
        self._weights = [weight / sum(weights) for weight in weights]
        self._features = features
        self._label_type = label_type
        self._requested = (features.student_features if features else ()) + dense_logits(student)

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        return all(teacher.prepare(epoch, stop, reporter) for teacher in self._teachers)

    def train_batches(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[TrainBatch]:
        # With `distill.views` the views of the first epochs are used again, by the student as by its teachers.
        own_epoch = epoch % self._spec.views if self._spec.views else epoch
        batches = self._student.batches("train", plan, own_epoch)
        outputs = zip(*(teacher.load(plan, epoch) for teacher in self._teachers), strict=True)
        return (TrainBatch(batch, of_teachers) for batch, of_teachers in zip(batches, outputs, strict=True))

    def ask_teachers(self, train_batch: TrainBatch) -> TrainBatch:
        pairs = zip(self._teachers, train_batch.teacher_outputs, strict=True)
        said = (teacher.outputs(outputs, train_batch.batch) for teacher, outputs in pairs)
        return TrainBatch(train_batch.batch, tuple(TeacherOutputs(outputs) for outputs in said))

    def loss(self, model: nn.Module, train_batch: TrainBatch) -> Output:
        """Of a batch whose teachers were asked."""
        batch, spec = train_batch.batch, self._spec
        of_teachers = [said.outputs for said in train_batch.teacher_outputs if said.outputs is not None]
        student = self._student.forward(model, batch, self._requested)
        assert student.logits is not None
        logits = [outputs["logits"] for outputs in of_teachers]
        target = losses.mean_teacher(logits, self._weights, spec.temperature, self._label_type)
        labels = batch.targets if self._student.per_example else student.targets
        soft_loss = losses.compare(student.logits, target, labels, spec, self._label_type)
        loss = spec.ce_weight * student.loss_sum + spec.kd_weight * soft_loss
        parts = {"ce": student.loss_sum.detach(), "kd": soft_loss.detach()}
        if self._features is not None:
            feature_loss = self._features(
                named_outputs(student), of_teachers[0], batch.inputs.get("attention_mask")
            )
            loss = loss + spec.feature_weight * feature_loss
            parts["features"] = feature_loss.detach()
        return Output(loss_sum=loss, count=student.count, logits=student.logits, parts=parts)


class HeadOnly:
    """The pipeline's own loss, from features of its frozen backbone that are read from a store."""

    def __init__(self, pipeline: Pipeline, backbone: Teacher, counts: dict[str, float]) -> None:
        self.module: nn.Module | None = None
        self.counts = counts
        self.prepare = backbone.prepare
        self._pipeline = pipeline
        self._backbone = backbone

    def train_batches(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[TrainBatch]:
        batches = self._pipeline.batches("train", plan, epoch)
        return (
            TrainBatch(b, (outputs,))
            for b, outputs in zip(batches, self._backbone.load(plan, epoch), strict=True)
        )

    def ask_teachers(self, train_batch: TrainBatch) -> TrainBatch:
        self.counts["used"] += len(train_batch.batch)
        if train_batch.teacher_outputs[0].outputs is None:
            self.counts["computed"] += len(train_batch.batch)
        return train_batch

    def loss(self, model: nn.Module, train_batch: TrainBatch) -> Output:
        features = train_batch.teacher_outputs[0].outputs
        if features is None:
            # The store was given up. The head must draw its dropout once, so the model runs as without a store.
            return self._pipeline.forward(model, train_batch.batch)
        return self._pipeline.forward_head(train_batch.batch, features[self._pipeline.head_input])
