"""What a row of texts or of words may hold."""

import numpy as np
import pytest

from ptm.data.arrow import select
from ptm.data.arrow_lists import Lists, RowBuilder
from ptm.data.texts import column_problems, plain_words, text_problems, word_problems


def row(number):
    return f"a.csv:{number + 2}"


@pytest.mark.parametrize("text", ["a", " a ", "é", "😀", "-", "\u200bword", "日本語"])
def test_a_text_shows_something(text):
    assert not list(text_problems([text], "text", row))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "no text here"),
        ("", "no text here"),
        (" \n", "the text is ' \\n'"),
        ("\u200b", "the text is '\\u200b'"),
        ("\u00a0\u2003", "the text is '\\xa0\\u2003'"),
        ("\x00\x07", "the text is '\\x00\\x07'"),
        (3, "the text is 3"),
        (float("nan"), "the text is nan"),
    ],
)
def test_what_is_no_text(value, what):
    problems = list(text_problems(["fine", value], "text", row))
    assert [(p.where, p.what) for p in problems] == [("a.csv:3", what)]


@pytest.mark.parametrize(
    "words", [["a"], ("a", "b"), np.array(["a", "b"], dtype=object), ["\u200b", "a"], ["."]]
)
def test_a_sentence_is_a_list_of_words(words):
    assert not list(word_problems([words], row))


@pytest.mark.parametrize(
    ("sentence", "what"),
    [
        ("a b", "the words are 'a b'"),
        (None, "the words are None"),
        ([], "a sentence without words"),
        (["a", ""], "word 2 is ''"),
        (["a", 3], "word 2 is 3"),
        (["\u200b"], "the words are ['\\u200b']"),
    ],
)
def test_what_is_no_sentence(sentence, what):
    assert [p.what for p in word_problems([["a"], sentence], row)] == [what]


def test_columns_are_checked_by_their_role():
    columns = {"text": ["a", ""], "target_text": [None, "b"], "words": [["a"], []], "label": [None, ""]}
    whats = [(p.where, p.what) for p in column_problems(columns, row)]
    assert whats == [
        ("a.csv:3", "no text here"),
        ("a.csv:2", "no target_text here"),
        ("a.csv:3", "a sentence without words"),
    ]


def test_printed_words_are_a_list_and_all_else_stays():
    assert plain_words("['Ada', 'ran']") == ["Ada", "ran"]
    assert plain_words("Ada ran") == "Ada ran"
    assert plain_words(["a"]) == ["a"] and plain_words(None) is None


@pytest.mark.parametrize("blank", ["\u2800", "\u3164\u200b", "\uffa0 ", "\ufe0f"])
def test_10_18_letters_that_show_nothing_are_no_text(blank):
    (problem,) = text_problems([blank, "a\ufe0f", "가"], "text", str)
    assert problem.where == "0"


@pytest.mark.parametrize("more", [[], [f"w{n}" for n in range(3000)]], ids=["few words", "many words"])
def test_13_06_defects_of_a_column_of_words_are_those_of_its_lists(more):
    rows = [["a", "b"], [], ["\u200b", "a"], ["\u200b"], ["a", " "], ["", "b"], [*more, "x"], ["語"]]
    if not more:
        rows += [["a", 3], [None], [True, "b"]]
    builder = RowBuilder()
    builder.extend(rows)
    column, chosen = builder.column(), [5, 0, 3, 3, 1]
    assert isinstance(column, Lists)
    assert list(word_problems(column, str)) == list(word_problems(rows, str))
    picked = select(column, chosen)
    assert list(word_problems(picked, str)) == list(word_problems([rows[n] for n in chosen], str))
