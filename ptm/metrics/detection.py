"""What an evaluation says of a detector: COCO's average precision. The matching is faster-coco-eval's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from ptm.errors import DataError
from ptm.metrics.classification import six_digits
from ptm.metrics.summary import Summary, absent_labels
from ptm.pipeline import Batch, Metrics, Output, Prediction

SHOWN_SCORE = 0.05  # detections below are left out of ``predictions``; the metrics count all
_NO_AREA = 1e12  # square pixels; COCO counts objects of at most 1e10
_DETECTIONS = 100  # an image, as in COCO's evaluation


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Boxes of one image: ``corners`` float32 [k, 4] (x1, y1, x2, y2 in pixels), ``classes`` int64 [k];
    ``scores`` float32 [k] of what was detected, ``crowd`` bool [k] of what is there; ``masks``: of instances, a
    run-length code a box (:mod:`ptm.data.instances`)."""

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None = None
    crowd: np.ndarray | None = None
    masks: tuple[Mapping[str, Any], ...] | None = None


class DetectionMetrics:
    """Mean average precision over IoU thresholds 0.50, 0.55 … 0.95, as COCO defines it (arXiv:1405.0312).

    ``map`` is the mean over classes, ``map50`` and ``map75`` are those at one threshold, ``map/NAME`` is that of one
    class (left out where no box of it is to be found), ``mar100`` the recall with 100 detections an image.

    Crowds are counted as COCO does: any number of detections may lie within one. With ``difficult`` they are VOC's
    difficult objects (devkit, ``VOCevaldet.m``): a detection that overlaps one by the threshold counts neither for nor
    against, and one that only lies within it is false.
    """

    def __init__(self, labels: Sequence[str], *, difficult: bool = False, least: float | None = None) -> None:
        """``least``: the score that a detection must have to stand among ``predictions`` (default 0.05)."""
        self._least = SHOWN_SCORE if least is None else least
        self._labels = tuple(labels)
        self._difficult = difficult
        self._detections: dict[int, Boxes] = {}
        self._truth: dict[int, Boxes] = {}

    def update(self, batch: Batch, output: Output) -> None:
        """``output.predictions``: Boxes an image. ``batch.targets``: the boxes that are there, or None."""
        for index, detections in zip(batch.ids.tolist(), output.predictions, strict=True):
            self._detections[index] = detections
        for index, target in zip(batch.ids.tolist(), batch.targets or [], strict=False):
            self._truth[index] = self._there(target)

    def _there(self, target: Mapping[str, Any]) -> Boxes:
        return Boxes(
            corners=target["boxes"].cpu().numpy(),
            classes=target["labels"].cpu().numpy(),
            crowd=target["crowd"].cpu().numpy(),
        )

    def merge(self, others: Sequence[Metrics]) -> Self:
        merged = type(self)(self._labels, difficult=self._difficult, least=self._least)
        for part in (self, *others):
            assert isinstance(part, DetectionMetrics)
            merged._detections |= part._detections
            merged._truth |= part._truth
        return merged

    def subset(self, ids: np.ndarray) -> Self:
        subset = type(self)(self._labels, difficult=self._difficult, least=self._least)
        subset._detections = {index: self._detections[index] for index in ids.tolist()}
        subset._truth = {index: self._truth[index] for index in ids.tolist() if index in self._truth}
        return subset

    def compute(self) -> dict[str, float]:
        if not self._detections:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        return self._values("bbox")

    def _values(self, overlap: Literal["bbox", "segm"]) -> dict[str, float]:
        precision, recall = self._curves(overlap)
        values = {
            "map": _mean(precision),
            "map50": _mean(precision[0]),
            "map75": _mean(precision[5]),
            "mar100": _mean(recall),
        }
        for number, name in enumerate(self._labels):
            if (precision[..., number] > -1).any():
                values[f"map/{name}"] = _mean(precision[..., number])
        return values

    def summary(self) -> Summary:
        """There is no constant answer: what finds nothing has 0 everywhere."""
        boxes = [boxes.classes for boxes in self._truth.values()]
        counts = np.bincount(np.concatenate(boxes), minlength=len(self._labels)) if boxes else None
        boxes_count = sum(len(boxes.corners) for boxes in self._detections.values())
        absent = () if counts is None else absent_labels(counts, self._labels)
        return Summary(absent=absent, answers=None if boxes_count else 0)

    def predictions(self) -> Iterator[Prediction]:
        """By rising id: ``boxes`` ([x1, y1, x2, y2] in pixels of the upright image), ``labels`` and ``scores`` of at
        least 0.05, by falling score; ``target_boxes`` and ``target_labels`` where they are known."""
        for index in sorted(self._detections):
            detections = self._detections[index]
            assert detections.scores is not None
            indices = self._told(detections)
            row: Prediction = {
                "id": index,
                "boxes": [_rounded(detections.corners[k]) for k in indices],
                "labels": [self._labels[detections.classes[k]] for k in indices],
                "scores": [six_digits(float(detections.scores[k])) for k in indices],
            }
            if index in self._truth:
                truth = self._truth[index]
                row["target_boxes"] = [_rounded(corners) for corners in truth.corners]
                row["target_labels"] = [self._labels[number] for number in truth.classes]
            yield row

    def _told(self, detections: Boxes) -> list[int]:
        """Which of them stand among ``predictions``, by falling score."""
        scores = detections.scores
        assert scores is not None
        return [int(k) for k in np.argsort(-scores, kind="stable") if scores[k] >= self._least]

    def _curves(self, overlap: Literal["bbox", "segm"]) -> tuple[np.ndarray, np.ndarray]:
        """Precision [thresholds, recalls, classes], recall [thresholds, classes]; -1 where nothing is to be found."""
        from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

        ids = sorted(self._detections)
        truth = COCO(
            {
                "images": [{"id": i, **_size(self._detections[i], self._truth.get(i))} for i in ids],
                "categories": [{"id": number, "name": name} for number, name in enumerate(self._labels)],
                "annotations": _numbered(
                    [row for i in ids for row in _truth(i, self._truth.get(i), self._difficult)]
                ),
            }
        )
        detections = COCO(
            {
                **truth.dataset,
                "annotations": _numbered([row for i in ids for row in _rows(i, self._detections[i])]),
            }
        )
        evaluation = COCOeval_faster(truth, detections, iouType=overlap, print_function=lambda *_: None)
        evaluation.params.maxDets = [1, 10, _DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
        results: Mapping[str, Any] = evaluation.eval
        return np.asarray(results["precision"])[..., 0, -1], np.asarray(results["recall"])[..., 0, -1]


def _truth(index: int, boxes: Boxes | None, difficult: bool) -> Iterator[dict[str, Any]]:
    """The boxes that are there. COCO ignores objects of an area beyond its range, as VOC does difficult ones, but each
    of them excuses one detection; so a difficult one stands there for as many as there can be."""
    for row in _rows(index, boxes):
        if difficult and row["iscrowd"]:
            yield from [{**row, "iscrowd": 0, "area": _NO_AREA}] * _DETECTIONS
        else:
            yield row


def _size(*boxes: Boxes | None) -> dict[str, int]:
    """``height`` and ``width`` of an image, where there is a mask of it to say them."""
    for code in (code for own in boxes if own is not None for code in own.masks or ()):
        return {"height": int(code["size"][0]), "width": int(code["size"][1])}
    return {}


def _rows(index: int, boxes: Boxes | None) -> Iterator[dict[str, Any]]:
    """Boxes of one image as COCO writes them."""
    if boxes is None:
        return
    for k, (x1, y1, x2, y2) in enumerate(boxes.corners.astype(float).tolist()):
        row: dict[str, Any] = {
            "image_id": index,
            "category_id": int(boxes.classes[k]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(boxes.crowd is not None and boxes.crowd[k]),
        }
        if boxes.masks is not None:
            row["segmentation"] = dict(boxes.masks[k])
        yield row if boxes.scores is None else {**row, "score": float(boxes.scores[k])}


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "id": number} for number, row in enumerate(rows, start=1)]


def _mean(values: np.ndarray) -> float:
    """Over what is defined; 0 where nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else 0.0


def _rounded(corners: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in corners]
