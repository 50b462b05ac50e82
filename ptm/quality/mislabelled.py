"""Examples that are likely labelled wrong: confident learning (Northcutt et al. 2021, arXiv:1911.00068)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Doubt:
    """An example whose label is doubted: its row, the class that is likely right, and how probable its own label and
    that class are by models that were not trained on it."""

    row: int
    label: int
    likely: int
    own: float
    other: float


def doubts(probabilities: np.ndarray, labels: np.ndarray) -> list[Doubt]:
    """Those of float [n, classes] and int64 [n], the most doubtful first. ``probabilities`` are of models that have not
    seen the example.

    An example is counted where its probability of a class is at least the mean of those that are labelled so (eq. 1,
    the confident joint); of several such classes the most probable. It is doubted where that is not its label (§3.2,
    off the diagonal of the joint), and ranked by how much more probable that class is (the normalised margin).
    """
    classes = probabilities.shape[1]
    present = np.bincount(labels, minlength=classes) > 0
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = np.full(classes, np.inf)
    for number in np.flatnonzero(present):
        thresholds[number] = own[labels == number].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    likely = confident.argmax(1)
    doubted = np.flatnonzero((confident.max(1) >= 0) & (likely != labels))
    others = probabilities[np.arange(len(labels)), likely]
    order = doubted[np.argsort(own[doubted] - others[doubted], kind="stable")]
    return [
        Doubt(int(row), int(labels[row]), int(likely[row]), float(own[row]), float(others[row]))
        for row in order
    ]
