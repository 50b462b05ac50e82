"""Predictions as lines of JSON and rows of a table."""

import csv
import io
import json

import pytest

from ptm.errors import NotFinite
from ptm.experiment.prediction_table import csv_writer, row_json


def test_of_many_labels_a_table_has_the_highest_in_pairs():
    stream = io.StringIO()
    write = csv_writer(stream, tuple(f"l{i}" for i in range(30)))
    write({"id": 0, "input": "a", "prediction": "l3", "scores": {"l3": 0.5, "l7": 0.25}})
    write({"id": 1, "input": "b", "prediction": "l1", "scores": {"l0": 0.1, "l1": 0.4}})
    assert stream.getvalue().splitlines() == [
        "id,input,prediction,label_1,score_1,label_2,score_2",
        "0,a,l3,l3,0.5,l7,0.25",
        "1,b,l1,l1,0.4,l0,0.1",
    ]


def test_what_is_no_text_or_number_stands_in_a_table_as_json():
    stream = io.StringIO()
    csv_writer(stream, ())({"id": 0, "input": "a.png", "prediction": [{"box": [1, 2.5], "label": "ä"}]})
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert json.loads(row["prediction"]) == [{"box": [1, 2.5], "label": "ä"}]


def test_a_score_that_is_no_number_is_refused_with_its_place():
    row = {"where": "a.csv:7", "input": "x", "scores": {"a": float("nan")}}
    with pytest.raises(NotFinite, match=r"a\.csv:7"):
        row_json(row, row)
