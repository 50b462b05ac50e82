"""What a classifier answers, given its logits: a temperature and thresholds, fitted on the evaluation split and saved
with the model. A model that teaches, or is trained on, is used without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.config.label_types import CLASSES
from ptm.config.spec import DecisionsSpec
from ptm.errors import ModelError, listing
from ptm.metrics.classification import Accumulator, softmax
from ptm.metrics.label_types import supervised_loss
from ptm.metrics.multilabel import sigmoid
from ptm.pipeline import Batch, Metrics, Output, Prediction

FILE = "decisions.json"
_FORMAT = 1
_LOG_TEMPERATURES = (-3.0, 3.0)  # 0.05 to 20
_FURTHEST = 1000.0  # that a temperature may be from 1: ptm fits less, and with more logits are no numbers
_MOST_BYTES = 16_000_000


@dataclass(frozen=True)
class Decisions:
    """``temperature``: logits are divided by it. ``thresholds``: label → probability from which it applies; of two
    labels of which one applies, that of the positive one alone; empty for the usual 0.5, or highest. ``fitted``: what
    they were fitted on and what that brought there, for the record."""

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, output: Output, batch: Batch, label_type: str) -> Output:
        """``output`` with calibrated logits and their loss."""
        if self.temperature == 1 or output.logits is None:
            return output
        logits = output.logits / self.temperature
        if batch.targets is None:
            return replace(output, logits=logits)
        return replace(output, logits=logits, loss_sum=supervised_loss(logits, batch.targets, label_type))

    def write(self, directory: Path) -> None:
        """``decisions.json``, beside a saved model. Raises StorageError."""
        files.write_json(directory / FILE, {"format": _FORMAT, **self.as_dict()})

    def as_dict(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "thresholds": dict(self.thresholds),
            "fitted": dict(self.fitted),
        }


def stored_decisions(name: str, labels: Sequence[str]) -> Decisions | None:
    """What was saved with the model of this name: the directory of a run, or of its model. None where nothing was."""
    directory = Path(name)
    if not directory.is_absolute():  # of a hub, a package, a library
        return None
    return read_decisions(directory / "model", labels) or read_decisions(directory, labels)


def read_decisions(directory: Path, labels: Sequence[str]) -> Decisions | None:
    """What was saved beside a model; None where nothing was. Raises ModelError for what ptm does not write, or
    thresholds of other labels."""
    place = directory / FILE
    if not place.is_file():
        return None
    try:
        stored = files.parse_json(read_bytes(place, _MOST_BYTES))
        temperature, thresholds = float(stored["temperature"]), dict(stored["thresholds"])
        in_reach = 1 / _FURTHEST <= temperature <= _FURTHEST
        good = in_reach and all(0 <= float(t) <= 1 for t in thresholds.values())
        if stored["format"] != _FORMAT or not good:
            raise ValueError("it holds other numbers than ptm writes")
        fitted = dict(stored["fitted"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=place, cure="train the model again") from None
    unknown = set(thresholds) - set(labels)
    if unknown:
        raise ModelError(
            f"has a threshold for {min(unknown)!r}", where=place, expected=f"labels among {listing(labels)}"
        )
    if len(labels) == 2 and len(thresholds) > 1:
        raise ModelError(
            "has thresholds for both of two labels", where=place, expected="one for the positive label"
        )
    return Decisions(temperature, {name: float(t) for name, t in thresholds.items()}, fitted)


class LogitCollector:
    """In the place of metrics, keeps all logits and targets of an evaluation."""

    def __init__(self) -> None:
        self.accumulator = Accumulator()

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self.accumulator.add(batch, output, output.logits.float().cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> LogitCollector:
        merged = LogitCollector()
        for part in (self, *others):
            assert isinstance(part, LogitCollector)
            merged.accumulator = merged.accumulator.joined(part.accumulator)
        return merged

    def subset(self, ids: np.ndarray) -> LogitCollector:
        subset = LogitCollector()
        subset.accumulator = self.accumulator.subset(ids)
        return subset

    def compute(self) -> dict[str, float]:
        return self.accumulator.loss()

    def predictions(self) -> Any:
        return iter(list[Prediction]())


def fit_decisions(
    spec: DecisionsSpec,
    logits: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    label_type: str,
    positive: str | None,
) -> Decisions:
    """``logits`` fp32 [n, classes] and ``targets`` of evaluated examples, as the data have them. ``positive``: of two
    labels, the one that a threshold is of."""
    facts: dict[str, Any] = {"split": "eval", "examples": len(logits)}
    temperature = 1.0
    if spec.temperature:
        temperature = fit_temperature(logits, targets, label_type)
        losses = [_loss(logits / t, targets, label_type) for t in (1.0, temperature)]
        facts["loss"] = {"before": losses[0], "after": losses[1]}
    calibrated = (torch.from_numpy(logits) / temperature).numpy()
    thresholds: dict[str, float] = {}
    if spec.thresholds != "none" and label_type == CLASSES.name:
        thresholds, gain = _of_sets(sigmoid(calibrated), targets > 0, labels, each=spec.thresholds == "each")
        facts["f1"] = gain
    elif spec.thresholds != "none":
        number = 1 if positive is None else labels.index(positive)
        score = RATES[spec.metric]
        probabilities, truth = softmax(calibrated)[:, number], targets == number
        threshold = best_threshold(probabilities, truth, score)
        thresholds = {labels[number]: threshold}
        facts[spec.metric] = {
            name: float(score(*_counts(probabilities >= t, truth)))
            for name, t in (("before", 0.5), ("after", threshold))
        }
    return Decisions(temperature, thresholds, facts)


def fit_temperature(logits: np.ndarray, targets: np.ndarray, label_type: str) -> float:
    """The T of logits / T with the lowest loss (Guo et al. 2017, arXiv:1706.04599, §4.2), between 0.05 and 20: the
    loss is convex in 1 / T."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: _loss(logits / np.exp(log_t), targets, label_type),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


