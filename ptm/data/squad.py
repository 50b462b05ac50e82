"""SQuAD's JSON (Rajpurkar et al. 2016, arXiv:1606.05250; 2.0: 2018, arXiv:1806.03822): articles, paragraphs, questions.

``{"data": [{"title": …, "paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": […]}]}]}]}``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptm.base import strict_json
from ptm.data.columns import require_columns
from ptm.data.partial import refuse_but
from ptm.data.tables import Table, require_unicode
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered

HOLDS = 'SQuAD\'s JSON: {"data": [{"paragraphs": [{"context": …, "qas": [ … ]}]}]}'
ID = "id"  # of a question, which the official evaluation goes by
_COLUMNS = (ID, "title", "question", "context", "answers", "is_impossible")


def read_squad(path: Path, roles: Mapping[str, str], written: TextFormat, content: Any = None) -> Table:
    """A row a question. ``roles``: role → ``question``, ``context``, ``answers`` (a list of ``{text, answer_start}``),
    ``title``, ``is_impossible``; ``id`` comes along. ``content``: the file's, where it was parsed before. Raises
    DataError naming the place within the file."""
    text, digest = read_text(path, HOLDS, written)
    require_columns(list(roles.values()), _COLUMNS, str(path))
    content = _parsed(text, path) if content is None else content
    gathered, rows, places = Gathered(), list[Mapping[str, Any]](), list[str]()
    for place, found in _questions(content, str(path), gathered):
        with gathered.of():
            rows.append(_row(found, place, answered="answers" in roles.values()))
            places.append(place)
    columns = {role: [row[name] for row in rows] for role, name in {ID: ID, **roles}.items()}
    table = Table(columns, lambda row: places[row], digest)
    refuse_but(gathered.problems, table, "questions")
    if not rows:
        raise DataError("there is no question in it", where=path, expected=HOLDS)
    return table


def seems_squad(path: Path, written: TextFormat) -> bool:
    """Whether a file of JSON is one object with articles in it, not rows."""
    return articles_of(path, written) is not None


def articles_of(path: Path, written: TextFormat) -> Mapping[str, Any] | None:
    """What is in a file of JSON that is one object with articles in it; None of any other."""
    try:
        text, _ = read_text(path, HOLDS, written)
    except DataError:  # whoever reads it says what is wrong with it
        return None
    if not text.lstrip().startswith("{"):
        return None
    for piece in (text.lstrip().partition("\n")[0], text):  # rows are an object a line
        try:
            found = strict_json.loads(piece)
        except ValueError:
            continue
        articles = found.get("data") if isinstance(found, dict) else None
        nested = isinstance(articles, list) and all(
            isinstance(a, dict) and "paragraphs" in a for a in articles
        )
        return found if nested else None
    return None


def _parsed(text: str, path: Path) -> Any:
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=path, expected=HOLDS) from None


def _questions(content: Any, path: str, gathered: Gathered) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, the question with the context and the title that it belongs to)."""
    for place, article in _objects(content, "data", path, "", gathered):
        for inner, paragraph in _objects(article, "paragraphs", path, place, gathered):
            for where, question in _objects(paragraph, "qas", path, inner, gathered):
                found = {"title": article.get("title"), "context": paragraph.get("context"), **question}
                yield f"{path}, {where}", found


def _objects(
    owner: Any, key: str, path: str, place: str, gathered: Gathered
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of the list ``owner[key]``, each with its place in the file: ``data[0].paragraphs[2]``."""
    here = f"{place}.{key}" if place else key
    with gathered.of():
        listed = owner.get(key) if isinstance(owner, dict) else None
        if not isinstance(listed, list):
            there = (
                f"{key} is {listed!r:.60}"
                if isinstance(owner, dict) and key in owner
                else f"there is no {key}"
            )
            raise DataError(
                there,
                where=f"{path}, {place}" if place else path,
                expected=HOLDS,
                cure="correct the file: articles of SQuAD hold paragraphs, these a context and qas",
            )
    for number, each in enumerate(listed if isinstance(listed, list) else ()):
        with gathered.of():
            if not isinstance(each, dict):
                raise DataError(
                    f"no object: {each!r:.60}",
                    where=f"{path}, {here}[{number}]",
                    expected=HOLDS,
                    cure="correct the file: articles of SQuAD hold paragraphs, these a context and qas",
                )
        if isinstance(each, dict):
            yield f"{here}[{number}]", each


def _row(found: Mapping[str, Any], place: str, *, answered: bool) -> Mapping[str, Any]:
    row = {name: found.get(name) for name in _COLUMNS}
    for name in ("question", "context"):
        require_unicode(row[name], place)
    if isinstance(row[ID], bool) or not isinstance(row[ID], str | int | None):
        raise DataError(
            f"the id is {row[ID]!r:.60}",
            where=place,
            expected="a text",
            cure="give each question a name of its own",
        )
    if not answered:
        return row
    impossible = found.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise DataError(
            f"is_impossible is {impossible!r:.60}",
            where=place,
            expected="true or false",
            cure="correct the question",
        )
    if impossible:  # what stands there then was put to mislead
        return {**row, "answers": []}
    if not found.get("answers"):
        raise DataError(
            "no answer" if "answers" in found else "no 'answers'",
            where=place,
            expected='answers: [{"text": …, "answer_start": …}], or is_impossible: true',
            cure="add the answer, or remove the question",
        )
    return row
