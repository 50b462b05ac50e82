"""What an evaluation says of a classifier. The formulas are scikit-learn's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ptm.errors import DataError
from ptm.metrics.summary import Summary, absent_labels, entropy
from ptm.pipeline import Batch, Metrics, Output, Prediction

_ALL_SCORES = 20  # with more classes, a prediction lists only its five highest


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

    def mean_loss(self) -> float:
        return self._loss_sum / self._count

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


class LogitMetrics(ABC):
    """What metrics of one row of logits an example share: they hold the logits, fp32 [n, outputs], and the targets.

    Logits, because probabilities of a certain model are all 0 or 1, and no longer in any order.
    """

    def __init__(self, labels: Sequence[str] = (), positive: str | None = None) -> None:
        """``positive``: of two labels, the one that ``f1`` is of (default: the second)."""
        self._labels = tuple(labels)
        self._positive = positive
        self._accumulator = Accumulator()

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self._accumulator.add(batch, output, output.logits.float().cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> Self:
        merged = type(self)(self._labels, self._positive)
        for part in (self, *others):
            assert isinstance(part, type(self))
            merged._accumulator = merged._accumulator.joined(part._accumulator)
        return merged

    @abstractmethod
    def compute(self) -> dict[str, float]: ...

    @abstractmethod
    def predictions(self) -> Iterator[Prediction]: ...


class ClassificationMetrics(LogitMetrics):
    """Accuracy and friends over single-label classes."""

    def compute(self) -> dict[str, float]:
        """``recall_macro`` is a mean over the classes that evaluated examples have: of others there is nothing to
        recall. ``precision_macro`` and ``f1_macro`` are over these and those that are predicted."""
        from sklearn import metrics

        _, targets, logits = self._accumulator.labelled()
        predicted = logits.argmax(-1)
        values = {"loss": self._accumulator.mean_loss(), **self._scores(targets, predicted)}
        if len(self._labels) == 2 and len(np.unique(targets)) == 2 and np.isfinite(logits).all():
            margins = logits[:, 1].astype(np.float64) - logits[:, 0]
            values["auroc"] = float(metrics.roc_auc_score(targets, margins))
        if len(self._labels) > 5:
            top = np.argpartition(-logits, 5, axis=-1)[:, :5]
            values["top5_accuracy"] = float((top == targets[:, None]).any(-1).mean())
        return values

    def summary(self) -> Summary:
        _, targets, logits = self._accumulator.labelled()
        predicted = logits.argmax(-1)
        counts = np.bincount(targets, minlength=len(self._labels))
        shares = counts / counts.sum()
        majority = np.full_like(targets, counts.argmax())
        constant = {"loss": entropy(shares), **self._scores(targets, majority)}
        if "f1" in constant:
            positives = np.full_like(targets, self._positive_class)
            constant["f1"] = self._scores(targets, positives)["f1"]
            constant["auroc"] = 0.5
        if len(self._labels) > 5:
            constant["top5_accuracy"] = float(np.sort(shares)[-5:].sum())
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

    def _scores(self, targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """What is computed of class numbers alone, int64 [n]."""
        from sklearn import metrics

        # Of a class that is neither there nor predicted nothing is known: macro averages leave it out.
        present = np.union1d(targets, predicted)
        precision, _, f1, _ = metrics.precision_recall_fscore_support(
            targets, predicted, labels=present, average="macro", zero_division=0
        )
        recall = metrics.recall_score(
            targets, predicted, labels=np.unique(targets), average="macro", zero_division=0
        )
        values = {
            "accuracy": metrics.accuracy_score(targets, predicted),
            "f1_macro": f1,
            "precision_macro": precision,
            "recall_macro": recall,
            # Undefined where both sides are one class; scikit-learn gives 0, and a warning.
            "mcc": metrics.matthews_corrcoef(targets, predicted) if len(present) > 1 else 0.0,
        }
        if len(self._labels) == 2:
            values["f1"] = metrics.f1_score(
                targets, predicted, labels=[0, 1], pos_label=self._positive_class, zero_division=0
            )
        return {name: float(value) for name, value in values.items()}

    def predictions(self) -> Iterator[Prediction]:
        ids, targets, logits = self._accumulator.by_id()
        for index, row in enumerate(softmax(logits)):
            indices = range(len(row)) if len(row) <= _ALL_SCORES else np.argsort(-row, kind="stable")[:5]
            prediction = Prediction(id=int(ids[index]))
            if targets is not None:
                prediction["label"] = self._labels[targets[index]]
            prediction["prediction"] = self._labels[int(logits[index].argmax())]
            prediction["scores"] = {self._labels[i]: six_digits(row[i]) for i in indices}
            yield prediction
