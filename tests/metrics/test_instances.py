"""Average precision of masks, against values that are worked out by hand."""

import numpy as np
import pytest
import torch

from ptm.data.instances import decoded, encoded, from_text
from ptm.metrics.detection import Boxes
from ptm.metrics.instances import InstanceMetrics
from ptm.pipeline import Batch, Output


def filled(*corners, side=20):
    """A mask bool [side, side] of each (x1, y1, x2, y2)."""
    masks = np.zeros((len(corners), side, side), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def boxes_of(masks):
    corners = []
    for mask in masks:
        y, x = np.nonzero(mask)
        corners.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    return np.array(corners, np.float32).reshape(-1, 4)


def seen(images, *, labels=("a",), least=None):
    """``images``: (found masks, their boxes, classes, scores), (true masks, classes, crowd)."""
    metrics = InstanceMetrics(labels, least=least)
    for index, (found, there) in enumerate(images):
        masks, corners, classes, scores = found
        prediction = Boxes(
            corners=np.asarray(corners, np.float32).reshape(-1, 4),
            classes=np.array(classes, np.int64),
            scores=np.array(scores, np.float32),
            masks=tuple(encoded(masks)),
        )
        target = {
            "boxes": torch.from_numpy(boxes_of(there[0])),
            "labels": torch.tensor(there[1], dtype=torch.int64),
            "crowd": torch.tensor(there[2], dtype=torch.bool),
            "masks": torch.from_numpy(there[0].astype(np.uint8)),
        }
        batch = Batch(ids=np.array([index]), inputs={}, targets=[target])
        metrics.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=[prediction]))
    return metrics


def test_11_30_masks_and_boxes_are_measured_apart():
    """A box that fits around a mask of half its pixels: 10 thresholds for boxes; of masks 0.5 alone is reached."""
    true = filled((2, 2, 12, 12))
    half = true.copy()
    half[0, 3:7, 2:12] = False
    half[0, 11, 3:] = False
    half[0, 7:8, 2:7] = False
    overlap = half.sum() / true.sum()
    assert 0.45 < overlap < 0.55
    values = seen([((half, boxes_of(true), [0], [0.9]), (true, [0], [False]))]).compute()
    assert values["map"] == values["map75"] == 1.0
    assert values["mask_map50"] == float(overlap >= 0.5) and values["mask_map75"] == 0.0
    assert values["mask_map"] == pytest.approx(0.1 * (overlap >= 0.5))
    assert list(values)[:4] == ["mask_map", "mask_map50", "mask_map75", "mask_mar100"]
    assert values["mask_map/a"] == values["mask_map"] and values["map/a"] == 1.0


def test_11_30_crowds_excuse_what_lies_within_them():
    true = filled((0, 0, 10, 20), (12, 0, 20, 8))
    found = filled((1, 1, 5, 5), (12, 0, 20, 8))
    values = seen([((found, boxes_of(found), [0, 0], [0.9, 0.8]), (true, [0, 0], [True, False]))]).compute()
    assert values["mask_map"] == values["map"] == 1.0
    without = seen([((found, boxes_of(found), [0, 0], [0.9, 0.8]), (true, [0, 0], [False, False]))]).compute()
    assert without["mask_map"] < 0.5


def test_11_30_predictions_hold_masks_as_coco_writes_them_and_parts_merge():
    true, found = filled((2, 2, 12, 12)), filled((2, 2, 12, 12), (0, 0, 3, 3))
    image = ((found, boxes_of(found), [0, 0], [0.03, 0.9]), (true, [0], [False]))
    empty = ((filled(), np.zeros((0, 4)), [], []), (filled(), [], []))
    metrics = seen([image, empty])
    rows = list(metrics.predictions())
    assert rows[0]["scores"] == [0.9] and len(rows[0]["masks"]) == 1  # 0.03 is below what is told
    code = rows[0]["masks"][0]
    assert code["size"] == [20, 20] and isinstance(code["counts"], str)
    np.testing.assert_array_equal(decoded([from_text(code)], (20, 20))[0], found[1])
    np.testing.assert_array_equal(decoded([from_text(rows[0]["target_masks"][0])], (20, 20))[0], true[0])
    assert rows[1]["masks"] == rows[1]["target_masks"] == []
    assert len(next(iter(seen([image], least=0.0).predictions()))["masks"]) == 2
    parts = [metrics.subset(np.array([number])) for number in (1, 0)]
    assert parts[0].merge(parts[1:]).compute() == metrics.compute()
    assert metrics.subset(np.array([1])).compute()["mask_map"] == 0.0
