"""The config of a run as it is written down: with what the model and the task decided for keys that were left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ptm.config.spec import RunSpec, TeacherSpec
from ptm.config.tasks import TEXT_CLASSIFICATION
from ptm.pipeline import Pipeline


def effective_spec(spec: RunSpec, pipeline: Pipeline, teachers: Sequence[Pipeline] = ()) -> RunSpec:
    """``spec`` with every value that training uses. It builds the same pipelines again.

    Keys of :data:`ptm.run.saved_config.DECIDED_KEYS` are filled in; what the machine decides (``runtime``) stands in
    the manifest.
    """
    data: dict[str, Any] = {
        key: value for key, value in pipeline.effective_data.items() if getattr(spec.data, key) is None
    }
    if len(teachers) > 1:
        data.pop("max_length", None)  # teachers without a length of their own would take it for theirs
    return replace(
        spec,
        teacher=_teacher(spec, teachers),
        data=replace(spec.data, **data),
        train=replace(spec.train, micro_batch_size=spec.train.forward_size),
        generate=spec.generate or pipeline.effective_generate,
    )


def _teacher(spec: RunSpec, teachers: Sequence[Pipeline]) -> TeacherSpec | None:
    """With the length that its texts are cut to, where it has one of its own."""
    teacher = spec.teacher
    if teacher is None or len(teachers) != 1 or spec.task != TEXT_CLASSIFICATION.name:
        return teacher
    return replace(teacher, max_length=teacher.max_length or teachers[0].effective_data.get("max_length"))
