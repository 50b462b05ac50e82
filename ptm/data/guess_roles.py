"""Columns of texts that have a part each: a question, its context and the answer; two texts that are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ptm.data.guess_rows import Guess, Rows, is_number, longest_columns, put_columns
from ptm.data.squad import read_squad
from ptm.data.text_format import TextFormat
from ptm.errors import DataError, listing

_QUESTIONS = ("question", "query")
_CONTEXTS = ("context", "passage", "paragraph", "document", "article", "text")
_ANSWERS = ("answers", "answer", "answer_text")
_STARTS = ("answer_start", "answer_starts", "start")
_ARTICLES = 5  # at least, for a fifth of them to be held out
PAIRS = (
    *(
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("text", "text_pair"),
    ),
    *(("question", "sentence"), ("text1", "text2"), ("text_a", "text_b"), ("query", "passage")),
)


def are_questions(columns: Sequence[str]) -> bool:
    """Whether columns are named as SQuAD's are."""
    return {"question", "context"} <= set(columns) and not {"answers", "answer"}.isdisjoint(columns)


def guess_questions(about: Guess, rows: Rows, file: Path) -> None:
    """Columns of questions, contexts and answers. Raises DataError where one of them is not there."""
    known = {"question": _QUESTIONS, "text": _CONTEXTS, "answers": _ANSWERS, "answer_start": _STARTS}
    found = {
        role: column
        for role, names in known.items()
        for column in [next((c for name in names for c in rows.columns if c.lower() == name), None)]
        if column is not None
    }
    if not {"question", "text", "answers"} <= set(found):
        raise DataError(
            "no columns of questions, contexts and answers",
            where=file,
            expected=f"question, context and answers; there is {listing(rows.columns)}",
            cure="rename them, or write data.question, data.text and data.answers into a config",
        )
    about.task = "question-answering"
    about.reasons["task"] = f"columns of questions, contexts and answers ({rows.places[0]})"
    if found["answers"] in _ANSWERS[:2]:  # ptm looks for both
        del found["answers"]
    if found.get("answer_start") == _STARTS[0]:
        del found["answer_start"]
    usual = {"question": "question", "text": "context", "answers": "", "answer_start": ""}
    put_columns(about, found, usual, rows)


def guess_squad(about: Guess) -> None:
    """Questions of one article stay together where a fifth is held out."""
    about.task = "question-answering"
    about.reasons["task"] = "what squad: data are for"
    place = about.path / about.data["train"] if about.path.is_dir() else about.path
    try:
        titles = read_squad(place, {"title": "title"}, TextFormat()).columns["title"]
    except DataError:  # whoever trains on it says what is wrong with it
        return
    about.train_examples = len(titles)
    if about.data["eval"].endswith("%") and all(titles) and len(set(titles)) >= _ARTICLES:
        about.say("split_by", "title", f"questions about one of {len(set(titles))} articles stay on one side")


def objection_to_questions(file: Path) -> str:
    """Why a file of SQuAD's cannot be a test split, such as one whose answers are kept secret; "" where it can."""
    roles = {name: name for name in ("question", "context", "answers")}
    try:
        read_squad(file, roles, TextFormat())
    except DataError as error:
        return f"{error.problems[0].what} ({error.problems[0].where})"
    return ""


def guess_similar(
    about: Guess, rows: Rows, read: Sequence[Rows], label: str | None, pair: Sequence[str] | None, file: Path
) -> None:
    """Two columns of texts, with a score or without; or texts of classes. ``pair``: columns whose names say that they
    are two. Raises DataError for what is none of these."""
    pair = next((p for p in PAIRS if set(p) <= set(rows.columns)), pair)
    label = None if pair is not None and label in pair else label
    values = [] if label is None else [value for table in read for value in table.values(label)]
    scored = bool(values) and all(map(is_number, values))
    texts = pair or [column for column in longest_columns(rows) if column != label][:2]
    about.task = "text-similarity"
    if label is not None and not scored and pair is None and texts:
        about.reasons["task"] = f"texts in {texts[0]}, classes in {label}"
        put_columns(about, {"text": texts[0], "label": label}, {"text": "text", "label": "label"}, rows)
        return
    if len(texts) < 2:
        raise DataError(
            "there are neither two columns of texts nor texts with classes",
            where=file,
            expected=f"text, text_pair and label, or text and label; there is {listing(rows.columns)}",
        )
    about.reasons["task"] = f"two columns of texts: {texts[0]}, {texts[1]}"
    put_columns(about, {"text": texts[0], "text_pair": texts[1]}, {"text": "text", "text_pair": ""}, rows)
    if label is None:
        about.say("label_type", "pairs", "no column with scores: the two texts of a row belong together")
    elif scored:
        put_columns(about, {"label": label}, {"label": "label"}, rows)
        _put_scores(about, [float(value) for value in values])
    else:
        named = next(value for value in values if not is_number(value))
        raise DataError(
            f"pairs of texts with a {label} such as {str(named)[:40]!r}",
            where=file,
            expected="a column of numbers that say how alike two texts are, or none",
            cure="--task text-classification for classes of pairs",
        )


def _put_scores(about: Guess, scores: Sequence[float]) -> None:
    about.say("label_type", "number", f"scores from {min(scores):g} to {max(scores):g}")
    low, high = math.floor(min(scores)), math.ceil(max(scores))
    if (low, high) != (0, 1):
        about.say(
            "score_range", [low, max(high, low + 1)], "scores of texts that are nothing alike, and the same"
        )
