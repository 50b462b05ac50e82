"""Columns of texts and of words: what a row may hold, for training and for prediction alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ptm.data.arrow import Texts, rows_where, seen
from ptm.data.arrow_lists import Lists
from ptm.data.label_cells import quoted_list
from ptm.errors import Problem

Where = Callable[[int], str]

TEXT_ROLES = ("text", "text_pair", "target_text", "question", "context")


def column_problems(columns: Mapping[str, Sequence[Any]], where: Where) -> Iterator[Problem]:
    """What is wrong with the rows of columns by role; roles that hold no texts are left out."""
    for role, column in columns.items():
        if role in TEXT_ROLES:
            yield from text_problems(column, role, where)
        elif role == "words":
            yield from word_problems(column, where)


def text_problems(column: Sequence[Any], role: str, where: Where) -> Iterator[Problem]:
    """The rows whose value is not a text, or holds no word."""
    unseen = column.unseen if isinstance(column, Texts) else rows_where(column, _is_no_text)
    for row in unseen:
        value = column[row]
        what = f"no {role} here" if value is None or value == "" else f"the {role} is {value!r}"
        yield Problem(what, where(row), "a text", "remove the row or fill it in")


def _is_no_text(value: Any) -> bool:
    return not isinstance(value, str) or not seen(value)


def word_problems(sentences: Sequence[Any], where: Where) -> Iterator[Problem]:
    """The rows that are no list of words."""
    rows = _doubtful(sentences) if isinstance(sentences, Lists) else range(len(sentences))
    for row in rows:
        sentence = sentences[row]
        defect = _defect(sentence)
        if defect:
            yield Problem(defect, where(row), "a list of words", "correct or remove the row")


def _doubtful(sentences: Lists) -> list[int]:
    """The rows without words, and with one that is no text or shows nothing."""
    words = sentences.flat()
    unseen = words.unseen if isinstance(words, Texts) else rows_where(words, _is_no_text)
    empty = np.flatnonzero(sentences.lengths == 0)
    return [int(row) for row in np.union1d(empty, sentences.rows_of(unseen))]


def input_problem(columns: Mapping[str, Sequence[Any]], row: int, where: Where) -> Problem | None:
    """What is wrong with a row that is to be predicted. Words may come as one text there."""
    for role, column in columns.items():
        texts = role in TEXT_ROLES or (role == "words" and isinstance(column[row], str))
        one, place = {role if not texts else "text": [column[row]]}, lambda _: where(row)
        problem = next(column_problems(one, place), None)
        if problem is not None:
            return problem
    return None


def plain_words(cell: Any) -> Any:
    """A list of words that was printed into a table, as the list; all else as it is."""
    words = quoted_list(cell) if isinstance(cell, str) else None
    return cell if words is None else words


def _defect(sentence: Any) -> str:
    """What a row is instead of words; "" when all is well."""
    if not isinstance(sentence, list | tuple | np.ndarray):
        return f"the words are {sentence!r}"
    if not len(sentence):
        return "a sentence without words"
    for place, word in enumerate(sentence, start=1):
        if not isinstance(word, str) or not word.strip():
            return f"word {place} is {word!r}"
    return "" if any(map(seen, sentence)) else f"the words are {list(sentence)!r}"
