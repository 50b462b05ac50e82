"""What a teacher reaches on the evaluation split, measured once and kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm import engine
from ptm.base.cache import root_directory
from ptm.config.spec import DistillSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.distill.identity import block_size, store_description, store_identity
from ptm.distill.store import Store
from ptm.errors import StorageError
from ptm.pipeline import Pipeline
from ptm.training.finite import finite_values
from ptm.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class TeacherEvaluation:
    """``targets`` and ``predicted`` are class numbers of the evaluated examples, or words; empty for tasks whose
    answers are no single classes."""

    metrics: Mapping[str, float]
    targets: Sequence[int]
    predicted: Sequence[int]

    def headline(self, metric: str) -> str:
        """``metric`` and its value, or another one where these data do not define it."""
        name = metric if metric in self.metrics else next((n for n in self.metrics if n != "loss"), "loss")
        return f"{name} {self.metrics[name]:.4f}"

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(list(self.metrics.values())).all())

    def as_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "metrics": dict(self.metrics),
            "targets": list(self.targets),
            "predicted": list(self.predicted),
        }

    @classmethod
    def parse(cls, content: Mapping[str, Any] | None, classes: int) -> TeacherEvaluation | None:
        """None for what is not a stored evaluation over so many classes."""
        if content is None or not {"metrics", "targets", "predicted"} <= set(content):
            return None
        metrics, columns = content["metrics"], (content["targets"], content["predicted"])
        numbers = isinstance(metrics, dict) and metrics and all(map(_is_number, metrics.values()))
        if not numbers or not all(isinstance(column, list) for column in columns):
            return None
        known = all(isinstance(n, int) and 0 <= n < classes for column in columns for n in column)
        if not known or len(columns[0]) != len(columns[1]):
            return None
        return cls(**{name: content[name] for name in ("metrics", "targets", "predicted")})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def evaluate_teacher(
    spec: RunSpec,
    settings: DistillSpec,
    data: Dataset,
    pipeline: Pipeline,
    name: str,
    weights: str,
    runtime: Runtime,
) -> TeacherEvaluation:
    """From the store when the same teacher was evaluated before. ``weights`` is the digest of its tensors."""
    with ExitStack() as stores:
        store = None
        if settings.store != "off" and runtime.main:
            identity = store_identity(spec, data, "eval", pipeline, weights, runtime)
            description = store_description(spec, name, "eval")
            try:
                store = stores.enter_context(Store(root_directory(settings.store), identity, (), description))
            except StorageError:
                store = None
        stored = runtime.gather(store.read_evaluation() if store is not None else None)[0]
        evaluation = TeacherEvaluation.parse(stored, len(pipeline.labels))
        if evaluation is None:
            evaluation = _evaluate(spec, pipeline, name, runtime)
            if store is not None and evaluation.finite:
                store.write_evaluation(evaluation.as_dict())
        return evaluation


def _evaluate(spec: RunSpec, pipeline: Pipeline, name: str, runtime: Runtime) -> TeacherEvaluation:
    pipeline.model.to(runtime.device)
    metrics = engine.evaluate(pipeline, runtime, batch_size=block_size(spec))
    pairs = list(_class_pairs(metrics.predictions(), pipeline.labels))
    return TeacherEvaluation(
        metrics=finite_values(metrics, pipeline, f"teacher {name}"),
        targets=[target for target, _ in pairs],
        predicted=[predicted for _, predicted in pairs],
    )


def _class_pairs(
    predictions: Iterable[Mapping[str, Any]], labels: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Class numbers (true, predicted) of each example, or of each word; none where several classes may apply."""
    number = {name: index for index, name in enumerate(labels)}
    for row in predictions:
        if "predicted_tags" in row:
            pairs = zip(row["tags"], row["predicted_tags"], strict=True)
            yield from (
                (number[target], number[predicted]) for target, predicted in pairs if predicted is not None
            )
        elif isinstance(row.get("label"), str):
            yield number[row["label"]], number[row["prediction"]]
