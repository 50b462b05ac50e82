"""Predictions that are no single class, on the page: sets of labels, entities, numbers."""

import json
import re

import pytest

from ptm.report.page import write_report
from report_runs import Page


def made(folder, task, rows, labels=(), **data):
    """A run directory of that task with these predictions."""
    folder.mkdir()
    config = {"task": task, "data": {"source": "json:x", **data}, "model": {"name": "m"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    results = {"task": task, "status": "done", "metrics": {"loss": 0.5}, "labels": list(labels)}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "manifest.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("")
    lines = [
        json.dumps({"id": index, "where": f"x.json:{index + 1}", **row}) for index, row in enumerate(rows)
    ]
    (folder / "predictions.jsonl").write_text("\n".join(lines))
    write_report(folder)
    return (folder / "report.html").read_text()


def section(html, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL).group(1)


@pytest.mark.slow
def test_10_29_entities_are_marked_in_their_sentences(tmp_path):
    rows = [
        {"words": ["Ada", "in", "London"], "tags": ["B-PER", "O", "B-LOC"],
         "predicted_tags": ["B-PER", "O", "O"], "scores": [0.9, 0.9, 0.9]},
        {"words": ["in", "May"], "tags": ["O", "O"], "predicted_tags": ["O", "B-PER"], "scores": [0.9, 0.6]},
        {"words": ["Bob", "<b>"], "tags": ["B-PER", "O"], "predicted_tags": ["B-PER", "O"], "scores": [1, 1]},
    ]  # fmt: skip
    html = made(tmp_path / "r", "token-classification", rows, ["O", "B-PER", "B-LOC"])
    page = Page(html)
    mistakes = section(html, "mistakes")
    assert "2 of 3 sentences are not as they are labelled" in page.words
    assert '<mark class="right">Ada<small>PER</small></mark> in London' in mistakes
    assert '<mark class="missed">London<small>LOC</small></mark>' in mistakes
    assert 'in <mark class="wrong">May<small>PER</small></mark>' in mistakes
    assert mistakes.index("May") < mistakes.index("Ada")  # the model was surer of that one
    assert "['" not in page.words
    classes = Page(section(html, "classes")).words
    assert "kind precision recall F1 support" in classes
    assert "LOC 0.000 0.000 0.000 1" in classes
    assert "PER 0.667 1.000 0.800 2" in classes


@pytest.mark.slow
def test_10_29_sets_of_labels_have_a_table_and_their_worst_mistakes(tmp_path):
    rows = [
        {"label": ["a"], "prediction": ["a"], "scores": {"a": 0.9, "b": 0.1}, "input": "right"},
        {"label": ["a", "b"], "prediction": ["b"], "scores": {"a": 0.4, "b": 0.8}, "input": "mild"},
        {"label": [], "prediction": ["a"], "scores": {"a": 0.95, "b": 0.2}, "input": "severe"},
    ]
    html = made(tmp_path / "r", "text-classification", rows, ["a", "b"], label_type="classes")
    page = Page(html)
    assert "a 0.500 0.500 0.500 2" in page.words
    assert "b 1.000 1.000 1.000 1" in page.words
    assert "2 of 3 predictions" in page.words
    mistakes = Page(section(html, "mistakes")).words
    assert mistakes.index("severe") < mistakes.index("mild")
    assert "predicted a 0.950 labelled none" in mistakes
    assert "predicted b 0.600 labelled a, b" in mistakes  # the probability of leaving a out
    assert "['" not in page.words and "[]" not in page.words


@pytest.mark.slow
def test_10_29_numbers_are_drawn_and_the_worst_errors_come_first(tmp_path):
    rows = [
        {"label": 1.0, "prediction": 1.0, "input": "right"},
        {"label": 2.0, "prediction": 2.25, "input": "near"},
        {"label": -1.5, "prediction": 3.0, "input": "far"},
    ]
    html = made(tmp_path / "r", "text-classification", rows, label_type="number")
    page = Page(html)
    assert "Predictions over labels" in page.words
    assert "<svg" in section(html, "numbers")
    errors = Page(section(html, "mistakes")).words
    assert errors.index("far") < errors.index("near")
    assert "predicted 3 labelled -1.5" in errors
    assert "right" not in errors.split("Worst errors")[1]


@pytest.mark.slow
def test_10_29_predictions_that_are_damaged_are_left_out(tmp_path):
    rows = [
        {"words": ["a"], "tags": ["O", "O"], "predicted_tags": ["O"]},
        {"words": ["a"], "tags": ["B-X"], "predicted_tags": [None], "scores": [None]},
        {"label": ["a"], "prediction": "a"},
    ]
    page = Page(made(tmp_path / "r", "token-classification", rows, ["O", "B-X"]))
    assert "1 of 1 sentences" in page.words
