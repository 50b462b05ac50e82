"""What an evaluation says where any number of classes may apply. The formulas are scikit-learn's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptm.metrics.classification import LogitMetrics, six_digits
from ptm.metrics.counts import count_flags, roc_auc
from ptm.metrics.summary import Summary, absent_labels, entropy
from ptm.pipeline import Prediction

THRESHOLD_LOGIT = 0.0  # from which a class is predicted: a probability of 0.5


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 [n, classes]."""
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)))


class MultiLabelMetrics(LogitMetrics):
    """F1, exact match and AUROC over independent yes-or-no classes."""

    def compute(self) -> dict[str, float]:
        """``subset_accuracy`` is the share of examples with every class right; ``auroc_macro`` the mean over the
        classes that have examples with and without them, and left out where there is none."""
        _, targets, logits = self._accumulator.labelled()
        truth, predicted = targets > 0, self._applies(logits)
        values = {**self._accumulator.loss(), **flag_scores(truth, predicted)}
        both = truth.any(0) & ~truth.all(0)
        if both.any() and np.isfinite(logits).all():
            areas = [roc_auc(truth[:, k], logits[:, k]) for k in np.flatnonzero(both)]
            values["auroc_macro"] = float(np.mean(areas))
        return {name: float(value) for name, value in values.items()}

    def summary(self) -> Summary:
        """The constant answer is, for each metric, the set of labels that is best by it."""
        _, targets, logits = self._accumulator.labelled()
        truth, predicted = targets > 0, self._applies(logits)
        counts = truth.sum(0)
        shares = counts / len(truth)
        # The best set by the micro F1 holds the most frequent labels; how many is tried out.
        hits = np.cumsum(np.sort(counts)[::-1])
        sizes = np.arange(1, len(counts) + 1)
        f1_micro = 2 * hits / np.maximum(len(truth) * sizes + counts.sum(), 1)
        _, repeats = np.unique(truth, axis=0, return_counts=True)
        everywhere = shares[counts > 0]
        constant = {
            "loss": float(np.mean([entropy(np.array([share, 1 - share])) for share in shares])),
            "f1_micro": float(f1_micro.max()),
            "f1_macro": float((2 * everywhere / (1 + everywhere)).mean()) if len(everywhere) else 0.0,
            "subset_accuracy": float(repeats.max() / len(truth)),
            "auroc_macro": 0.5,
        }
        answers = np.unique(predicted, axis=0)
        return Summary(
            constant=constant,
            absent=absent_labels(counts, self._labels),
            answers=len(answers) if predicted.any() else 0,
            only=str(self._named(answers[0])),
        )

    def predictions(self) -> Iterator[Prediction]:
        """``label`` and ``prediction`` are lists of names, ``scores`` the probability of each class."""
        ids, targets, logits = self._accumulator.by_id()
        probabilities, predicted = sigmoid(logits), self._applies(logits)
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index))
            if targets is not None:
                prediction["label"] = self._named(targets[row] > 0)
            prediction["prediction"] = self._named(predicted[row])
            pairs = zip(self._labels, probabilities[row], strict=True)
            prediction["scores"] = {name: six_digits(p) for name, p in pairs}
            yield prediction

    def _applies(self, logits: np.ndarray) -> np.ndarray:
        """Which labels are predicted, bool [n, classes]."""
        if not self._thresholds:
            return logits >= THRESHOLD_LOGIT
        return sigmoid(logits) >= np.array([self._thresholds[label] for label in self._labels])

    def _named(self, applies: np.ndarray) -> list[str]:
        return [self._labels[k] for k in np.flatnonzero(applies)]


def flag_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """What is computed of yes and no alone, bool [n, classes]."""
    counts = count_flags(truth, predicted)
    # Of a class that is neither there nor predicted nothing is known: the macro average leaves it out.
    present = counts.of(np.flatnonzero(counts.true + counts.predicted))
    return {
        "f1_micro": counts.total().f1[0],
        "f1_macro": present.f1.mean() if len(present.f1) else 0.0,
        "subset_accuracy": (truth == predicted).all(1).mean(),
    }
