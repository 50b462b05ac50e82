"""What can be computed from predictions: pure functions of arrays. Sources stand beside the formulas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptm.metrics.counts import count_classes

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class PerClass:
    """One number a class, float64 [classes]; ``support``, int64, counts the examples of that label."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How far probabilities are from frequencies. Arrays are [bins]; an empty bin holds NaN means.

    ``error`` is the expected calibration error: the examples' mean of |accuracy - confidence| of their bin.
    """

    edges: np.ndarray  # float64 [bins + 1], from 0 to 1
    counts: np.ndarray  # int64
    confidence: np.ndarray  # mean probability of the predicted class
    accuracy: np.ndarray  # fraction that was right
    error: float
    mean_confidence: float
    mean_accuracy: float


@dataclass(frozen=True)
class Coverage:
    """What share of the surest answers is right. Arrays are [n], the surest first; equally sure ones go together."""

    covered: np.ndarray  # share of the examples that are answered, up to 1
    accuracy: np.ndarray  # of these
    least: np.ndarray  # probability from which on they are answered

    def at(self, share: float) -> tuple[float, float, float]:
        """(covered, accuracy, least probability) of the fewest answers that cover this share."""
        place = int(np.searchsorted(self.covered, share - 1e-12))
        return float(self.covered[place]), float(self.accuracy[place]), float(self.least[place])


def coverage(confidence: np.ndarray, correct: np.ndarray) -> Coverage:
    """Accuracy over coverage where unsure answers are kept back (Geifman and El-Yaniv 2017, arXiv:1705.08500, §2).

    ``confidence`` is the probability of the predicted class, float [n]; ``correct`` bool [n]; n at least 1.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    ends = np.flatnonzero(np.append(falling[:-1] > falling[1:], True))
    answered = ends + 1
    right = np.cumsum(correct[order])[ends]
    return Coverage(answered / len(confidence), right / answered, falling[ends])


def wilson_interval(proportion: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a ``proportion`` seen in ``n`` examples (Wilson 1927, JASA 22, eq. 6).

    Unlike the normal interval it stays within [0, 1] and is honest near its ends. Without examples: [0, 1].
    """
    if n <= 0:
        return 0.0, 1.0
    scale = 1 + z * z / n
    centre = (proportion + z * z / (2 * n)) / scale
    half = z * np.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n)) / scale
    low, high = float(centre - half), float(centre + half)
    return max(0.0, min(low, proportion)), min(1.0, max(high, proportion))  # rounding must not cut off 0 or 1


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often class i (row) was taken for class j (column), int64 [classes, classes]: of few classes."""
    cells = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def per_class(targets: np.ndarray, predicted: np.ndarray, classes: int) -> PerClass:
    """Precision, recall and F1 = 2PR / (P + R) of each class; 0 for 0 / 0, as in the macro averages."""
    counts = count_classes(targets, predicted, classes)
    return PerClass(precision=counts.precision, recall=counts.recall, f1=counts.f1, support=counts.true)


def most_confused(targets: np.ndarray, predicted: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    """The ``limit`` most frequent mistakes: (label, prediction, count), falling; ties in class order.

    From the pairs that occur: a matrix of 20,000 classes would take 3.2 GB.
    """
    wrong = targets != predicted
    pairs, counts = np.unique(np.stack([targets[wrong], predicted[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:limit]
    labels, predictions = pairs[:, order].tolist()
    return list(zip(labels, predictions, counts[order].tolist(), strict=True))


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> Calibration:
    """Expected calibration error over equal-width bins (lo, hi] (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    ``confidence`` is the probability of the predicted class, float [n]; ``correct`` bool [n]; n at least 1.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    expected = np.bincount(place, weights=confidence, minlength=bins)
    right = np.bincount(place, weights=correct, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Calibration(
            edges=edges,
            counts=counts,
            confidence=expected / counts,
            accuracy=right / counts,
            error=float(np.abs(right - expected).sum() / len(confidence)),
            mean_confidence=float(confidence.mean()),
            mean_accuracy=float(correct.mean()),
        )


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over ``window`` neighbours (odd), fewer at the ends; NaNs do not count and stay where they are."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    half = window // 2
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    means: np.ndarray = np.where(known, total / np.maximum(count, 1), np.nan)
    return means
