"""Questions about a context, whose answers are parts of it: rows with the text of an answer and where it begins."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ptm.base import strict_json
from ptm.config.spec import DataSpec
from ptm.data.columns import yaml_text
from ptm.data.examples import Dataset
from ptm.data.tables import Table
from ptm.data.tabular import load_columns
from ptm.errors import DataError, Gathered, Problem, listing

QUESTION, CONTEXT, ANSWERS, ANSWER, START = "question", "context", "answers", "answer", "answer_start"
_FORMS = '{"text": ["…"], "answer_start": [0]}, or a text beside a column with its first character'
_KEYS = ("answers", "answer_start")
_USUAL: tuple[dict[str, str], ...] = ({"answers": ANSWERS}, {"answers": ANSWER, "answer_start": START})
_MOST = 10**15  # characters: no text is longer
_SHOWN = 40  # characters of an answer in a message


def input_columns(data: DataSpec) -> dict[str, str]:
    """Role → column of what a model reads."""
    return {"question": data.question or QUESTION, "context": data.text or CONTEXT}


def load_questions(data: DataSpec, *, train: bool = True) -> Dataset:
    """Questions and contexts; the targets of an example are int64 [answers, 2]: of each the first character of the
    context and the one behind the last. [0, 2] where there is no answer. What was decided of open keys is in
    ``decided``.

    Raises DataError for an answer that does not stand where its row says.
    """
    named = (data.answers, data.answer_start)
    if named in ((None, None), *(tuple(form.get(key) for key in _KEYS) for form in _USUAL)):
        # A run's config names one of the usual forms, and other files may have the other one.
        first, second = _USUAL if data.answers != ANSWER else reversed(_USUAL)
        return _load_either(data, first, second, "answers", train)
    start = {"answer_start": data.answer_start or START}
    if data.answers is None:
        return _load_either(data, {"answers": ANSWERS} | start, {"answers": ANSWER} | start, "answers", train)
    alone = {"answers": data.answers}
    if data.answer_start is None:
        return _load_either(data, alone | start, alone, "answer_start", train)
    return _load(data, alone | start, train)


def _load_either(
    data: DataSpec, first: Mapping[str, str], second: Mapping[str, str], role: str, train: bool
) -> Dataset:
    """By the first columns; by the second where that of ``role`` is not there."""
    try:
        return _load(data, first, train)
    except DataError as error:
        if not _lacks(error, first[role]):
            raise
        try:
            return _load(data, second, train)
        except DataError as of_other:
            neither = role in second and _lacks(of_other, second[role])
            raise (error if neither else of_other) from None


def _lacks(error: DataError, column: str) -> bool:
    return f"no column {column!r}" in {problem.what for problem in error.problems}


def _load(data: DataSpec, columns: Mapping[str, str], train: bool) -> Dataset:
    loaded = load_columns(data, input_columns(data), train=train, beside=columns, targets=_targets)
    return replace(loaded, decided=columns)


def has_unanswerable(data: Dataset) -> bool:
    """Whether a question, of those that are learned from where there are such, has no answer in its context."""
    examples = data.eval if data.train is None else data.train
    return examples.targets is not None and any(not len(answers) for answers in examples.targets)


def _targets(table: Table) -> tuple[np.ndarray, tuple[Problem, ...]]:
    """An object array of the answers of each row, and what is to be said of how they are counted."""
    targets = np.empty(len(table), dtype=object)
    gathered, wide = Gathered(), list[int]()
    starts = table.columns.get("answer_start", [None] * len(table))
    rows = zip(table.columns["answers"], starts, table.columns["context"], strict=True)
    for row, (answers, start, context) in enumerate(rows):
        targets[row] = np.empty((0, 2), dtype=np.int64)
        with gathered.of():
            if isinstance(context, str):  # of any other, its own message is enough
                spans, in_utf16 = _spans(answers, start, context, table.where(row))
                targets[row] = np.array(spans, dtype=np.int64).reshape(-1, 2)
                wide += [row] if in_utf16 else []
    gathered.refuse("rows")
    if not wide:
        return targets, ()
    what = f"{len(wide)} answers are counted in units of UTF-16, as browsers do, and were counted anew"
    return targets, (Problem(what, table.where(wide[0])),)


def _spans(answers: Any, start: Any, context: str, where: str) -> tuple[list[tuple[int, int]], bool]:
    """First character and the one behind the last of each answer, and whether UTF-16 was counted."""
    spans: list[tuple[int, int]] = []
    wide = False
    for text, written in _pairs(answers, start, where):
        begin = _number(written, text, where)
        found = _start(text, begin, context)
        if found is None:
            raise _misplaced(text, begin, context, where)
        wide = wide or found != begin
        begin = found + len(text) - len(text.lstrip())
        spans.append((begin, begin + len(text.strip())))
    return spans, wide


def _pairs(answers: Any, start: Any, where: str) -> list[tuple[str, Any]]:
    """(text, where it begins) of each answer, whatever form they are written in."""
    found = answers
    if isinstance(answers, str) and (start is None or not _is_number(start)):
        found = _printed(answers)
    if isinstance(found, dict):
        texts, starts = found.get("text"), found.get(START)
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
    elif isinstance(found, list) and all(isinstance(one, dict) for one in found):
        texts, starts = [one.get("text") for one in found], [one.get(START) for one in found]
    elif isinstance(found, list):
        texts, starts = found, _printed(start) if isinstance(start, str) else start
    else:
        texts, starts = [found], [start]
        if found is None or found == "":
            return _none(start, where)
    if not isinstance(texts, list) or not isinstance(starts, list):
        raise DataError(
            f"the answers are {answers!r:.80}", where=where, expected=_FORMS, cure="correct the row"
        )
    if len(texts) != len(starts):
        what = f"{len(texts)} texts of answers and {len(starts)} places"
        raise DataError(what, where=where, expected="a place for each", cure="correct or remove the row")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f"an answer is {text!r:.60}",
                where=where,
                expected="a text",
                cure="no answer is an empty list: []",
            )
    return list(zip(texts, starts, strict=True))


def _none(start: Any, where: str) -> list[tuple[str, Any]]:
    if start in (None, "", -1, 0, "-1", "0", []) or (isinstance(start, float) and np.isnan(start)):
        return []
    what = f"no answer, and {START} is {start!r:.40}"
    raise DataError(what, where=where, expected="both, or neither", cure="correct or remove the row")


def _printed(text: str) -> Any:
    """What a cell of a table says as JSON, or as Python prints it; the text itself where it is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return strict_json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*\d{1,15}\s*", value) is not None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST:
        return False
    return float(value).is_integer()


