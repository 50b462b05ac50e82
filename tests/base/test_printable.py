"""Text and JSON that say nothing to a terminal."""

import json
import math

import pytest

from ptm.base.printable import json_text, printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n", "a\tb\n"),
        ("é😀日本", "é😀日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\r", "\\x0d"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
        ("\ufeff", "\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\x7f", "\\x7f"),
    ],
)
def test_what_a_terminal_obeys_is_an_escape(text, shown):
    assert printable(text) == shown


def test_anything_is_shown_as_its_text():
    assert printable(ValueError("\x07")) == "\\x07" and printable(3) == "3"


def test_json_means_the_same_and_shows_nothing():
    value = {"a\x1b": ["\u202e", {"b": "\x9b", "c": "é"}]}
    text = json_text(value)
    assert json.loads(text) == value
    assert printable(text) == text and "é" in text
    assert json_text({"a": 1}, indent=None) == '{"a": 1}'
    assert json.loads(printable_json('{"a": "\u2066"}')) == {"a": "\u2066"}


def test_a_number_that_is_none_is_null_at_any_depth():
    value = {"a": math.nan, "b": (math.inf, [-math.inf, 1.5]), "c": {"d": math.nan}}
    assert json.loads(json_text(value)) == {"a": None, "b": [None, [None, 1.5]], "c": {"d": None}}
