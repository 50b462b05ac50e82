"""What an evaluation says where a number is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ptm.metrics.classification import Accumulator
from ptm.pipeline import Batch, Metrics, Output, Prediction


class NumberMetrics:
    """Correlations and errors of one number an example, in double precision."""

    def __init__(self) -> None:
        self._accumulator = Accumulator()

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self._accumulator.add(batch, output, output.logits[:, 0].float().cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> NumberMetrics:
        merged = NumberMetrics()
        for part in (self, *others):
            assert isinstance(part, NumberMetrics)
            merged._accumulator = merged._accumulator.joined(part._accumulator)
        return merged

    def compute(self) -> dict[str, float]:
        """``pearson`` and ``spearman`` are 0 where one side is constant, so that nothing is correlated."""
        _, targets, predicted = self._accumulator.labelled()
        truth, predictions = targets.astype(np.float64), predicted.astype(np.float64)
        return {
            "loss": self._accumulator.mean_loss(),
            "pearson": pearson(truth, predictions),
            "spearman": pearson(_ranks(truth), _ranks(predictions)),
            "mean_squared_error": float(np.mean((truth - predictions) ** 2)),
            "mean_absolute_error": float(np.mean(np.abs(truth - predictions))),
        }

    def predictions(self) -> Iterator[Prediction]:
        """``label`` and ``prediction`` are numbers; there are no scores."""
        ids, targets, predicted = self._accumulator.by_id()
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index))
            if targets is not None:
                prediction["label"] = _shown(targets[row])
            prediction["prediction"] = _shown(predicted[row])
            yield prediction


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation coefficient of two float64 [n]; 0 where one is constant."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / size, -1, 1)) if size > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equal values sharing the mean of theirs (Spearman 1904)."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)


def _shown(value: np.floating[Any]) -> float:
    """The shortest decimal number that is this float32."""
    return float(str(np.float32(value)))
