"""What an evaluation says of a classifier. The formulas are scikit-learn's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import numpy as np

from ptm.errors import DataError
from ptm.metrics.counts import count_classes, roc_auc
from ptm.metrics.summary import Summary, absent_labels, entropy
from ptm.pipeline import Batch, Metrics, Output, Prediction

_ALL_SCORES = 20  # with more classes, a prediction lists only its five highest
_HIGHEST = 5


@dataclass(frozen=True)
class _Piece:
    """What was seen of a batch: rows of the three arrays belong together."""

    ids: np.ndarray
    targets: np.ndarray | None  # None where nobody knows them
    outputs: np.ndarray


class Accumulator:
    """Loss, ids, targets and outputs of an evaluation, in whatever order they came."""

    def __init__(self) -> None:
        self._loss_sum = 0.0
        self._count = 0
        self._pieces: list[_Piece] = []

    def add(self, batch: Batch, output: Output, outputs: np.ndarray) -> None:
        """``outputs``: what is kept of ``output``, a row an example of ``batch``."""
        targets = None if batch.targets is None else batch.targets.cpu().numpy()
        self._loss_sum += float(output.loss_sum)
        self._count += output.count
        self._pieces.append(_Piece(batch.ids, targets, outputs))

    def joined(self, other: Accumulator) -> Accumulator:
        """What both saw."""
        joined = Accumulator()
        joined._loss_sum = self._loss_sum + other._loss_sum
        joined._count = self._count + other._count
        joined._pieces = self._pieces + other._pieces
        return joined

    def subset(self, ids: np.ndarray) -> Accumulator:
        """What was seen of these examples, without their loss: it is kept by batches."""
        subset = Accumulator()
        for piece in self._pieces:
            rows = np.flatnonzero(np.isin(piece.ids, ids))
            if len(rows):
                targets = None if piece.targets is None else piece.targets[rows]
                subset._pieces.append(_Piece(piece.ids[rows], targets, piece.outputs[rows]))
        return subset

    def loss(self) -> dict[str, float]:
        """``{"loss": mean}``; empty of a subset."""
        return {"loss": self._loss_sum / self._count} if self._count else {}

    def by_id(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Ids, targets (None where they are not known), outputs by rising id: results do not depend on batches or
        processes. Raises DataError when nothing was seen."""
        if not self._pieces:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        ids = np.concatenate([piece.ids for piece in self._pieces])
        order = np.argsort(ids, kind="stable")
        targets = [piece.targets for piece in self._pieces if piece.targets is not None]
        labelled = len(targets) == len(self._pieces)
        outputs = np.concatenate([piece.outputs for piece in self._pieces])
        return ids[order], np.concatenate(targets)[order] if labelled else None, outputs[order]

    def labelled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same where targets are known; else DataError."""
        ids, targets, outputs = self.by_id()
        if targets is None:
            raise DataError("there are no labels to compare with", cure="ptm predict needs none")
        return ids, targets, outputs


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 [n, classes]."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return probabilities


def six_digits(probability: float) -> float:
    """Six significant digits, so that small probabilities of a certain model are not all 0."""
    return float(f"{probability:.6g}")


class AccumulatedMetrics(ABC):
    """What metrics share that hold a row an example: parts of an evaluation are put together, and taken out, by it."""

    def __init__(self) -> None:
        self._accumulator = Accumulator()

    def merge(self, others: Sequence[Metrics]) -> Self:
        merged = self._empty()
        for part in (self, *others):
            assert isinstance(part, type(self))
            merged._accumulator = merged._accumulator.joined(part._accumulator)
        return merged

    def subset(self, ids: np.ndarray) -> Self:
        """These examples among themselves."""
        subset = self._empty()
        subset._accumulator = self._accumulator.subset(ids)
        return subset

    def _empty(self) -> Self:
        """As this, of no examples."""
        return type(self)()

    @abstractmethod
    def compute(self) -> dict[str, float]: ...

    @abstractmethod
    def predictions(self) -> Iterator[Prediction]: ...


class LogitMetrics(AccumulatedMetrics):
    """What metrics of one row of logits an example share: they hold the logits, fp32 [n, outputs], and the targets.

    Logits, because probabilities of a certain model are all 0 or 1, and no longer in any order.
    """

    def __init__(
        self,
        labels: Sequence[str] = (),
        positive: str | None = None,
        thresholds: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """``positive``: of two labels, the one that ``f1`` is of (default: the second). ``thresholds``: label →
        probability from which it applies (default: 0.5, or the highest)."""
        super().__init__()
        self._labels = tuple(labels)
        self._positive = positive
        self._thresholds = dict(thresholds)

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self._accumulator.add(batch, output, output.logits.float().cpu().numpy())

    def _empty(self) -> Self:
        return type(self)(self._labels, self._positive, self._thresholds)


class ClassificationMetrics(LogitMetrics):
    """Accuracy and friends over single-label classes. Of many classes only the highest are kept an example: the logits
    of 20,000 examples and classes would take gigabytes."""

    def __init__(
        self,
        labels: Sequence[str] = (),
        positive: str | None = None,
        thresholds: Mapping[str, float] = MappingProxyType({}),
        least: float | None = None,
    ) -> None:
        """``least``: predictions name the set of labels that are at least so probable, and the prediction itself."""
        super().__init__(labels, positive, thresholds)
        self._least = least
        self._whole = len(self._labels) <= _ALL_SCORES or least is not None  # whether all logits are kept

    def _empty(self) -> Self:
        return type(self)(self._labels, self._positive, self._thresholds, self._least)

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        logits = output.logits.float().cpu().numpy()
        targets = None if batch.targets is None else batch.targets.cpu().numpy()
        self._accumulator.add(batch, output, logits if self._whole else _highest(logits, targets))

    def compute(self) -> dict[str, float]:
        """``recall_macro`` is a mean over the classes that evaluated examples have: of others there is nothing to
        recall. ``precision_macro`` and ``f1_macro`` are over these and those that are predicted."""
        _, targets, outputs = self._accumulator.labelled()
        predicted = self._predicted(outputs)
        values = {**self._accumulator.loss(), **self._counted(targets, predicted)}
        if len(self._labels) == 2 and len(np.unique(targets)) == 2 and np.isfinite(outputs).all():
            margins = outputs[:, 1].astype(np.float64) - outputs[:, 0]
            values["auroc"] = roc_auc(targets == 1, margins)
        if len(self._labels) > _HIGHEST:
            top = _top(outputs) if self._whole else outputs[:, 1 : 1 + _HIGHEST]
            values["top5_accuracy"] = float((top == targets[:, None]).any(-1).mean())
        return values

    def summary(self) -> Summary:
        _, targets, outputs = self._accumulator.labelled()
        predicted = self._predicted(outputs)
        counts = np.bincount(targets, minlength=len(self._labels))
        shares = counts / counts.sum()
        majority = np.full_like(targets, counts.argmax())
        constant = {"loss": entropy(shares), **self._counted(targets, majority)}
        if "f1" in constant:
            positives = np.full_like(targets, self._positive_class)
            constant["f1"] = self._counted(targets, positives)["f1"]
            constant["auroc"] = 0.5
        if len(self._labels) > _HIGHEST:
            constant["top5_accuracy"] = float(np.sort(shares)[-_HIGHEST:].sum())
        answers = np.unique(predicted)
        return Summary(
            constant=constant,
            absent=absent_labels(counts, self._labels),
            answers=len(answers),
            only=repr(self._labels[answers[0]]),
            positive=self._labels[self._positive_class] if len(self._labels) == 2 else None,
        )

    @property
    def _positive_class(self) -> int:
        return 1 if self._positive is None else self._labels.index(self._positive)

    def _counted(self, targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """What is computed of class numbers alone, int64 [n]."""
        counts = count_classes(targets, predicted, len(self._labels))
        # Of a class that is neither there nor predicted nothing is known: macro averages leave it out.
        present = counts.of(np.flatnonzero(counts.true + counts.predicted))
        values = {
            "accuracy": (targets == predicted).mean(),
            "f1_macro": present.f1.mean(),
            "precision_macro": present.precision.mean(),
            "recall_macro": counts.of(np.flatnonzero(counts.true)).recall.mean(),
            "mcc": matthews_correlation(targets, predicted, len(self._labels)),
        }
        if len(self._labels) == 2:
            values["f1"] = counts.f1[self._positive_class]
        return {name: float(value) for name, value in values.items()}

    def predictions(self) -> Iterator[Prediction]:
        ids, targets, outputs = self._accumulator.by_id()
        predicted = self._predicted(outputs)
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index))
            if targets is not None:
                prediction["label"] = self._labels[targets[row]]
            prediction["prediction"] = self._labels[predicted[row]]
            prediction["scores"] = {
                self._labels[k]: six_digits(value) for k, value in self._scores(outputs[row])
            }
            if self._least is not None:
                prediction["prediction_set"] = self._set(outputs[row], predicted[row])
            yield prediction

    def _set(self, logits: np.ndarray, predicted: int) -> list[str]:
        """The labels of a set, the most probable first."""
        probabilities = softmax(logits[None])[0]
        inside = probabilities >= self._least
        inside[predicted] = True
        return [self._labels[k] for k in np.argsort(-probabilities, kind="stable") if inside[k]]

    def truth_probabilities(self) -> np.ndarray:
        """What each example, by rising id, has of its own label: float64 [n]."""
        _, targets, outputs = self._accumulator.labelled()
        return softmax(outputs)[np.arange(len(targets)), targets] if self._whole else outputs[:, -1]

    def sets(self, least: float) -> dict[str, float | bool]:
        """Of the sets of labels that are at least so probable, and the prediction: which share holds the truth, and
        how many labels they have; ``at_least``: of more than five labels not all were counted."""
        _, targets, outputs = self._accumulator.labelled()
        predicted = self._predicted(outputs)
        known = softmax(outputs) if self._whole else outputs[:, 1 + 2 * _HIGHEST : -1]
        inside = known >= least
        numbers = (
            np.arange(known.shape[1])[None] if self._whole else outputs[:, 1 + _HIGHEST : 1 + 2 * _HIGHEST]
        )
        apart = ~(inside & (numbers == predicted[:, None])).any(-1)  # predictions below it
        return {
            "realised": float(((self.truth_probabilities() >= least) | (predicted == targets)).mean()),
            "mean_size": float((inside.sum(-1) + apart).mean()),
            "at_least": bool(not self._whole and inside.all(-1).any()),
        }

    def _predicted(self, outputs: np.ndarray) -> np.ndarray:
        """Class numbers, int64 [n]."""
        if self._thresholds:  # of two labels, one has one
            ((label, threshold),) = self._thresholds.items()
            number = self._labels.index(label)
            return np.where(softmax(outputs)[:, number] >= threshold, number, 1 - number)
        predicted: np.ndarray = outputs.argmax(-1) if self._whole else outputs[:, 0].astype(np.int64)
        return predicted

    def _scores(self, row: np.ndarray) -> list[tuple[int, float]]:
        """Class numbers and probabilities that a prediction lists."""
        if len(self._labels) <= _ALL_SCORES:
            return list(enumerate(softmax(row[None])[0]))
        if self._whole:
            row = _highest(row[None], None)[0]
        classes, probabilities = row[1 + _HIGHEST : -1].reshape(2, _HIGHEST)
        return list(zip(classes.astype(np.int64).tolist(), probabilities, strict=True))


def _top(rows: np.ndarray) -> np.ndarray:
    """The columns of the five highest numbers of each row in falling order, of equal ones the first: int64 [n, 5]."""
    least = np.partition(rows, -_HIGHEST, axis=-1)[:, -_HIGHEST]
    top = np.empty((len(rows), _HIGHEST), dtype=np.int64)
    for index, row in enumerate(rows):
        # Sorting all of them would take most of an evaluation with many classes. NaN is not less than anything.
        candidates = np.flatnonzero(~(row < least[index]))
        top[index] = candidates[np.argsort(-row[candidates], kind="stable")[:_HIGHEST]]
    return top


def _highest(logits: np.ndarray, targets: np.ndarray | None) -> np.ndarray:
    """The class with the highest logit, five with the highest logits, five with the highest probabilities, these
    probabilities, and that of the target (NaN without): float64 [n, 17]."""
    probabilities = softmax(logits)
    classes = _top(probabilities)
    highest = np.take_along_axis(probabilities, classes, axis=-1)
    rows = np.arange(len(logits))
    truth = np.full(len(logits), np.nan) if targets is None else probabilities[rows, targets]
    return np.column_stack([logits.argmax(-1), _top(logits), classes, highest, truth])


def matthews_correlation(targets: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Of several classes (Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8), from counts a class, not a pair of classes.

    0 where one side is constant, as in scikit-learn.
    """
    n, right = len(targets), int((targets == predicted).sum())
    true, answers = (
        np.bincount(column, minlength=classes).astype(np.float64) for column in (targets, predicted)
    )
    spread = float(np.sqrt((n * n - true @ true) * (n * n - answers @ answers)))
    return (right * n - float(true @ answers)) / spread if spread else 0.0