def _number(value: Any, text: str, where: str) -> int:
    if _is_number(value) and int(value) >= 0:
        return int(value)
    if value is None or value == "":
        raise DataError(
            f"nobody says where the answer {text[:_SHOWN]!r} begins",
            where=where,
            expected="its first character in the context, from 0",
            cure=f"name the column that has it: --set data.{START}=NAME",
        )
    raise DataError(
        f"the answer {text[:_SHOWN]!r} begins at {value!r:.40}",
        where=where,
        expected="a whole number of characters, from 0",
        cure="correct or remove the row",
    )


def _start(text: str, begin: int, context: str) -> int | None:
    """The character that ``begin`` is, which may be counted in units of UTF-16; None where the text is not there."""
    if context[begin : begin + len(text)] == text:
        return begin
    units = context.encode("utf-16-le", "surrogatepass")[: 2 * begin]
    characters = len(units.decode("utf-16-le", "ignore"))
    return characters if context[characters : characters + len(text)] == text else None


def _misplaced(text: str, begin: int, context: str, where: str) -> DataError:
    there = context[begin : begin + len(text)]
    places = [match.start() for match in re.finditer(re.escape(text), context)]
    cure = "was the context changed after it was annotated? correct or remove the row"
    if places:
        cure = f"it stands at {listing(map(str, places), most=5)}: correct {START}"
    elif text.lower() in context.lower():
        cure = f"it stands there in other letters: take {yaml_text(_as_written(text, context))}"
    return DataError(
        f"the answer {text[:_SHOWN]!r} is not at character {begin} of the context, where {there[:_SHOWN]!r} stands",
        where=where,
        expected="the text of the context from that character on, counted from 0",
        cure=cure,
    )


def _as_written(text: str, context: str) -> str:
    found = re.search(re.escape(text), context, re.IGNORECASE)
    return found[0] if found else text


def answer_texts(answers: np.ndarray, context: str) -> list[str]:
    """The texts of the answers of an example, int64 [answers, 2]; each once."""
    return list(dict.fromkeys(context[start:end] for start, end in answers.tolist()))
