"""What an evaluation says of a classifier. The formulas are scikit-learn's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ptm.errors import DataError
from ptm.pipeline import Batch, Metrics, Output

_ALL_SCORES = 20  # with more classes, a prediction lists only its five highest


class ClassificationMetrics:
    """Accuracy and friends over single-label classes. Holds 4 bytes an example and class."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._loss_sum = 0.0
        self._count = 0
        self._ids: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None and batch.targets is not None
        self._loss_sum += float(output.loss_sum)
        self._count += output.count
        self._ids.append(batch.ids)
        self._targets.append(batch.targets.cpu().numpy())
        self._probabilities.append(output.logits.float().softmax(-1).cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> ClassificationMetrics:
        merged = ClassificationMetrics(self._labels)
        for part in (self, *others):
            assert isinstance(part, ClassificationMetrics)
            merged._loss_sum += part._loss_sum
            merged._count += part._count
            merged._ids += part._ids
            merged._targets += part._targets
            merged._probabilities += part._probabilities
        return merged

    def compute(self) -> dict[str, float]:
        from sklearn import metrics

        _, targets, probabilities = self._sorted()
        predicted = probabilities.argmax(-1)
        classes = np.arange(len(self._labels))
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            targets, predicted, labels=classes, average="macro", zero_division=0
        )
        values = {
            "loss": self._loss_sum / self._count,
            "accuracy": metrics.accuracy_score(targets, predicted),
            "f1_macro": f1,
            "precision_macro": precision,
            "recall_macro": recall,
            "mcc": metrics.matthews_corrcoef(targets, predicted),
        }
        if len(classes) == 2:  # the second label is the positive one
            values["f1"] = metrics.f1_score(targets, predicted, labels=classes, pos_label=1, zero_division=0)
            if len(np.unique(targets)) == 2 and np.isfinite(probabilities).all():
                values["auroc"] = metrics.roc_auc_score(targets, probabilities[:, 1])
        if len(classes) > 5:
            top = np.argpartition(-probabilities, 5, axis=-1)[:, :5]
            values["top5_accuracy"] = (top == targets[:, None]).any(-1).mean()
        return {name: float(value) for name, value in values.items()}

    def predictions(self) -> Iterator[dict[str, Any]]:
        for index, target, row in zip(*self._sorted(), strict=True):
            shown = range(len(row)) if len(row) <= _ALL_SCORES else np.argsort(-row, kind="stable")[:5]
            yield {
                "id": int(index),
                "label": self._labels[target],
                "prediction": self._labels[int(row.argmax())],
                "scores": {self._labels[i]: round(float(row[i]), 6) for i in shown},
            }

    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, targets, probabilities by rising id: results do not depend on batches or processes."""
        if not self._ids:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        ids = np.concatenate(self._ids)
        by_id = np.argsort(ids, kind="stable")
        return ids[by_id], np.concatenate(self._targets)[by_id], np.concatenate(self._probabilities)[by_id]
