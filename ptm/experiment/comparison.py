"""What two runs' predictions can be compared by, example by example: a metric that is a mean over what was judged.

The descriptor of a task or of a label type names one such measure (:func:`measure_of`). A sum and a count an example
are enough for it, so that a paired test can draw examples anew without running a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.config.spec import RunSpec
from ptm.config.tags import Entity, entities, entity_tags
from ptm.errors import ConfigError, RunDirectoryError
from ptm.experiment.verdict import PairedScores
from ptm.metrics.regression import pearson
from ptm.run.directory import RunDirectory
from ptm.run.results import Judged, Results

_ROUNDING = 1e-4  # numbers of predictions.jsonl have six digits
Row = Mapping[str, Any]  # a Prediction; each measure reads the keys of its own task


@dataclass(frozen=True, kw_only=True)
class Measure:
    """``metric`` of results.json is the sum of the first over the sum of the second of ``score``, over all examples.

    ``things`` are what ``score`` counts; ``own_counts``: the answers decide how many there are, as of an F1, which
    is twice the entities that are right over those that are there and those that are said. Of two models' rows for the
    same examples, ``agreement`` is the fraction on which both predict the same, ``correlation`` that of numbers; None
    where predictions.jsonl holds no predictions.
    """

    metric: str
    things: str
    higher_is_better: bool
    score: Callable[[Row], tuple[float, float]]
    own_counts: bool = False
    agreement: Callable[[Sequence[Row], Sequence[Row]], float] | None = None
    correlation: Callable[[Sequence[Row], Sequence[Row]], float] | None = None


def measure_of(spec: RunSpec, labels: Sequence[str] = ()) -> Measure:
    """How models of this task with these ``labels`` are compared: those that tag words by entities, where the tags name
    such. Raises ConfigError for a task whose predictions are not compared."""
    comparison = spec.evaluation.comparison
    if comparison is None:
        raise ConfigError(f"predictions of {spec.task} are not compared example by example", where="task")
    known = entity_tags(labels) if spec.evaluation.of_entities else {}
    return _entity_measure(known) if known else MEASURES[comparison]


def scores_of(measure: Measure, rows: Mapping[int, Row], ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of the examples ``ids``, float64 [n] each."""
    pairs = np.array([measure.score(rows[index]) for index in ids], dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def paired_scores(
    measure: Measure, candidate: Mapping[int, Row], baseline: Mapping[int, Row], seed: int
) -> PairedScores | None:
    """The scores of both on the same examples; None where they were evaluated on different ones."""
    if candidate.keys() != baseline.keys():
        return None
    ids = sorted(candidate)
    (ours, counts), (theirs, counts_baseline) = (
        scores_of(measure, rows, ids) for rows in (candidate, baseline)
    )
    if measure.own_counts and all(candidate[row]["tags"] == baseline[row]["tags"] for row in ids):
        return PairedScores(
            seed=seed, candidate=ours, baseline=theirs, counts=counts, baseline_counts=counts_baseline
        )
    if (counts != counts_baseline).any():
        return None
    return PairedScores(seed=seed, candidate=ours, baseline=theirs, counts=counts)


def require_metric(
    measure: Measure, value: float, results: Results, run: RunDirectory, split: Judged
) -> None:
    """Raise RunDirectoryError for a run whose results.json has another metric than ``value``, which its predictions
    come to."""
    recorded = results.metrics_of(split).get(measure.metric)
    if recorded is not None and abs(recorded - value) > _ROUNDING * max(1.0, abs(value)):
        raise RunDirectoryError(
            f"their {measure.metric} is {value:.6g}, and results.json has {recorded:.6g}",
            where=run.predictions_of(split),
            cure="restore the files of this run, or train it again",
        )


def _right(row: Row) -> tuple[float, float]:
    return float(row["label"] == row["prediction"]), 1.0


def _squared_error(row: Row) -> tuple[float, float]:
    return (row["label"] - row["prediction"]) ** 2, 1.0


def _found(row: Row) -> tuple[float, float]:
    return float(row["rank"] == 1), 1.0


def _same_found(a: Sequence[Row], b: Sequence[Row]) -> float:
    return float(np.mean([_found(x) == _found(y) for x, y in zip(a, b, strict=True)]))


def _right_words(row: Row) -> tuple[float, float]:
    return float(_same(row["tags"], row["predicted_tags"])), float(len(row["tags"]))


def _shared_words(row: Row) -> tuple[float, float]:
    return float(row["f1"]), 1.0


def _same_answers(a: Sequence[Row], b: Sequence[Row]) -> float:
    return float(np.mean([x["answer"] == y["answer"] for x, y in zip(a, b, strict=True)]))


def _right_tokens(row: Row) -> tuple[float, float]:
    return float(row["right"]), float(row["tokens"])


def _nats(row: Row) -> tuple[float, float]:
    return row["loss"] * row["tokens"], float(row["tokens"])


def _right_pixels(row: Row) -> tuple[float, float]:
    return float(row["right"]), float(row["pixels"])


def _same(a: Sequence[Any], b: Sequence[Any]) -> int:
    return sum(x == y for x, y in zip(a, b, strict=True))


def _same_predictions(a: Sequence[Row], b: Sequence[Row]) -> float:
    return float(np.mean([x["prediction"] == y["prediction"] for x, y in zip(a, b, strict=True)]))


def _same_words(a: Sequence[Row], b: Sequence[Row]) -> float:
    pairs = [(x["predicted_tags"], y["predicted_tags"]) for x, y in zip(a, b, strict=True)]
    return sum(_same(x, y) for x, y in pairs) / sum(len(x) for x, _ in pairs)


def _entity_measure(known: Mapping[str, tuple[str, str]]) -> Measure:
    def found(row: Row, key: str) -> set[Entity]:
        return set(entities(row[key], known))

    def score(row: Row) -> tuple[float, float]:
        true, predicted = found(row, "tags"), found(row, "predicted_tags")
        return 2.0 * len(true & predicted), float(len(true) + len(predicted))

    def agreement(a: Sequence[Row], b: Sequence[Row]) -> float:
        pairs = [(found(x, "predicted_tags"), found(y, "predicted_tags")) for x, y in zip(a, b, strict=True)]
        predicted = sum(len(x) + len(y) for x, y in pairs)
        return 2 * sum(len(x & y) for x, y in pairs) / predicted if predicted else 1.0

    return _rate("f1", "sentences", score, own_counts=True, agreement=agreement)


def _correlation(a: Sequence[Row], b: Sequence[Row]) -> float:
    return pearson(*(np.array([row["prediction"] for row in rows], dtype=np.float64) for rows in (a, b)))


# What a line of predictions.jsonl says of its example, whatever a model answers.
_OF_EXAMPLE = ("input", "label", "tags", "answers", "target", "target_boxes", "target_labels", "target_masks")


def same_examples(ours: Mapping[int, Row], theirs: Mapping[int, Row]) -> bool:
    """Whether two sides' predictions are of the same examples: the same numbers, inputs and right answers."""
    if ours.keys() != theirs.keys():
        return False
    return all(ours[index].get(key) == theirs[index].get(key) for index in ours for key in _OF_EXAMPLE)


def has_texts(rows: Mapping[int, Row]) -> bool:
    """Whether each line holds its whole input."""
    return all("input" in row for row in rows.values())


def _rate(metric: str, things: str, score: Callable[[Row], tuple[float, float]], **more: Any) -> Measure:
    return Measure(metric=metric, things=things, higher_is_better=True, score=score, **more)


# By Evaluation.comparison of a descriptor.
MEASURES: Mapping[str, Measure] = {
    "examples": _rate("accuracy", "examples", _right, agreement=_same_predictions),
    "label sets": _rate("subset_accuracy", "examples", _right, agreement=_same_predictions),
    "numbers": Measure(
        metric="mean_squared_error",
        things="examples",
        higher_is_better=False,
        score=_squared_error,
        correlation=_correlation,
    ),
    "pairs": _rate("recall1", "pairs", _found, agreement=_same_found),
    "words": _rate("accuracy", "words", _right_words, agreement=_same_words),
    "answers": _rate("f1", "questions", _shared_words, agreement=_same_answers),
    "masked tokens": _rate("masked_accuracy", "masked tokens", _right_tokens),
    "tokens": Measure(metric="loss", things="tokens", higher_is_better=False, score=_nats),
    "pixels": _rate("pixel_accuracy", "pixels", _right_pixels),
}
