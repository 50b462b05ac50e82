"""What annotation tools export of texts: spans by character offsets, and labels of whole texts.

Each tool has its parser (:mod:`ptm.data.annotation_tools`); what they find is a :class:`Record`, and one function makes
words and tags of it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptm.data.annotation_tools import PARSERS, TOOLS, LeftOut, Names, Record, seems
from ptm.data.columns import naming_keys
from ptm.data.partial import refuse_but
from ptm.data.span_words import TaggedText, tagged_text
from ptm.data.tables import Table, json_records, require_unicode
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered, Problem

HOLDS = "records of an annotation tool, as JSON"
NO_SPANS = "no record has spans"
_WHOLE = "a label of the whole text"
_DEFAULTS = ("text", "words", "label", "tags")  # names of columns that nobody chose


def read_annotated(
    kind: str, path: Path, roles: Mapping[str, str], written: TextFormat, *, raw: bool = False
) -> Table:
    """``words`` or ``text``, and, where it is asked for, ``label``: tags by IOB2 of the spans, or the labels of whole
    texts. ``raw``: texts in the place of words. Raises DataError naming the record."""
    gathered = Gathered()
    records, digest, notes = _records(kind, path, roles, written, gathered)
    labelled = "label" in roles
    columns: dict[str, Sequence[Any]] = {}
    if "words" in roles and not raw:
        if not gathered.problems:
            _require_spans(records, kind, path, labelled=labelled)
            if labelled:
                records = _alike(records, kind, gathered, whole=False)
        records, tagged = _tagged(records, gathered, labelled=labelled)
        notes = (
            *notes,
            *_counted([(n, r.where) for one, r in zip(tagged, records, strict=True) for n in one.notes]),
        )
        columns["words"] = [one.words for one in tagged]
        if labelled:
            columns["label"] = [one.tags for one in tagged]
    else:
        columns[next(role for role in roles if role != "label")] = [record.text for record in records]
        if labelled and not gathered.problems:
            _require_choices(records, kind, path)
            records = _alike(records, kind, gathered, whole=True)
            columns = {role: [record.text for record in records] for role in columns}
        if labelled:
            columns["label"] = _choices(records)
    table = Table(columns, lambda row: records[row].where, digest, notes=notes)
    refuse_but(gathered.problems, table, "records")
    return table


def _records(
    kind: str, path: Path, roles: Mapping[str, str], written: TextFormat, gathered: Gathered
) -> tuple[list[Record], str, tuple[Problem, ...]]:
    """The records that can be used, the digest of all, and what is to be said of those that are left out. ``gathered``
    is told of what is wrong."""
    text, digest = read_text(path, HOLDS, written)
    text_name, label_name = (
        None if (name := roles.get(role)) in _DEFAULTS else name for role in (_input(roles), "label")
    )
    names = Names(text_name, label_name, of_whole="label" in roles and "words" not in roles)
    asked = {"text": text_name or "text", "label": label_name or "label"}
    records, reasons = list[Record](), Counter[str]()
    total = 0
    for place, found in json_records(io.StringIO(text, newline="\n"), path, [], gathered):
        total += 1
        with gathered.of(), naming_keys(asked):
            try:
                records.append(_parsed(kind, found, place, names))
            except LeftOut as reason:
                reasons[str(reason)] += 1
    if not records:
        gathered.refuse("records")
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    if not records:
        what = f"{total} records, and none can be used: {why}" if total else "there is no record in it"
        raise DataError(what, where=path, expected=f"annotated texts of {TOOLS[kind]}")
    left_out = Problem(f"{sum(reasons.values())} of {total} records are left out: {why}", str(path))
    return records, digest, (left_out,) if reasons else ()


def _input(roles: Mapping[str, str]) -> str:
    return next(role for role in roles if role != "label")


def _parsed(kind: str, found: Mapping[str, Any], place: str, names: Names) -> Record:
    other = seems(found)
    if other not in (None, kind):
        raise DataError(
            f"this seems to be written by {TOOLS[str(other)]}",
            where=place,
            expected=f"a record of {TOOLS[kind]}",
            cure=f"begin data.source with {other}:",
        )
    record = PARSERS[kind](found, place, names)
    require_unicode(record.text, place)
    return record


# --- records to columns


def _require_spans(records: Sequence[Record], kind: str, path: Path, *, labelled: bool) -> None:
    if labelled and all(record.spans is None for record in records):
        cure = "task: text-classification, if its texts have labels as a whole"
        raise DataError(NO_SPANS, where=path, expected=f"spans of {TOOLS[kind]}", cure=cure)


def _alike(records: Sequence[Record], kind: str, gathered: Gathered, *, whole: bool) -> list[Record]:
    """Without those that were labelled in the other way, of which ``gathered`` is told: as a whole among spans, or
    with spans among labels of whole texts. A task of Label Studio may ask for both, and need neither."""
    if kind == "labelstudio":
        return list(records)
    kept: list[Record] = []
    for record in records:
        has, other = (record.choices, record.spans) if whole else (record.spans, record.choices)
        with gathered.of():
            if has is None and other:
                here, there = (
                    ("spans", "a label of the whole text")
                    if whole
                    else ("a label of the whole text", "spans")
                )
                raise DataError(
                    f"has {here}, and others {there}",
                    where=record.where,
                    expected=f"{there}, or none of it: []",
                    cure="correct the record, or remove it",
                )
            kept.append(record)
    return kept


def _tagged(
    records: Sequence[Record], gathered: Gathered, *, labelled: bool
) -> tuple[list[Record], list[TaggedText]]:
    """The records whose spans are words of their texts, and these as words and tags; ``gathered`` is told of others."""
    kept, tagged = list[Record](), list[TaggedText]()
    for record in records:
        with gathered.of():
            tagged.append(tagged_text(record.text, record.spans or () if labelled else (), record.where))
            kept.append(record)
    return kept, tagged


def _counted(notes: Sequence[tuple[tuple[str, str], str]]) -> Iterator[Problem]:
    """One warning of each kind, with how many there are. ``notes``: ((kind, example), where)."""
    for kind, count in Counter(kind for (kind, _), _ in notes).items():
        example, where = next((example, where) for (other, example), where in notes if other == kind)
        yield Problem(f"{count} {kind}, such as {example}", where)


def _require_choices(records: Sequence[Record], kind: str, path: Path) -> None:
    if all(record.choices is None for record in records):
        cure = "task: token-classification, if it has spans"
        what = "no record has a label of the whole text"
        raise DataError(what, where=path, expected=f"labels of {TOOLS[kind]}", cure=cure)


def _choices(records: Sequence[Record]) -> list[Any]:
    choices = [list(record.choices or ()) for record in records]
    single = all(len(names) == 1 for names in choices)
    return [names[0] for names in choices] if single else choices
