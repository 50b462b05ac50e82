"""Inputs in memory: read as strictly as those of a table, and never opened."""

import pytest

from ptm.data.given import Given
from ptm.data.inputs import image_inputs, text_inputs
from ptm.errors import DataError

PAIR = {"text": "first", "text_pair": "second"}


def test_14_05_values_are_one_piece_with_their_places():
    (inputs,) = text_inputs([Given(["a", {"text": "b", "other": 1}])], {"text": "text"})
    assert inputs.columns == {"text": ["a", "b"]} and inputs.where(1) == "inputs[1]"
    (inputs,) = text_inputs([Given([{"second": "b", "first": "a"}])], PAIR)
    assert inputs.columns == {"text": ["a"], "text_pair": ["b"]}
    (inputs,) = text_inputs([Given([["two", "words"], "one text"])], {"words": "words"})
    assert inputs.columns == {"words": [["two", "words"], "one text"]}


def test_14_05_none_are_a_piece_with_its_columns():
    (inputs,) = text_inputs([Given(())], PAIR)
    assert len(inputs) == 0 and list(inputs.columns) == ["text", "text_pair"]
    (inputs,) = image_inputs([Given(())])
    assert len(inputs) == 0 and list(inputs.columns) == ["image"]


@pytest.mark.parametrize(
    "value, what, expected",
    [
        ("a", "one value alone: 'a'", "an object with 'first', 'second'"),
        ({"first": "a"}, "no 'second'", "an object with 'first', 'second'"),
        ({"first": "a", "second": " "}, "the text is ' '", "a text"),
        ({"first": "a", "second": ["b"]}, "the text is ['b']", "a text"),
        (
            {"first": "a", "second": "\ud800"},
            "half a character, \\ud800",
            "\\u escapes of this kind in pairs",
        ),
    ],
)
def test_14_05_what_cannot_be_used_is_told_with_its_place(value, what, expected):
    fine = {"first": "a", "second": "b"}
    with pytest.raises(DataError) as caught:
        list(text_inputs([Given([fine, value])], PAIR))
    (problem,) = caught.value.problems
    place = "inputs[1].second" if isinstance(value, dict) and "second" in value else "inputs[1]"
    assert (problem.where, problem.what, problem.expected) == (place, what, expected)


def test_14_05_a_path_is_no_image():
    with pytest.raises(DataError, match="the bytes of an image file"):
        list(image_inputs([Given(["/etc/passwd"])]))
