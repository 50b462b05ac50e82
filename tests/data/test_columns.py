"""Names of columns: what is missing, what may be meant, which key says so."""

import shlex

import pytest

from ptm.config.load import parse_config
from ptm.data.columns import ColumnsMissing, closest_name, naming_keys, require_columns, yaml_text
from ptm.errors import DataError


def test_columns_that_are_there_once_are_enough():
    require_columns(["text", "label", "text"], ["id", "text", "label"], "a.csv:1")


def test_all_that_are_missing_are_told_with_the_closest():
    with pytest.raises(ColumnsMissing) as caught:
        require_columns(["texts", "label", "xyz"], ["text", "label"], "a.csv:1")
    first, second = caught.value.problems
    assert (first.what, first.where, first.cure) == ("no column 'texts'", "a.csv:1", "did you mean 'text'?")
    assert second.what == "no column 'xyz'" and second.expected == "one of the columns there: 'text', 'label'"
    assert caught.value.names == (("texts", "text"), ("xyz", ""))


def test_a_column_that_stands_there_twice_is_refused_only_where_it_is_read():
    require_columns(["text"], ["text", "id", "id"], "a.csv:1")
    with pytest.raises(DataError, match="'id' stands there twice"):
        require_columns(["text", "id"], ["text", "id", "id"], "a.csv:1")


def test_the_closest_name():
    assert closest_name("lable", ["text", "label"]) == "label" and closest_name("xyz", ["text"]) == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [("label", "label"), ("my-label", "my-label"), ("yes", "yes"), ("true", '"true"'), ("null", '"null"'),
     ("1", '"1"'), ("a b", '"a b"'), ("a: b", '"a: b"'), ("", '""'), ("é", "é"), ("#x", '"#x"'), ('"', '"\\""')],
)  # fmt: skip
def test_a_text_as_the_value_of_a_key(text, written):
    assert yaml_text(text) == written


CONFIG = """version: 1
task: text-classification
model: {name: m}
data: {source: "csv:d", label_type: classes}
train: {epochs: 1, learning_rate: 1}
output: r
"""


@pytest.mark.parametrize(
    ("columns", "there", "key", "value"),
    [
        ({"text": "txt", "label": "label"}, ["text", "label"], "text", "text"),
        ({"words": "wrds"}, ["words"], "text", "words"),
        ({"label": "its a label"}, ["it's a label"], "label", "it's a label"),
        ({"text_pair": "pear"}, ["pair", "text"], "text_pair", "pair"),
        ({"labels_from angre": "angre", "labels_from b": "b"}, ["anger", "b"], "labels_from", ("anger", "b")),
    ],
)
def test_the_cure_is_a_change_that_works(columns, there, key, value, tmp_path):
    with pytest.raises(DataError) as caught, naming_keys(columns):
        require_columns(list(columns.values()), there, "a.csv:1")
    (problem,) = caught.value.problems
    _, _, command = problem.cure.partition("--set ")
    (change,) = shlex.split(command)
    spec = parse_config(CONFIG, "c", [change], base=tmp_path, cwd=tmp_path)
    assert getattr(spec.data, key) == value


def test_where_nothing_is_close_the_key_is_named_and_labels_have_another():
    with pytest.raises(DataError) as caught, naming_keys({"text": "xx", "label": "yy"}):
        require_columns(["xx", "yy"], ["abc", "def"], "a.csv:1")
    text, label = (problem.cure for problem in caught.value.problems)
    assert text == "name the right column in data.text"
    assert label == "name the right column in data.label; where each label has a column: data.labels_from"
