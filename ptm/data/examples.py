"""Examples of a split, and the data set of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptm.errors import Problem


@dataclass(frozen=True)
class Examples:
    """One split: columns by role (``text``, ``text_pair``, ``image``), class numbers, where a row stands.

    ``targets``: int64 [n] class numbers; float32 [n, classes] of 0 and 1 for any number of classes; float64 [n]
    numbers; an array [n] of int64 arrays for tags; None where the columns hold what is learned, or nobody knows it.
    """

    columns: Mapping[str, Sequence[Any]]
    targets: Any
    where: Callable[[int], str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def select(self, rows: np.ndarray) -> Examples:
        """Only these rows, in this order; the i-th of them gets id i."""
        columns = {role: [values[row] for row in rows] for role, values in self.columns.items()}
        targets = None if self.targets is None else self.targets[rows]
        return Examples(columns, targets, lambda i: self.where(int(rows[i])))


@dataclass(frozen=True)
class Dataset:
    """The examples of a run. ``train`` is None when only evaluating; ``labels`` is () for tasks without classes;
    ``digests`` are SHA-256 a split. ``warnings``: what may be wrong with them and stops nothing. ``decided``: keys of
    ``data:`` whose default gave way to what is there, and what they came to."""

    train: Examples | None
    eval: Examples
    labels: tuple[str, ...]
    digests: Mapping[str, str]
    warnings: tuple[Problem, ...] = ()
    decided: Mapping[str, str] = field(default_factory=dict)


def singleton_rows(examples: Examples, labels: Sequence[str]) -> list[tuple[str, str]]:
    """(label, where) of classes with one example: often a typo."""
    targets = np.asarray(examples.targets)
    counts = np.bincount(targets, minlength=len(labels))
    rows = [int(np.flatnonzero(targets == number)[0]) for number in np.flatnonzero(counts == 1)]
    return [(labels[targets[row]], examples.where(row)) for row in rows]


def singleton_labels(data: Dataset) -> list[tuple[str, str]]:
    """As :func:`singleton_rows`, of a training set whose examples have one class each; [] for any other."""
    train = data.train
    if train is None or not isinstance(train.targets, np.ndarray) or train.targets.dtype != np.int64:
        return []
    return singleton_rows(train, data.labels) if train.targets.ndim == 1 and data.labels else []
