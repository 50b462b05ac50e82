"""What an evaluation says of a classifier. The formulas are scikit-learn's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ptm.errors import DataError
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

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self._labels = tuple(labels)
        self._accumulator = Accumulator()

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        self._accumulator.add(batch, output, output.logits.float().cpu().numpy())

    def merge(self, others: Sequence[Metrics]) -> Self:
        merged = type(self)(self._labels)
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
        from sklearn import metrics

        _, targets, logits = self._accumulator.labelled()
        predicted = logits.argmax(-1)
        classes = np.arange(len(self._labels))
        # Of a class that is neither there nor predicted nothing is known: macro averages leave it out.
        present = np.union1d(targets, predicted)
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            targets, predicted, labels=present, average="macro", zero_division=0
        )
        values = {
            "loss": self._accumulator.mean_loss(),
            "accuracy": metrics.accuracy_score(targets, predicted),
            "f1_macro": f1,
            "precision_macro": precision,
            "recall_macro": recall,
            "mcc": metrics.matthews_corrcoef(targets, predicted),
        }
        if len(classes) == 2:  # the second label is the positive one
            values["f1"] = metrics.f1_score(targets, predicted, labels=classes, pos_label=1, zero_division=0)
            if len(np.unique(targets)) == 2 and np.isfinite(logits).all():
                margins = logits[:, 1].astype(np.float64) - logits[:, 0]
                values["auroc"] = metrics.roc_auc_score(targets, margins)
        if len(classes) > 5:
            top = np.argpartition(-logits, 5, axis=-1)[:, :5]
            values["top5_accuracy"] = (top == targets[:, None]).any(-1).mean()
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
