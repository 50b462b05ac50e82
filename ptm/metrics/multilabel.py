"""What an evaluation says where any number of classes may apply. The formulas are scikit-learn's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ptm.metrics.classification import Accumulator
from ptm.pipeline import Batch, Metrics, Output, Prediction

THRESHOLD = 0.5  # probability from which a class is predicted


class MultiLabelMetrics:
    """F1, exact match and AUROC over independent yes-or-no classes. Holds 8 bytes an example and class."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._accumulator = Accumulator()

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self._accumulator.add(batch, output, output.logits.float().sigmoid().cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> MultiLabelMetrics:
        merged = MultiLabelMetrics(self._labels)
        for part in (self, *others):
            assert isinstance(part, MultiLabelMetrics)
            merged._accumulator = merged._accumulator.joined(part._accumulator)
        return merged

    def compute(self) -> dict[str, float]:
        """``subset_accuracy`` is the share of examples with every class right; ``auroc_macro`` the mean over the
        classes that have examples with and without them, and left out where there is none."""
        from sklearn import metrics

        _, targets, probabilities = self._accumulator.labelled()
        truth, predicted = targets > 0, probabilities >= THRESHOLD
        f1_micro, f1_macro = (
            metrics.f1_score(truth, predicted, average=average, zero_division=0)
            for average in ("micro", "macro")
        )
        values = {
            "loss": self._accumulator.mean_loss(),
            "f1_micro": f1_micro,
            "f1_macro": f1_macro,
            "subset_accuracy": (truth == predicted).all(1).mean(),
        }
        both = truth.any(0) & ~truth.all(0)
        if both.any() and np.isfinite(probabilities).all():
            areas = [metrics.roc_auc_score(truth[:, k], probabilities[:, k]) for k in np.flatnonzero(both)]
            values["auroc_macro"] = np.mean(areas)
        return {name: float(value) for name, value in values.items()}

    def predictions(self) -> Iterator[Prediction]:
        """``label`` and ``prediction`` are lists of names, ``scores`` the probability of each class."""
        ids, targets, probabilities = self._accumulator.by_id()
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index))
            if targets is not None:
                prediction["label"] = self._named(targets[row] > 0)
            prediction["prediction"] = self._named(probabilities[row] >= THRESHOLD)
            pairs = zip(self._labels, probabilities[row], strict=True)
            prediction["scores"] = {name: round(float(p), 6) for name, p in pairs}
            yield prediction

    def _named(self, applies: np.ndarray) -> list[str]:
        return [self._labels[k] for k in np.flatnonzero(applies)]
