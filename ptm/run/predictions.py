"""predictions.jsonl: a line an evaluated example, by rising id. Written and read here alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from ptm.base.files import parse_json, utf8
from ptm.base.regular import read_text
from ptm.pipeline import Pipeline, Prediction


def prediction_lines(predictions: Iterable[Prediction], pipeline: Pipeline) -> bytes:
    """The content of the file. ``pipeline`` says where each example stands in the data, and its text."""
    lines = [json.dumps(_described(prediction, pipeline), ensure_ascii=False) for prediction in predictions]
    return utf8("\n".join(lines) + "\n")


def _described(prediction: Prediction, pipeline: Pipeline) -> Prediction:
    example = pipeline.named_example("eval", prediction["id"])
    prediction["where"] = example["where"]
    if "text" in example:
        prediction["input"] = example.get("inputs", example["text"])
    return prediction


def read_predictions(path: Path) -> Mapping[int, Prediction]:
    """By example id. Raises OSError or ValueError when they cannot be read, also for numbers that are
    none, RecursionError for what is nested too deeply."""
    rows: dict[int, Prediction] = {}
    for line in filter(str.strip, read_text(path).split("\n")):
        row = parse_json(line)
        index = row.get("id") if isinstance(row, dict) else None
        if type(index) is not int or index in rows:
            raise ValueError(f"a line that is no prediction, or one of two: {line[:60]}")
        rows[index] = cast(Prediction, row)
    return rows
