"""What an evaluation says where a number is predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ptm.metrics.classification import LogitMetrics
from ptm.metrics.summary import Summary
from ptm.pipeline import Prediction


class NumberMetrics(LogitMetrics):
    """Correlations and errors of one number an example, in double precision."""

    def compute(self) -> dict[str, float]:
        """``pearson`` and ``spearman`` are 0 where one side is constant, so that nothing is correlated."""
        _, targets, logits = self._accumulator.labelled()
        truth, predictions = targets.astype(np.float64), logits[:, 0].astype(np.float64)
        return {
            **self._accumulator.loss(),
            "pearson": pearson(truth, predictions),
            "spearman": pearson(_ranks(truth), _ranks(predictions)),
            "mean_squared_error": float(np.mean((truth - predictions) ** 2)),
            "mean_absolute_error": float(np.mean(np.abs(truth - predictions))),
        }

    def summary(self) -> Summary:
        """The constant answer is the mean of the numbers."""
        _, targets, logits = self._accumulator.labelled()
        truth = targets.astype(np.float64)
        off = truth - truth.mean()
        answers = np.unique(logits[:, 0])
        constant = {
            "loss": float(np.mean(off**2)),
            "pearson": 0.0,
            "spearman": 0.0,
            "mean_squared_error": float(np.mean(off**2)),
            "mean_absolute_error": float(np.mean(np.abs(off))),
        }
        return Summary(constant=constant, answers=len(answers), only=f"{answers[0]:g}")

    def predictions(self) -> Iterator[Prediction]:
        """``label`` and ``prediction`` are numbers; there are no scores."""
        ids, targets, logits = self._accumulator.by_id()
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index))
            if targets is not None:
                prediction["label"] = float(targets[row])
            prediction["prediction"] = _shown(logits[row, 0])
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
