"""The YAML that is read: what a value means, what is refused, and where it stands."""

import json
import math

import pytest

from config_texts import changed, only, parse, refused
from ptm.config.yaml_tree import (
    Listing,
    Place,
    Scalar,
    Section,
    Unread,
    decode,
    plain_value,
    read_value,
    read_yaml,
    show,
    to_data,
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("2e-05", 2e-5),
        ("1", 1.0),
        ("1_000", 1000.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1.5E+3", 1500.0),
    ],
)
def test_numbers(written, value):
    assert parse(changed("learning_rate", f"  learning_rate: {written}")).train.learning_rate == value


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "True",
        "FALSE",
        "0x1F",
        "0o17",
        "017",
        "1:30",
        "2001-01-01",
        "1_",
        "nan",
        ".inf",
        "-",
        "a#b",
    ],
)
def test_texts_that_other_readers_take_for_something_else(text):
    assert parse(changed("labels", f"  labels: [{text}, other]")).data.labels == (text, "other")


@pytest.mark.parametrize(
    "text",
    ["true", "null", "3", "1e-5", "~", "# x", "a: b", " a ", "", "*a", "&a", "!a", "%", "<<", "é", "😀"],
)
def test_quoted_texts(text):
    for quoted in (json.dumps(text), json.dumps(text, ensure_ascii=False), f"'{text}'"):
        assert parse(changed("labels", f"  labels: [{quoted}, other]")).data.labels == (text, "other")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: &x 1\n", "1:4", "an anchor, `&x`"),
        ("a: *x\n", "1:4", "an alias, `*x`"),
        ("<<: {a: 1}\n", "1:1", "a merge key, `<<`"),
        ("a: !x 1\n", "1:4", "a tag, `!x`"),
        ("a: !!python/object/apply:os.system [ls]\n", "1:4", "a tag, `!!python/object/apply:os.system`"),
        ("a: !u!x 1\n", "1:4", "a tag"),
        ("a: 1\na: 2\n", "2:1", "the key 'a' stands here again, after run.yaml:1:1"),
        ("a: {b: 1, 'b': 2}\n", "1:11", "the key 'b' stands here again, after run.yaml:1:5"),
        ("version: 1\n---\na: 2\n", "2:1", "a second document begins here"),
        ("? [a]\n: 1\n", "1:3", "a list or a mapping as a key"),
        ("a:\n\tb: 1\n", "2:1", "a tab"),
        ("a:\tb\n", "1:3", "a tab"),
        ("a:3\nb: 4\n", "1:2", "no space after the colon"),
        ("a: 1\nb:3\n", "2:1", "not `key: value`"),
        ("source: csv: x\n", "1:12", "a `: ` where none can be"),
        ("a: >= 0.9\n", "1:4", "`>` and `|` begin a folded text"),
        ("a: {b: >= 0.9}\n", "1:8", "`>` begins a folded text"),
        ("a: %x\n", "1:4", "a value cannot begin with this character"),
        ("a:\n  b: 2\n c: 3\n", "3:2", "indented differently"),
        ("a: 'x\n", "1:4", "a quote that is never closed"),
        ("a: [1, 2\n", "2:1", "a list without its end"),
        ("a: {b: 1\n", "2:1", "a mapping without its end"),
        ("a: 'x' y\n", "1:8", "something follows a complete value"),
        ("a: - b\n", "1:4", "a list item where none can be"),
        ('a: "\\d"\n', "1:6", "an unknown escape in double quotes"),
        ('a: "\\UFFFFFFFF"\n', "1:7", "this number is not one of a character"),
        ('a: "\\ud800"\n', "1:4", "a control character, U+D800, in a text"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", "1:9", "this number is not one of a character"),
        ("a: " + "9" * 31 + "\n", "1:4", "the number 9999999999999999999… is too large"),
        ("a: " + "9" * 10_000 + "\n", "1:4", "the number 9999999999999999999… is too large"),
        ("a: 1e999\n", "1:4", "the number 1e999 is too large"),
        ("a: b\0\n", "1:5", "an invisible character, U+0000"),
        ("a: 1\nb: \x1b[31m\n", "2:4", "an invisible character, U+001B"),
        ("a: b\u2028\n", "1:5", "an invisible character, U+2028"),
        ("a: 1\r\nb: \ufeff2\ufeff\n", "2:4", "an invisible character, U+FEFF, and 1 more of the kind"),
        ("- a\n", "1:1", "the file holds a list"),
        ("just words\n", "1:1", "the file holds a single value"),
        ("[" * 5000, "1:21", "nested deeper than 20 levels"),
        ("a: " + "{a: " * 5000, "1:77", "nested deeper than 20 levels"),
        ("- " * 5000, "1:41", "nested deeper than 20 levels"),
        ("\n".join(" " * i + "a:" for i in range(400)), "20:20", "nested deeper than 20 levels"),
        ("a: [" + "1, " * 200_000 + "]\n", "1:299996", "more than 100,000 values"),
    ],
)
def test_yaml_that_is_refused(text, where, what):
    assert (f"run.yaml:{where}", what) in [(p.where, p.what) for p in refused(text)]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file(text):
    problem = only(text)
    assert (problem.where, problem.what) == ("run.yaml", "the file is empty")


