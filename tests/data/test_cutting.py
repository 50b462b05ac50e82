"""Texts cut into words as those of training were cut."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.data.arrow import select
from ptm.data.arrow_lists import Lists, RowBuilder
from ptm.data.cutting import WordCut, cut_of, joined_words, learn_cut

CONLL = [
    ["EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", "."],
    ["Germany", "'s", "representative", "(", "at", "2.5", "%", ")", ",", "said", "U.S.", "..."],
    ["well-known", '"', "Mr.", "Smith", '"', "!", ".", "."],
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Germany's call (at 2.5 %), said.", "Germany 's call ( at 2.5 % ) , said ."),
        ('the well-known "Smith"!', 'the well-known " Smith " !'),
        ("wait... what?!", "wait ... what ? !"),
        ("plain words", "plain words"),
        ("  two\tblanks \n and a line ", "two blanks and a line"),
        ("¿Qué? «Sí»", "¿ Qué ? « Sí »"),
        ("", ""),
    ],
)
def test_10_30_punctuation_stands_apart_as_in_training(text, words):
    assert learn_cut(CONLL).cut(text) == words.split()


def test_10_30_words_that_were_cut_at_blanks_stay_whole():
    sentences = [["I", "saw", "Ada,", "then", "London."], ["London,", "again."]]
    assert learn_cut(sentences).cut("Ada, in London.") == ["Ada,", "in", "London."]


def test_10_30_ideographs_are_words_where_they_were_so():
    cut = learn_cut([list("我爱北京。"), ["在", "GPT", "里"]])
    assert cut.cut("我在London,北京。") == ["我", "在", "London", ",", "北", "京", "。"]
    whole = learn_cut([["我", "爱", "北京", "大学"], ["北京", "好的"]])
    assert whole.cut("北京 大学") == ["北京", "大学"]


@given(st.text(max_size=40))
def test_10_30_words_stand_where_they_say_and_leave_nothing_but_blanks(text):
    for cut in (WordCut(), WordCut(ideographs=True), WordCut(joined=".,", suffixes=("'s", "s"))):
        words = cut.cut(text)
        places = zip(words.starts, words, strict=True)
        assert all(text[start : start + len(word)] == word for start, word in places)
        assert "".join(words) == "".join(text.split())


def test_10_30_words_are_joined_with_blanks():
    words = joined_words(["Ada", "Lovelace", "."])
    assert (words.text, words.starts) == ("Ada Lovelace .", [0, 4, 13])
    assert list(words) == ["Ada", "Lovelace", "."]


def test_10_30_how_texts_are_cut_is_saved_with_the_model():
    cut = learn_cut(CONLL)
    assert cut_of(SimpleNamespace(word_cut=cut.as_dict())) == cut
    assert cut_of(SimpleNamespace()) == WordCut()
    assert cut_of(SimpleNamespace(word_cut={"joined": 3, "suffixes": "x"})) == WordCut(joined="3")


@pytest.mark.parametrize("distinct", [30, 4000])
def test_13_06_the_cut_of_a_column_is_that_of_its_lists_word_by_word(distinct):
    random, parts = (
        np.random.default_rng(0),
        ["'s", "’d", "n't", "e.g.", ",", "...", "--", "!?", "北京", "爱", "(a", "b)", "x"],
    )
    words = [*parts, *(f"w{n}{random.choice(parts)}" for n in range(distinct))]
    rows = [[words[n] for n in random.integers(0, len(words), 6)] for _ in range(1000)]
    builder = RowBuilder()
    builder.extend(rows)
    column, chosen = builder.column(), random.integers(0, 1000, 50)
    assert isinstance(column, Lists)
    assert learn_cut(column) == learn_cut(rows)
    assert learn_cut(select(column, chosen)) == learn_cut([rows[row] for row in chosen])
