"""Precision, recall, F1 and the area under the ROC curve, as scikit-learn has them, to its last bit.

Importing ``sklearn.metrics`` takes longer than a small run's training; these few lines do not. The tests hold them
against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Of each class: examples that have it and are told so, that are told so, that have it. Each int64 [classes]."""

    right: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """float64 [classes]; 0 of a class that is not predicted."""
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        """float64 [classes]; 0 of a class that no example has."""
        return _ratio(self.right, self.true)

    @property
    def f1(self) -> np.ndarray:
        """float64 [classes]; 0 of a class that is neither there nor predicted."""
        return _ratio(2 * self.right, self.true + self.predicted)

    def of(self, classes: np.ndarray) -> Counts:
        """Of these classes alone."""
        return Counts(self.right[classes], self.predicted[classes], self.true[classes])

    def total(self) -> Counts:
        """Of all classes as one, which micro averages are of."""
        return Counts(*(np.atleast_1d(column.sum()) for column in (self.right, self.predicted, self.true)))


def count_classes(targets: np.ndarray, predicted: np.ndarray, classes: int) -> Counts:
    """From class numbers, int64 [n]."""
    columns = targets[targets == predicted], predicted, targets
    return Counts(*(np.bincount(column, minlength=classes) for column in columns))


def count_flags(truth: np.ndarray, predicted: np.ndarray) -> Counts:
    """From yes and no of each class, bool [n, classes]."""
    return Counts(*(flags.sum(0) for flags in (truth & predicted, predicted, truth)))


def roc_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve, by trapezoids: equal scores count half.

    ``truth``: bool [n], with some of both; ``scores``: finite, [n].
    """
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each run of equal scores
    hits = np.cumsum(truth, dtype=np.float64)[last]
    misses = 1.0 + last - hits
    if len(last) > 2:
        # Points on a straight line add nothing but roundings.
        corners = np.concatenate([[True], (np.diff(misses, 2) != 0) | (np.diff(hits, 2) != 0), [True]])
        hits, misses = hits[corners], misses[corners]
    x, y = (np.concatenate([[0.0], column]) / column[-1] for column in (misses, hits))
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2.0).sum())


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator == 0, 0.0, numerator / np.maximum(denominator, 1))
