"""The predictions of a classifier, counted: all that the page says about its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptm.report import words
from ptm.report.inputs import RunFiles, listing, mapping, number

if TYPE_CHECKING:
    import numpy as np

    from ptm.report.scores import Calibration, Coverage, PerClass


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """``n`` predictions of one class against another."""

    classes: tuple[str, ...]
    targets: np.ndarray  # class numbers, int64 [n]
    predicted: np.ndarray
    per_class: PerClass
    n: int
    correct: int
    calibration: Calibration | None  # None without probabilities
    coverage: Coverage | None  # the same
    wrong: tuple[Mapping[str, Any], ...]  # by falling probability of the wrong class

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


def score_classes(run: RunFiles) -> ClassScores | None:
    """None where there are no such predictions."""
    import numpy as np

    from ptm.report import scores

    rows = run.predictions
    if not rows:
        return None
    targets = [words.plain(row["label"]) for row in rows]
    predicted = [words.plain(row["prediction"]) for row in rows]
    classes = tuple(dict.fromkeys([*label_names(run), *sorted({*targets, *predicted})]))
    index = {name: i for i, name in enumerate(classes)}
    target_ids = np.array([index[name] for name in targets])
    predicted_ids = np.array([index[name] for name in predicted])
    right = target_ids == predicted_ids
    probabilities = np.array([probability(row, name) for row, name in zip(rows, predicted, strict=True)])
    usable = np.isfinite(probabilities)
    by_probability = np.argsort(-np.where(usable, probabilities, -1.0), kind="stable")
    return ClassScores(
        classes=classes,
        targets=target_ids,
        predicted=predicted_ids,
        per_class=scores.per_class(target_ids, predicted_ids, len(classes)),
        n=len(rows),
        correct=int(right.sum()),
        calibration=scores.calibration(probabilities[usable], right[usable]) if usable.any() else None,
        coverage=scores.coverage(probabilities[usable], right[usable]) if usable.any() else None,
        wrong=tuple(rows[i] for i in by_probability if not right[i]),
    )


def label_names(run: RunFiles) -> list[str]:
    """The label names in the model's order, as far as the run says."""
    names = listing(run.results.get("labels")) or listing(run.spec("data", "labels"))
    return [words.plain(name) for name in names]


def probability(row: Mapping[str, Any], name: str) -> float:
    """What a prediction gives a class; NaN where it was not stored."""
    value = number(mapping(row.get("scores")).get(name))
    return value if 0 <= value <= 1 else math.nan
