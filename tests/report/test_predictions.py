"""What a page says about classes is what scikit-learn computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from report_runs import (
    make_predictions,
    make_run,
    report_of,
    wilson_by_formula,
)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [["negative", "positive"], [f"class {i}" for i in range(10)]])
def test_numbers_are_those_of_scikit_learn(tmp_path: Path, classes: list[str]) -> None:
    rows = make_predictions(classes)
    page, card = report_of(make_run(tmp_path / "run", classes, rows))
    labels, predicted = [row["label"] for row in rows], [row["prediction"] for row in rows]
    accuracy = metrics.accuracy_score(labels, predicted)
    low, high = wilson_by_formula(round(accuracy * len(rows)), len(rows))
    assert f"accuracy {accuracy:.4f} 95 % interval {low:.4f} – {high:.4f} n = 200" in page.words
    assert f"| accuracy | {accuracy:.4f} (95 % interval {low:.4f} – {high:.4f}) |" in card
    columns = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    for name, precision, recall, f1, support in zip(classes, *columns, strict=True):
        assert f"{name} {precision:.3f} {recall:.3f} {f1:.3f} {support}" in page.words
    means = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, average="macro")[:3]
    assert "mean {:.3f} {:.3f} {:.3f} 200".format(*means) in page.words
    matrix = metrics.confusion_matrix(labels, predicted, labels=classes)
    drawn = re.findall(
        r'<td class="(?:hit|miss|none)" style="--a:([\d.]+)">(\d+)',
        (tmp_path / "run/report.html").read_text(),
    )
    assert [int(count) for _, count in drawn] == matrix.flatten().tolist()
    assert np.allclose(
        [float(share) for share, _ in drawn], (matrix / matrix.sum(1, keepdims=True)).flatten(), atol=1e-3
    )


@pytest.mark.slow
def test_calibration_error_is_the_textbook_sum(tmp_path: Path) -> None:
    classes = ["a", "b", "c"]
    rows = make_predictions(classes, 333)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    error = 0.0
    for low in range(10):
        inside = [row for row in rows if low / 10 < max(row["scores"].values()) <= (low + 1) / 10]
        right = sum(row["label"] == row["prediction"] for row in inside)
        stated = sum(max(row["scores"].values()) for row in inside)
        error += abs(right - stated) / len(rows)
    assert f"expected calibration error {error:.4f}" in page.words
