"""Single predictions on the page: the worst mistakes, samples, and those that cannot be looked up."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ptm.errors import DataError
from report_runs import (
    PNG,
    make_predictions,
    make_run,
    report_of,
)


@pytest.mark.slow
def test_worst_mistakes_come_first_and_only_twenty(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    rows = make_predictions(classes, 400)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    wrong = [row for row in rows if row["label"] != row["prediction"]]
    worst = sorted(wrong, key=lambda row: -row["scores"][row["prediction"]])[:20]
    found = re.findall(
        r"predicted (\w+) ([\d.]+) labelled (\w+) ([\d.]+) text number (\d+) (reviews.csv:\d+)", page.words
    )
    expected = [
        (
            row["prediction"],
            f"{row['scores'][row['prediction']]:.3f}",
            row["label"],
            f"{row['scores'][row['label']]:.3f}",
            str(row["id"]),
            row["where"],
        )
        for row in worst
    ]
    assert len(wrong) > 20
    assert found == expected


@pytest.mark.slow
def test_examples_are_looked_up_by_id(tmp_path: Path) -> None:
    classes = ["cat", "dog"]
    rows = [
        {key: row[key] for key in ("id", "label", "prediction", "scores")}
        for row in make_predictions(classes, 50)
    ]
    run = make_run(tmp_path / "run", classes, rows, task="image-classification")
    page, card = report_of(run, examples=lambda index: {"image_png": PNG, "where": f"pets/{index}.png"})
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    wrong = [row["id"] for row in rows if row["label"] != row["prediction"]]
    assert len(images) == min(20, len(wrong))
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    assert all(f"pets/{image['alt'].split()[-1]}.png" in page.text for image in images if image["alt"])
    assert "ptm eval . --data imagefolder:FOLDER" in card
    assert "transformers" not in card.split("## Versions")[0]


@pytest.mark.slow
def test_a_failing_lookup_is_told_and_does_not_fail_the_report(tmp_path: Path) -> None:
    def gone(index: int) -> dict[str, Any]:
        raise FileNotFoundError(2, "No such file", f"pets/{index}.png")

    classes = ["cat", "dog"]
    page, _ = report_of(make_run(tmp_path / "run", classes, make_predictions(classes, 50)), examples=gone)
    assert re.search(r"\d+ examples could not be looked up; the first: example \d+", page.words)
    assert "text number" in page.words  # what the predictions say of themselves is shown instead


@pytest.mark.slow
def test_a_task_without_classes_shows_examples_of_what_was_predicted(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), "red").save(buffer, "PNG")
    rows = [
        {"id": i, "where": f"{i}.png", "boxes": [[i, 2, 3, 4]], "labels": ["<b>car</b>"], "loss": 0.5}
        for i in range(30)
    ]
    run = make_run(tmp_path / "run", ["a", "b"], make_predictions(["a", "b"]))
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn: list[tuple[int, Any]] = []

    def draw(index: int, row: Any) -> bytes | None:
        drawn.append((index, row))
        if index == 6:
            raise DataError("the image is gone", where="6.png")
        return buffer.getvalue() if index else None

    page, _ = report_of(run, examples=lambda index: {"text": f"picture {index}"}, drawings=draw)
    assert [index for index, _ in drawn] == list(range(0, 30, 3))
    assert all(row == rows[index] for index, row in drawn)
    assert "picture 27" in page.words
    assert "found with a score of at least 0.5 1 <b>car</b>" in page.words
    assert "[[27, 2, 3, 4]]" not in page.words
    assert "loss 0.5" not in page.words
    assert "the first: example 6: 6.png: the image is gone" in page.words
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', (run / "report.html").read_text())
    assert len(images) == 8
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).size == (360, 240)
    assert "Confusion" not in page.words


@pytest.mark.slow
def test_10_29_numbers_for_each_class_are_words(tmp_path: Path) -> None:
    masks = {"shares": {"sky": 0.75, "<road>": 0.25}, "iou": {"sky": 0.5, "<road>": None}, "pixels": 4032}
    rows = [{"id": i, "where": f"{i}.png", **masks, "right": 3051} for i in range(3)]
    run = make_run(tmp_path / "run", ["a", "b"], make_predictions(["a", "b"]))
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, _ = report_of(run)
    assert "shares sky 75 %, <road> 25 %" in page.words
    assert "iou sky 0.5000 right" in page.words
    assert "right 3,051 of 4,032 pixels" in page.words
    assert "{'sky'" not in page.words and "pixels 4032" not in page.words


@pytest.mark.slow
def test_classifiers_show_no_such_examples(tmp_path: Path) -> None:
    page, _ = report_of(make_run(tmp_path / "run", ["a", "b"], make_predictions(["a", "b"])))
    assert "of the evaluated examples, spread evenly" not in page.words