def place(order: int = 1) -> Place:
    return Place((order, 0, 0), "--set a=b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("-7", -7),
        ("1_000_000", 1_000_000),
        ("1__0", "1__0"),
        ("00", "00"),
        ("0.50", 0.5),
        ("1e3", 1000.0),
        (".", "."),
        ("1.e2", 100.0),
        ("nan", "nan"),
        ("9" * 61, math.inf),
    ],
)
def test_what_an_unquoted_value_means(text, value):
    assert plain_value(text) == value and type(plain_value(text)) is type(value)


def test_a_tree_knows_where_its_keys_and_values_stand():
    root, findings = read_yaml('a: 1\nb: {c: ["x", 2.5], d: ~}\n', "f")
    assert not findings and isinstance(root, Section)
    assert to_data(root) == {"a": 1, "b": {"c": ["x", 2.5], "d": None}}
    inner = root.values["b"]
    assert isinstance(inner, Section) and isinstance(inner.values["c"], Listing)
    assert [root.keys["b"].text, inner.place.text, inner.keys["d"].text] == ["f:2:1", "f:2:4", "f:2:20"]
    quoted, number = inner.values["c"].items
    assert (quoted.text, quoted.plain, number.text, number.plain) == ("x", False, "2.5", True)
    assert inner.values["c"].items[1].place.text == "f:2:14"


def test_what_was_refused_is_none_in_the_data_and_its_section_is_incomplete():
    root, findings = read_yaml("a: *x\nb: {<<: *y, c: 1}\n", "f")
    assert isinstance(root, Section) and isinstance(root.values["a"], Unread)
    assert to_data(root) == {"a": None, "b": {"c": 1}}
    assert root.values["b"].incomplete and not root.incomplete
    assert [f.problem.what for f in findings] == ["an alias, `*x`", "a merge key, `<<`"]


@pytest.mark.parametrize(
    ("text", "data"),
    [("[1, a]", [1, "a"]), (" {a: 1} ", {"a": 1}), ("'1'", "1"), ("a: b", "a: b"), (">= 0.9", ">= 0.9")],
)
def test_the_value_of_an_override(text, data):
    node, findings = read_value(text, place())
    assert to_data(node) == data and not findings and node.place == place()


def test_a_place_in_a_file_comes_before_one_on_the_command_line():
    assert sorted([place(1), place(0)])[0].in_file
    assert not place(1).in_file
    assert Place((0, 2, 9), "x") < Place((0, 10, 0), "a")


def test_a_text_is_shown_on_one_line_and_cut():
    assert show("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert show("x" * 60) == "x" * 60
    assert show("x" * 61) == "x" * 59 + "…"
    assert show("abcdef", 3) == "ab…"


def test_bytes_are_decoded_or_their_place_is_named():
    assert decode(b"\xef\xbb\xbfa: \xc3\xa9", "f") == ("a: é", [])
    text, (finding,) = decode(b"a: 1\nb: \xff", "f")
    assert text == "" and finding.place.text == "f:2:4"
    assert isinstance(read_value('"\\u00e9"', place())[0], Scalar)


def test_15_17_thousands_of_faults_are_not_all_told():
    """Each costs its time, and nobody reads on: 3,000 aliases took five seconds."""
    text = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 5000))
    root, findings = read_yaml(text, "a.yaml")
    assert root is None and 100 < len(findings) < 300
