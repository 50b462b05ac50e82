import json

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.pipeline import Batch, Output


def there(*rows, crowd=()):
    return {
        "boxes": torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([row[4] for row in rows], dtype=torch.int64),
        "crowd": torch.tensor([k in crowd for k in range(len(rows))], dtype=torch.bool),
    }


def found(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(corners=table[:, :4], classes=table[:, 4].astype(int), scores=table[:, 5])


def scored(cases, labels=("a", "b", "c")):
    """``cases``: id → (what is there, what was found), each given in a batch of its own."""
    parts = []
    for index, (truth, guess) in cases.items():
        part = DetectionMetrics(labels)
        batch = Batch(ids=np.array([index]), inputs={}, targets=[truth])
        part.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=[guess]))
        parts.append(part)
    return parts[0].merge(parts[1:]), parts[-1].merge(parts[-2::-1])


def test_average_precision_by_hand():
    square = (0, 0, 100, 100)
    cases = {
        0: (there((*square, 0)), found((0, 0, 100, 72, 0, 0.9))),  # IoU 0.72: right at 5 of 10 thresholds
        1: (there((*square, 1), (200, 0, 250, 50, 1)), found((*square, 1, 0.8), (300, 0, 350, 50, 1, 0.9))),
    }
    values, reversed_values = (metrics.compute() for metrics in scored(cases))
    assert values == reversed_values
    assert values["map/a"] == pytest.approx(0.5)
    # One of two found, after a false one: precision 1/2 up to recall 1/2, that is at 51 of 101 recall levels.
    assert values["map/b"] == pytest.approx(0.5 * 51 / 101)
    assert "map/c" not in values
    assert values["map"] == pytest.approx((0.5 + 0.5 * 51 / 101) / 2)
    assert values["map50"] == pytest.approx((1 + 0.5 * 51 / 101) / 2)
    assert values["map75"] == pytest.approx((0 + 0.5 * 51 / 101) / 2)
    assert values["mar100"] == pytest.approx((0.5 + 0.5) / 2)
    assert "loss" not in values


def test_crowds_are_neither_missed_nor_wrong():
    truth = there((0, 0, 100, 100, 0), (200, 0, 300, 100, 0), crowd=(1,))
    metrics, _ = scored({0: (truth, found((0, 0, 100, 100, 0, 0.5), (210, 0, 290, 90, 0, 0.9)))})
    assert metrics.compute()["map"] == pytest.approx(1.0)
    metrics, _ = scored({0: (truth, found((0, 0, 100, 100, 0, 0.5)))})
    assert metrics.compute()["map"] == pytest.approx(1.0)


def test_nothing_found_is_zero_and_predictions_come_by_id():
    metrics, _ = scored(
        {
            7: (
                there((0, 0, 9.123, 9, 1)),
                found((0, 0, 9, 9, 1, 0.3), (1, 1, 8, 8, 0, 0.7), (0, 0, 5, 5, 2, 0.01)),
            ),
            2: (there(), found()),
        }
    )
    rows = list(metrics.predictions())
    assert [row["id"] for row in rows] == [2, 7]
    assert rows[0]["boxes"] == rows[0]["target_boxes"] == []
    assert rows[1]["labels"] == ["a", "b"]
    assert rows[1]["scores"] == [0.7, 0.3]
    assert rows[1]["target_boxes"] == [[0.0, 0.0, 9.12, 9.0]]
    assert rows[1]["target_labels"] == ["b"]
    json.dumps(rows)
    nothing, _ = scored({0: (there((0, 0, 9, 9, 1)), found())})
    assert nothing.compute()["map"] == 0.0
    with pytest.raises(DataError, match="nothing was evaluated"):
        DetectionMetrics(("a",)).compute()
