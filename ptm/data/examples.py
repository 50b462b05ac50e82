"""Examples of a split, and the data set of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptm.data.arrow import select
from ptm.errors import Problem


@dataclass(frozen=True)
class Examples:
    """One split: columns by role (``text``, ``text_pair``, ``image``), class numbers, where a row stands.

    ``attributes``: name → a value a row, of what no model gets to see: columns that ``data.split_by``, ``stratify`` and
    ``slices`` name, and the bins of ``slices``.
    ``targets``: int64 [n] class numbers, -1 where nobody knows it (:mod:`ptm.data.unlabelled`); float32 [n, classes] of
    0 and 1 for any number of classes; float64 [n] numbers; an array [n] of int64 arrays for tags; None where the
    columns hold what is learned, or nobody knows it.
    """

    columns: Mapping[str, Sequence[Any]]
    targets: Any
    where: Callable[[int], str]
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict, kw_only=True)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def select(self, rows: np.ndarray) -> Examples:
        """Only these rows, in this order; the i-th of them gets id i."""
        columns = {role: select(values, rows) for role, values in self.columns.items()}
        targets = None if self.targets is None else self.targets[rows]
        attributes = {name: select(values, rows) for name, values in self.attributes.items()}
        return Examples(columns, targets, lambda i: self.where(int(rows[i])), attributes=attributes)


@dataclass(frozen=True)
class Dataset:
    """The examples of a run. ``train`` is None when only evaluating, ``test`` where there is no third split; ``labels``
    is () for tasks without classes; ``digests`` are SHA-256 a split. ``warnings``: what may be wrong with them and
    stops nothing. ``decided``: keys of ``data:`` whose default gave way to what is there, and what they came to."""

    train: Examples | None
    eval: Examples
    labels: tuple[str, ...]
    digests: Mapping[str, str]
    warnings: tuple[Problem, ...] = ()
    decided: Mapping[str, str] = field(default_factory=dict)
    test: Examples | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Examples a split: train, eval, test."""
        splits = {"train": self.train, "eval": self.eval, "test": self.test}
        return {name: len(examples) for name, examples in splits.items() if examples is not None}

    @property
    def judged(self) -> Examples:
        """What a finished run is judged by."""
        return self.eval if self.test is None else self.test


def rare_labels(examples: Examples, labels: Sequence[str], least: int) -> list[tuple[str, int, str]]:
    """(label, examples, where the first stands) of classes that have examples, but fewer than ``least``."""
    targets = np.asarray(examples.targets)
    counts = np.bincount(targets[targets >= 0], minlength=len(labels))
    first = dict(zip(*(part.tolist() for part in np.unique(targets, return_index=True)), strict=True))
    return [
        (labels[number], int(counts[number]), examples.where(first[number]))
        for number in np.flatnonzero((counts > 0) & (counts < least)).tolist()
    ]


def singleton_labels(data: Dataset) -> list[tuple[str, str]]:
    """(label, where) of classes with one example, often a typo, of a training set whose examples have one class each;
    [] for any other."""
    train = data.train
    if train is None or not isinstance(train.targets, np.ndarray) or train.targets.dtype != np.int64:
        return []
    if train.targets.ndim != 1 or not data.labels:
        return []
    return [(label, where) for label, _, where in rare_labels(train, data.labels, 2)]
