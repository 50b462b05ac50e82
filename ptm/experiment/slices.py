"""Metrics of parts of the evaluated examples: ``data.slices``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ptm.config.spec import RunSpec
from ptm.data.attributes import slice_values
from ptm.data.examples import Dataset, Examples
from ptm.errors import ConfigError, DataError, NotFinite
from ptm.metrics.summary import Sliced
from ptm.pipeline import Metrics, Pipeline
from ptm.run.results import Slice


def measure_slices(
    spec: RunSpec, metrics: Metrics, pipeline: Pipeline, examples: Examples
) -> tuple[Slice, ...]:
    """A row for each value of each of ``data.slices``. ``examples``: what ``pipeline`` evaluated.

    Raises NotFinite for a metric that is no number: a bound would be held against it.
    """
    if not spec.data.slices:
        return ()
    assert isinstance(metrics, Sliced)  # as require_sliced has made sure
    rows = []
    for name, values in slice_values(spec.data, examples).items():
        of_ids = np.array(pipeline.attribute(name))
        for value in values:
            ids = np.flatnonzero(of_ids == value)
            if len(ids):
                rows.append(_measured(metrics, name, value, ids))
    return tuple(rows)


def _measured(metrics: Sliced, name: str, value: str, ids: np.ndarray) -> Slice:
    try:
        values = metrics.subset(ids).compute()
    except DataError:  # nothing in it counts: masks in which every pixel is ignored
        values = {}
    for metric, number in values.items():
        if not math.isfinite(number):
            raise NotFinite(
                f"{metric} is {number}",
                where=f"the {len(ids)} examples of {name}={value}",
                expected="finite numbers",
                cure="look at these examples, or leave this slice out of data.slices",
            )
    return Slice(slice=name, value=value, examples=len(ids), metrics=values)


def require_sliced(spec: RunSpec, pipeline: Pipeline) -> None:
    """ConfigError where the metrics of a task cannot be told for parts of the examples: before the first step."""
    if spec.data.slices and not isinstance(pipeline.new_metrics(), Sliced):
        raise ConfigError(
            f"the metrics of {spec.task} are not known of single examples",
            where="data.slices",
            cure="remove it",
        )


def require_metrics(spec: RunSpec, data: Dataset, named: Sequence[tuple[str, str]]) -> None:
    """ConfigError for metrics, (where, name), that these labels, or the slices of what is judged, do not have: before
    the first step."""
    spec.evaluation.require(named, data.labels, slice_values(spec.data, data.judged))
