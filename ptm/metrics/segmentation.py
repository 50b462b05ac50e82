"""What an evaluation says of a segmentation, from counts of pixels: exact, and the same in any order.

IoU of a class: pixels that are it and are said to be it, over pixels that are it or are said to be it (Everingham
et al. 2015, section 4). Dice: twice the former over the sum of both (the F1 score of the pixels). Means are over
classes; a class that is neither there nor predicted has no value and no part in a mean.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ptm.errors import DataError
from ptm.metrics.summary import Summary, absent_labels, entropy
from ptm.pipeline import Batch, Metrics, Output, Prediction


@dataclass(frozen=True)
class Segmented:
    """What is kept of one image: its confusions, int64 [classes, classes] (rows are labels; None without a mask),
    the predicted pixels a class, int64 [classes], and, without a mask, the predicted one as a PNG."""

    confusion: np.ndarray | None
    predicted: np.ndarray
    mask_png: bytes | None


def confusions(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by label and prediction, int64 [classes, classes]. Targets that are no class do not count."""
    counts = targets < classes
    flat = targets[counts].astype(np.int64) * classes + predicted[counts]
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


class SegmentationMetrics:
    """IoU, Dice and accuracy of pixels. Holds a few numbers an image and class; ``output.predictions`` of a batch
    is a list of :class:`Segmented`."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._loss_sum = 0.0
        self._count = 0
        self._confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
        self._images: dict[int, dict[str, Any]] = {}
        # By image: the cells of its confusions that are not 0, and their counts. An image has few classes of many.
        self._cells: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def update(self, batch: Batch, output: Output) -> None:
        self._loss_sum += float(output.loss_sum)
        self._count += output.count
        for index, image in zip(batch.ids.tolist(), output.predictions, strict=True):
            self._images[index] = self._summary(image)
            if image.confusion is not None:
                self._confusion += image.confusion
                cells = np.flatnonzero(image.confusion)
                self._cells[index] = (cells, image.confusion.ravel()[cells])

    def merge(self, others: Sequence[Metrics]) -> SegmentationMetrics:
        merged = SegmentationMetrics(self._labels)
        for part in (self, *others):
            assert isinstance(part, SegmentationMetrics)
            merged._loss_sum += part._loss_sum
            merged._count += part._count
            merged._confusion += part._confusion
            merged._images |= part._images
            merged._cells |= part._cells
        return merged

    def subset(self, ids: np.ndarray) -> SegmentationMetrics:
        subset = SegmentationMetrics(self._labels)
        subset._images = {index: self._images[index] for index in ids.tolist()}
        subset._cells = {index: self._cells[index] for index in ids.tolist() if index in self._cells}
        flat = subset._confusion.ravel()
        for cells, counts in subset._cells.values():
            flat[cells] += counts
        return subset

    def compute(self) -> dict[str, float]:
        total = int(self._confusion.sum())
        if not total:
            raise DataError("nothing was evaluated: no pixel of the evaluation split counts")
        iou, dice = scores_of(self._confusion)
        values = {
            **({"loss": self._loss_sum / self._count} if self._count else {}),
            "miou": float(np.nanmean(iou)),
            "dice": float(np.nanmean(dice)),
            "pixel_accuracy": int(np.trace(self._confusion)) / total,
        }
        for name, scores in (("iou", iou), ("dice", dice)):
            finite = ((label, float(s)) for label, s in zip(self._labels, scores, strict=True))
            values |= {f"{name}/{label}": score for label, score in finite if not np.isnan(score)}
        return values

    def summary(self) -> Summary:
        """The constant answer is the class of the most pixels, everywhere."""
        counts, answers = self._confusion.sum(1), np.flatnonzero(self._confusion.sum(0))
        everywhere = np.zeros_like(self._confusion)
        everywhere[:, counts.argmax()] = counts
        iou, dice = scores_of(everywhere)
        constant = {
            "loss": entropy(counts / counts.sum()),
            "miou": float(np.nanmean(iou)),
            "dice": float(np.nanmean(dice)),
            "pixel_accuracy": float(counts.max() / counts.sum()),
        }
        only = f"{self._labels[answers[0]]!r} at every pixel"
        absent = absent_labels(counts, self._labels)
        return Summary(constant=constant, absent=absent, answers=len(answers), only=only)

    def predictions(self) -> Iterator[Prediction]:
        """``shares``: of the pixels, by label; ``iou`` by label, and the ``pixels`` that count and those that are
        ``right``, where the mask is known; else ``mask_png``: base64 of a PNG whose values are those of the training
        masks."""
        for index in sorted(self._images):
            yield cast(Prediction, {"id": index, **self._images[index]})

    def _summary(self, image: Segmented) -> dict[str, Any]:
        shares = image.predicted / max(1, int(image.predicted.sum()))
        summary: dict[str, Any] = {"shares": self._named(shares)}
        if image.confusion is not None:
            summary["iou"] = self._named(scores_of(image.confusion)[0])
            summary |= {"pixels": int(image.confusion.sum()), "right": int(np.trace(image.confusion))}
        if image.mask_png is not None:
            summary["mask_png"] = base64.b64encode(image.mask_png).decode()
        return summary

    def _named(self, values: np.ndarray) -> dict[str, float]:
        return {
            label: round(float(value), 6)
            for label, value in zip(self._labels, values, strict=True)
            if not np.isnan(value)
        }


def scores_of(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and Dice a class, float64 [classes] each; NaN for a class that is neither there nor predicted."""
    both = np.diag(confusion).astype(np.float64)
    either = confusion.sum(0) + confusion.sum(1) - both
    with np.errstate(invalid="ignore"):
        return both / either, 2 * both / (either + both)
