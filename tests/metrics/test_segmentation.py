"""IoU, Dice and accuracy of pixels against a computation of their own."""

from __future__ import annotations

import base64
import pickle

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.metrics.segmentation import SegmentationMetrics, Segmented, confusions
from ptm.pipeline import Batch, Output

LABELS = ("a", "b", "c", "d")


def collected(pairs, ids=None, labels=LABELS) -> SegmentationMetrics:
    metrics = SegmentationMetrics(labels)
    ids = range(len(pairs)) if ids is None else ids
    for index, (target, predicted) in zip(ids, pairs, strict=True):
        confusion = confusions(target, predicted, len(labels))
        image = Segmented(confusion, np.bincount(predicted.ravel(), minlength=len(labels)), None)
        count = int((target < len(labels)).sum())
        output = Output(loss_sum=torch.tensor(2.0 * count), count=count, predictions=[image])
        metrics.update(Batch(ids=np.array([index]), inputs={}, targets=None), output)
    return metrics


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    found = []
    for shape in ((5, 7), (9, 4), (6, 6)):
        target = rng.integers(0, 3, shape).astype(np.uint8)  # "d" is neither there nor predicted
        target[0, :2] = 255
        found.append((target, rng.integers(0, 3, shape).astype(np.uint8)))
    return found


def test_values_are_those_of_sets_of_pixels(pairs):
    values = collected(pairs).compute()
    target = np.concatenate([t.ravel() for t, _ in pairs])
    predicted = np.concatenate([p.ravel() for _, p in pairs])[target != 255]
    target = target[target != 255]
    iou, dice = {}, {}
    for number, name in enumerate("abc"):
        one, other = set(np.flatnonzero(target == number)), set(np.flatnonzero(predicted == number))
        iou[name] = len(one & other) / len(one | other)
        dice[name] = 2 * len(one & other) / (len(one) + len(other))
    assert values == pytest.approx(
        {
            "loss": 2.0,
            "miou": np.mean(list(iou.values())),
            "dice": np.mean(list(dice.values())),
            "pixel_accuracy": (target == predicted).mean(),
            **{f"iou/{name}": value for name, value in iou.items()},
            **{f"dice/{name}": value for name, value in dice.items()},
        }
    )
    assert next(iter(values)) == "loss"


def test_the_order_of_images_and_processes_does_not_matter(pairs):
    whole = collected(pairs)
    parts = [collected(pairs[2:], [2]), collected(pairs[:2], [0, 1])]
    parts = pickle.loads(pickle.dumps(parts))  # as they come from another process
    merged = parts[0].merge(parts[1:])
    assert merged.compute() == whole.compute()
    assert list(merged.predictions()) == list(whole.predictions())


def test_a_class_that_is_there_but_never_predicted_counts_as_zero():
    target, predicted = np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8)
    values = collected([(target, predicted)], labels=("a", "b")).compute()
    assert values["iou/b"] == 0 and values["miou"] == pytest.approx(0.25)


def test_predictions_of_an_image():
    target, predicted = np.array([[0, 1, 255, 1]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    (row,) = collected([(target, predicted)]).predictions()
    assert row["shares"] == {"a": 0.5, "b": 0.5, "c": 0.0, "d": 0.0}
    assert row["iou"] == {"a": 0.5, "b": 0.5}
    metrics = SegmentationMetrics(("a", "b"))
    image = Segmented(None, np.array([1, 3]), b"png")
    output = Output(loss_sum=torch.zeros(()), count=1, predictions=[image])
    metrics.update(Batch(ids=np.array([4]), inputs={}, targets=None), output)
    (row,) = metrics.predictions()
    assert row == {"id": 4, "shares": {"a": 0.25, "b": 0.75}, "mask_png": base64.b64encode(b"png").decode()}


def test_an_empty_evaluation_is_refused():
    with pytest.raises(DataError, match="nothing was evaluated"):
        SegmentationMetrics(LABELS).compute()