Counts = tuple[
    np.ndarray, np.ndarray, np.ndarray, np.ndarray
]  # true and false positives, false and true negatives


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(over, under, out=np.zeros(np.shape(over)), where=np.asarray(under) > 0)
    return ratio


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    return _ratio(2.0 * tp, 2.0 * tp + fp + fn)


def _recall_macro(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    mean: np.ndarray = (_ratio(1.0 * tp, tp + fn) + _ratio(1.0 * tn, tn + fp)) / 2
    return mean


def _mcc(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    product = np.asarray((1.0 * tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return _ratio(1.0 * tp * tn - 1.0 * fp * fn, np.sqrt(product))


# Metrics that a threshold of two labels can be fitted for, of counts: the names of DecisionsSpec.metric.
RATES: Mapping[str, Callable[..., np.ndarray]] = {
    "f1": _f1,
    "f1_macro": lambda tp, fp, fn, tn: (_f1(tp, fp, fn, tn) + _f1(tn, fn, fp, tp)) / 2,
    "accuracy": lambda tp, fp, fn, tn: (1.0 * tp + tn) / (tp + fp + fn + tn),
    "recall_macro": _recall_macro,
    "mcc": _mcc,
}


def best_threshold(probabilities: np.ndarray, truth: np.ndarray, score: Callable[..., np.ndarray]) -> float:
    """The threshold, float64 [n] against bool [n], with the highest score: halfway between two neighbouring
    probabilities, or beyond all of them, where all or none apply; among equal ones the nearest to 0.5."""
    order = np.argsort(-probabilities, kind="stable")
    falling, right = probabilities[order], truth[order]
    # All examples at or above a place apply; only places where the probability changes can be cut at.
    taken = np.flatnonzero(np.append(falling[:-1] > falling[1:], True))
    tp = np.cumsum(right)[taken]
    fp = taken + 1 - tp
    below = np.append(falling[taken[:-1] + 1], max(0.0, 2 * falling[-1] - 1))
    cuts = (falling[taken] + below) / 2
    if falling[0] < 1:  # nothing is above 1
        tp, fp = np.append(0, tp), np.append(0, fp)
        cuts = np.append((falling[0] + min(1.0, 2 * falling[0])) / 2, cuts)
    positives = int(truth.sum())
    scores = score(tp, fp, positives - tp, len(truth) - positives - fp)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return float(cuts[best[np.abs(cuts[best] - 0.5).argmin()]])


def _of_sets(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], *, each: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Thresholds of all labels, one by one or one for all, by F1; and the micro F1 before and after."""
    if each:
        found = [
            best_threshold(probabilities[:, k], truth[:, k], _f1) if truth[:, k].any() else 0.5
            for k in range(len(labels))
        ]
    else:
        found = [best_threshold(probabilities.ravel(), truth.ravel(), _f1)] * len(labels)
    gain = {
        name: float(_f1(*_counts(probabilities >= np.array(cuts), truth)))
        for name, cuts in (("before", [0.5] * len(labels)), ("after", found))
    }
    return dict(zip(labels, found, strict=True)), gain


def _counts(predicted: np.ndarray, truth: np.ndarray) -> Counts:
    pairs = ((predicted, truth), (predicted, ~truth), (~predicted, truth), (~predicted, ~truth))
    tp, fp, fn, tn = (np.asarray((one & other).sum()) for one, other in pairs)
    return tp, fp, fn, tn


def _loss(logits: np.ndarray, targets: np.ndarray, label_type: str) -> float:
    """The mean over examples, in double precision."""
    known = torch.from_numpy(targets)
    doubles = torch.from_numpy(logits).double()
    known = known.double() if known.is_floating_point() else known
    return float(supervised_loss(doubles, known, label_type)) / len(logits)
