"""The config of a run as it is written down: with what the model and the task decided for keys that were left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ptm.config.schema import is_for
from ptm.config.spec import RunSpec, TeacherSpec
from ptm.pipeline import Pipeline

_TEACHER_KEYS = ("max_length", "image_size", "mean", "std")


def effective_spec(spec: RunSpec, pipeline: Pipeline, teachers: Sequence[Pipeline] = ()) -> RunSpec:
    """``spec`` with every value that training uses. It builds the same pipelines again.

    Keys of :data:`ptm.run.saved_config.DECIDED_KEYS` are filled in; what the machine decides (``runtime``) stands in
    the manifest.
    """
    data: dict[str, Any] = {
        key: value for key, value in pipeline.effective_data.items() if getattr(spec.data, key) is None
    }
    # Columns that are labels name them.
    # Not those with control characters, which no config may hold.
    named = pipeline.labels is not None and all(map(str.isprintable, map(str, pipeline.labels)))
    if spec.data.labels is None and spec.data.labels_from is None and pipeline.labels and named:
        data["labels"] = pipeline.labels
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
    """With what it reads, where that is its own: the length of its texts, or size and normalisation of its images."""
    teacher = spec.teacher
    if teacher is None or len(teachers) != 1:
        return teacher
    decided = {
        key: value
        for key, value in teachers[0].effective_data.items()
        if key in _TEACHER_KEYS and is_for(("teacher", key), spec.task) and getattr(teacher, key) is None
    }
    return replace(teacher, **decided)
