"""The tables of a page."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from report_runs import (
    make_predictions,
    make_run,
    report_of,
)


@pytest.mark.slow
def test_many_classes_show_the_most_confused_pairs(tmp_path: Path) -> None:
    classes = [f"species {i:02d}" for i in range(40)]
    rows = make_predictions(classes, 800)
    page, _ = report_of(make_run(tmp_path / "run", classes, rows))
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["label"] != row["prediction"]:
            counts[row["label"], row["prediction"]] = counts.get((row["label"], row["prediction"]), 0) + 1
    pairs = sorted(counts, key=lambda pair: (-counts[pair], pair))[:20]
    start = page.words.index("label taken for times of the label")
    for pair in pairs:
        start = page.words.index(f"{pair[0]} {pair[1]} {counts[pair]} ", start)
    assert "All 40 classes" in page.words
    assert "Confusion matrix" not in page.words


@pytest.mark.slow
def test_10_29_what_a_task_has_not_is_no_row_of_the_scorecard(tmp_path: Path) -> None:
    """Classes have no correlation: the row said "not finite"; 1020 ms were 1.02e+03."""
    classes = ["negative", "positive"]
    column = {"value": 0.9, "agreement": 0.8, "latency_ms": {"1": {"median": 1020.0, "p95": 1234.5}}}
    scorecard = {"metric": "accuracy", "models": {"teacher": column, "student distilled": column}}
    run = make_run(tmp_path / "run", classes, make_predictions(classes, 40), scorecard=scorecard,
                   teacher={"name": "t", "parameters": 10, "metrics": {"loss": 0.4}})  # fmt: skip
    page, _ = report_of(run)
    assert "Correlation" not in page.words and "not finite" not in page.words
    assert "Agreement with the teacher 80 % 80 %" in page.words
    assert "Latency, batch 1: median, p95 1,020 ms, 1,234 ms" in page.words
    for value in column, dict(column):
        value["correlation"] = 0.5
    run = make_run(tmp_path / "numbers", classes, make_predictions(classes, 40), scorecard=scorecard,
                   teacher={"name": "t", "parameters": 10, "metrics": {"loss": 0.4}})  # fmt: skip
    assert "Correlation with the teacher 0.5000 0.5000" in report_of(run)[0].words


@pytest.mark.slow
def test_15_15_twenty_thousand_classes_take_little_memory(tmp_path: Path) -> None:
    """A confusion matrix would take 3.2 GB, a table of all classes 4 MB of the page."""
    classes = [f"class {i}" for i in range(20_000)]
    run = make_run(tmp_path / "run", classes, make_predictions(classes[:30], 500))
    tracemalloc.start()
    page, _ = report_of(run)
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()
    assert "The first 1,000 classes" in page.words and "of 20,000" in page.words
    assert "class 999 " in page.words and "class 1001 " not in page.words


@pytest.mark.slow
def test_teacher_and_student_are_compared(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(
        tmp_path / "run",
        classes,
        make_predictions(classes, 40),
        teacher={"name": "runs/large", "parameters": 43_859_200, "metrics": {"loss": 0.4}},
        distill={"teacher_seconds": 30.0, "student_seconds": 90.0},
    )
    page, card = report_of(run)
    assert "Parameters 43.9 M 4.39 M 10 to 1" in page.words
    assert "loss 0.4000 0.4321 +0.0321" in page.words
    assert "Time in training 30 s 1 min 30 s 25 % teacher" in page.words
    assert "taught by `runs/large`" in card
    assert "| loss | 0.4321 | 0.4000 |" in card
