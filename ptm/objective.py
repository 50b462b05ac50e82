"""What is minimised: the labels alone, or the labels and a teacher. The loop does not know which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ptm.distill import losses
from ptm.distill.features import Features
from ptm.distill.teacher import Taught, Teacher, dense_logits, named_outputs
from ptm.pipeline import Batch, Output, Pipeline
from ptm.runlog import Reporter
from ptm.spec import DistillSpec


@dataclass(frozen=True)
class Lesson:
    """What one forward pass of training learns from: a batch, and what each teacher says or is to look at."""

    batch: Batch
    taught: tuple[Taught, ...] = ()

    def to(self, device: torch.device) -> Lesson:
        return Lesson(self.batch.to(device), tuple(taught.to(device) for taught in self.taught))


class Objective(Protocol):
    module: nn.Module | None  # parameters that are trained with the model but do not belong to it
    counts: dict[str, float]  # sums over the whole run: the engine keeps them in its checkpoints

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        """What an epoch needs before its first step. False: asked to stop before it was done."""
        ...

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]: ...

    def loss(self, model: nn.Module, lesson: Lesson) -> Output: ...


class Supervised:
    """Cross-entropy, or whatever the pipeline's own loss is."""

    def __init__(self, pipeline: Pipeline, views: int | None = None) -> None:
        self.module: nn.Module | None = None
        self.counts: dict[str, float] = {}
        self._pipeline = pipeline
        self._views = views  # of so many epochs, in rotation

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        return True

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]:
        own_epoch = epoch % self._views if self._views else epoch
        return (Lesson(batch) for batch in self._pipeline.batches("train", plan, own_epoch))

    def loss(self, model: nn.Module, lesson: Lesson) -> Output:
        return self._pipeline.forward(model, lesson.batch)


class HeadOnly:
    """The pipeline's own loss from what its frozen backbone says of each example, which is found in a store."""

    def __init__(self, pipeline: Pipeline, backbone: Teacher, counts: dict[str, float]) -> None:
        self.module: nn.Module | None = None
        self.counts = counts
        self.prepare = backbone.prepare
        self._pipeline = pipeline
        self._backbone = backbone

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]:
        batches = self._pipeline.batches("train", plan, epoch)
        return (
            Lesson(b, (taught,))
            for b, taught in zip(batches, self._backbone.lessons(plan, epoch), strict=True)
        )

    def loss(self, model: nn.Module, lesson: Lesson) -> Output:
        features = self._backbone.outputs(lesson.taught[0], lesson.batch)
        return self._pipeline.forward_head(lesson.batch, features[self._pipeline.head_input])


def new_counts() -> dict[str, float]:
    """``used``: teacher's outputs learned from, in examples; ``computed``: how many of them a teacher was run for;
    ``teacher_seconds``: spent in teachers, ``step_seconds``: that part of it which training steps waited for."""
    return {"used": 0, "computed": 0, "teacher_seconds": 0.0, "step_seconds": 0.0}


def all_counts(of_processes: Sequence[dict[str, float]]) -> dict[str, float]:
    """What all processes counted: examples added up, seconds, which pass for all at once, averaged."""
    return {
        name: sum(counts[name] for counts in of_processes)
        / (len(of_processes) if name.endswith("seconds") else 1)
        for name in of_processes[0]
    }


class Distilled:
    """``ce_weight`` · the pipeline's own loss + ``kd_weight`` · the distance to the teacher's outputs
    + ``feature_weight`` · the distance to what it computes inside.

    Teachers go through the same door as the student: ``forward`` of a pipeline over the same data, frozen,
    in evaluation mode, without gradients; they are in no checkpoint.
    """

    def __init__(
        self,
        student: Pipeline,
        teachers: Sequence[Teacher],
        spec: DistillSpec,
        counts: dict[str, float],
        *,
        shares: Sequence[float] | None = None,
        features: Features | None = None,
        label_type: str = "class",
    ) -> None:
        self.module = features.module if features else None
        self.counts = counts
        self._student = student
        self._teachers = tuple(teachers)
        self._spec = spec
        self._shares = (
            [share / sum(shares) for share in shares] if shares else [1 / len(teachers)] * len(teachers)
        )
        self._features = features
        self._label_type = label_type
        self._wanted = (features.wanted_of_student if features else ()) + dense_logits(student)

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        return all(teacher.prepare(epoch, stop, reporter) for teacher in self._teachers)

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]:
        # With `views`, the student's epoch is that of the view its teachers saw.
        own_epoch = epoch % self._spec.views if self._spec.views else epoch
        batches = self._student.batches("train", plan, own_epoch)
        streams = zip(*(teacher.lessons(plan, epoch) for teacher in self._teachers), strict=True)
        return (Lesson(batch, taught) for batch, taught in zip(batches, streams, strict=True))

    def loss(self, model: nn.Module, lesson: Lesson) -> Output:
        answers = [
            teacher.outputs(taught, lesson.batch)
            for teacher, taught in zip(self._teachers, lesson.taught, strict=True)
        ]
        own = self._student.forward(model, lesson.batch, self._wanted)
        assert own.logits is not None
        spec = self._spec
        said = [answer["logits"] for answer in answers]
        target = losses.mean_teacher(said, self._shares, spec.temperature, self._label_type)
        targets = lesson.batch.targets if own.targets is None else own.targets
        soft = losses.compare(own.logits, target, targets, spec, self._label_type)
        loss = spec.ce_weight * own.loss_sum + spec.kd_weight * soft
        parts = {"ce": own.loss_sum.detach(), "kd": soft.detach()}
        if self._features is not None:
            inside = self._features(named_outputs(own), answers[0], lesson.batch.inputs.get("attention_mask"))
            loss = loss + spec.feature_weight * inside
            parts["features"] = inside.detach()
        return Output(loss_sum=loss, count=own.count, logits=own.logits, parts=parts)
