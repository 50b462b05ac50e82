"""What stands beside the metrics of an evaluation: answers that look at no input, and classes that are not there.

A constant answer is what a model has to beat: the most frequent class, the mean of the numbers, and for each metric
the constant answer that is best by it (scikit-learn's DummyClassifier and DummyRegressor give the same).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from ptm.config.evaluation import best_mode, shown_metric
from ptm.errors import listing
from ptm.pipeline import Metrics


@dataclass(frozen=True, kw_only=True)
class Summary:
    """``constant``: metric → its value for a constant answer. ``absent``: labels that no evaluated example has.
    ``answers``: how many different answers the model gave, None where that means nothing; ``only``: the single one, in
    words. ``positive``: the label that ``f1`` is of."""

    constant: Mapping[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    answers: int | None = None
    only: str = ""
    positive: str | None = None

    def warnings(self, values: Mapping[str, float], metric: str) -> tuple[str, ...]:
        """What is to be said of ``values``; ``metric``: the one that counts."""
        lines = []
        if self.answers == 1:
            lines.append(f"the model gives the same answer to every example: {self.only}")
        elif self.answers == 0:
            lines.append("the model predicts nothing for any example")
        value, constant = values.get(metric), self.constant.get(metric)
        if value is not None and constant is not None:
            sign = 1 if best_mode(metric) == "max" else -1
            if sign * value <= sign * constant:
                name = shown_metric(metric, self.positive)
                lines.append(f"{name} is {value:.4f}, and {constant:.4f} for a constant answer")
        if self.absent:
            noun = "label" if len(self.absent) == 1 else "labels"
            lines.append(f"no evaluated example has the {noun} {listing(self.absent)}")
        return tuple(lines)


@runtime_checkable
class Summarised(Protocol):
    """Metrics that know what a constant answer would reach."""

    def summary(self) -> Summary: ...


@runtime_checkable
class Sliced(Protocol):
    """Metrics that can be told of a part of what they saw."""

    def subset(self, ids: np.ndarray) -> Metrics:
        """What was seen of the examples ``ids``, int64 [k]; its ``compute`` leaves out what is not known of them alone,
        such as a loss that is kept by batches."""
        ...


def summary_of(metrics: object) -> Summary:
    """Empty where a task has nothing to say."""
    return metrics.summary() if isinstance(metrics, Summarised) else Summary()


def absent_labels(counts: np.ndarray, labels: Sequence[str]) -> tuple[str, ...]:
    """``counts``: evaluated examples (or words, pixels) of each label, int64 [classes]."""
    return tuple(name for name, count in zip(labels, counts, strict=True) if not count)


def entropy(shares: np.ndarray) -> float:
    """Cross-entropy, in nats, of an answer that gives every class its share; float64 [classes]."""
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())
