"""What is minimised: the labels alone, or the labels and a teacher. The loop does not know which."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ptm.distill.losses import soft_label_loss
from ptm.pipeline import Batch, Output, Pipeline
from ptm.spec import DistillSpec


@dataclass(frozen=True)
class Lesson:
    """What one forward pass of training learns from: a batch, and the same examples as the teacher sees them."""

    batch: Batch
    teacher_batch: Batch | None = None  # None: the teacher reads the same batch, or there is none

    def to(self, device: torch.device) -> Lesson:
        other = self.teacher_batch
        return Lesson(self.batch.to(device), None if other is None else other.to(device))


class Objective(Protocol):
    module: nn.Module | None  # parameters that are trained with the model but do not belong to it
    teacher_seconds: float

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]: ...

    def loss(self, model: nn.Module, lesson: Lesson) -> Output: ...


class Supervised:
    """Cross-entropy, or whatever the pipeline's own loss is."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.module: nn.Module | None = None
        self.teacher_seconds = 0.0
        self._pipeline = pipeline

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]:
        return (Lesson(batch) for batch in self._pipeline.batches("train", plan, epoch))

    def loss(self, model: nn.Module, lesson: Lesson) -> Output:
        return self._pipeline.forward(model, lesson.batch)


class Distilled:
    """``ce_weight`` · the pipeline's own loss + ``kd_weight`` · the distance to the teacher.

    The teacher goes through the same door as the student: ``forward`` of a pipeline over the same data, frozen,
    in evaluation mode, without gradients; it is in no checkpoint. Where its view of an example differs from
    the student's (another tokenizer), it gets batches of its own.
    """

    def __init__(self, student: Pipeline, teacher: Pipeline, spec: DistillSpec) -> None:
        self.module: nn.Module | None = None
        self.teacher_seconds = 0.0
        self._student = student
        self._teacher = teacher
        self._spec = spec
        teacher.model.eval().requires_grad_(False)

    def lessons(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Lesson]:
        batches = self._student.batches("train", plan, epoch)
        if self._teacher.view == self._student.view:
            return (Lesson(batch) for batch in batches)
        others = self._teacher.batches("train", plan, epoch)
        return (Lesson(batch, other) for batch, other in zip(batches, others, strict=True))

    def loss(self, model: nn.Module, lesson: Lesson) -> Output:
        target = self._teacher_logits(lesson.teacher_batch or lesson.batch)
        own = self._student.forward(model, lesson.batch)
        assert own.logits is not None
        soft = soft_label_loss(own.logits, target, self._spec.temperature)
        return Output(
            loss_sum=self._spec.ce_weight * own.loss_sum + self._spec.kd_weight * soft,
            count=own.count,
            logits=own.logits,
            parts={"ce": own.loss_sum.detach(), "kd": soft.detach()},
        )

    @torch.no_grad()
    def _teacher_logits(self, batch: Batch) -> torch.Tensor:
        begun = time.perf_counter()
        logits = self._teacher.forward(self._teacher.model, batch).logits
        assert logits is not None
        self.teacher_seconds += time.perf_counter() - begun
        return logits
