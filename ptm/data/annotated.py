"""What annotation tools export of texts: spans by character offsets, and labels of whole texts.

Prodigy (https://prodi.gy/docs/api-interfaces), Label Studio (its JSON export, not JSON-MIN) and doccano (JSONL). Each
has its parser; what they find is a :class:`Record`, and one function makes words and tags of it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.data.columns import require_columns
from ptm.data.partial import refuse_but
from ptm.data.span_words import Span, TaggedText, tagged_text
from ptm.data.tables import Table, json_records, require_unicode
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered, Problem, listing

HOLDS = "records of an annotation tool, as JSON"
TOOLS = {"prodigy": "Prodigy", "labelstudio": "Label Studio", "doccano": "doccano"}
_DEFAULTS = ("text", "words", "label", "tags")  # names of columns that nobody chose


@dataclass(frozen=True)
class Record:
    """A text with what was said of it. ``spans`` and ``choices`` are None where the tool wrote none of the kind."""

    where: str
    text: str
    spans: tuple[Span, ...] | None
    choices: tuple[str, ...] | None


@dataclass(frozen=True)
class _Names:
    """How a config names the field with the text and that with the labels; None where it does not."""

    text: str | None
    label: str | None


class _LeftOut(Exception):
    """A record that says nothing, and why."""


Parser = Callable[[Mapping[str, Any], str, _Names], Record]


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
        if labelled:
            columns["label"] = _choices(records)
    table = Table(columns, lambda row: records[row].where, digest, notes=notes)
    refuse_but(gathered.problems, table, "records")
    return table


def seems(record: object) -> str | None:
    """The tool that writes such records; None for any other."""
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("data"), Mapping) and ("annotations" in record or "completions" in record):
        return "labelstudio"
    spans = record.get("spans") or []
    answered = "answer" in record and ("accept" in record or "spans" in record)
    if (
        answered
        or "_input_hash" in record
        or "_task_hash" in record
        or (_dicts(spans) and "start" in spans[0])
    ):
        return "prodigy"
    labels = record.get("label", record.get("labels"))
    if isinstance(labels, list) and labels and isinstance(labels[0], list) and len(labels[0]) == 3:
        return "doccano"
    entities = record.get("entities")
    if isinstance(entities, list) and (not entities or (_dicts(entities) and "start_offset" in entities[0])):
        return "doccano"
    return None


def _dicts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _records(
    kind: str, path: Path, roles: Mapping[str, str], written: TextFormat, gathered: Gathered
) -> tuple[list[Record], str, tuple[Problem, ...]]:
    """The records that can be used, the digest of all, and what is to be said of those that are left out. ``gathered``
    is told of what is wrong."""
    text, digest = read_text(path, HOLDS, written)
    names = _Names(
        *(None if (name := roles.get(role)) in _DEFAULTS else name for role in (_input(roles), "label"))
    )
    records, reasons = list[Record](), Counter[str]()
    total = 0
    for place, found in json_records(io.StringIO(text, newline="\n"), path, [], gathered):
        total += 1
        with gathered.of():
            try:
                records.append(_parsed(kind, found, place, names))
            except _LeftOut as reason:
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


def _parsed(kind: str, found: Mapping[str, Any], place: str, names: _Names) -> Record:
    other = seems(found)
    if other not in (None, kind):
        raise DataError(
            f"this seems to be written by {TOOLS[str(other)]}",
            where=place,
            expected=f"a record of {TOOLS[kind]}",
            cure=f"begin data.source with {other}:",
        )
    record = _PARSERS[kind](found, place, names)
    require_unicode(record.text, place)
    return record


# --- the three tools


def _prodigy(found: Mapping[str, Any], place: str, names: _Names) -> Record:
    answer = found.get("answer", "accept")
    if answer != "accept":
        raise _LeftOut("rejected" if answer == "reject" else f"with the answer {answer!r}")
    text = _text(found, names.text or "text", place)
    spans = None
    if (written := found.get("spans", [] if "tokens" in found else None)) is not None:
        spans = tuple(_span(one, place, "start", "end", "label") for one in _list(written, "spans", place))
    choices: tuple[str, ...] | None = None
    if "accept" in found:
        choices = tuple(map(str, _list(found["accept"], "accept", place)))
    elif isinstance(found.get("label"), str):
        choices = (found["label"],)
    return Record(place, text, spans, choices)


def _doccano(found: Mapping[str, Any], place: str, names: _Names) -> Record:
    text = _text(found, names.text or ("text" if "text" in found or "data" not in found else "data"), place)
    if found.get("entities") or ("entities" in found and "label" not in found and "labels" not in found):
        entities = _list(found["entities"], "entities", place)
        spans = tuple(_span(one, place, "start_offset", "end_offset", "label") for one in entities)
        return Record(place, text, spans, None)
    key = names.label or ("label" if "label" in found or "labels" not in found else "labels")
    if key not in found:
        require_columns([key], list(found), place)
    labels = found[key]
    if isinstance(labels, str):
        return Record(place, text, None, (labels,))
    listed = _list(labels, key, place)
    if all(isinstance(one, str) for one in listed):
        return Record(place, text, () if not listed else None, tuple(listed))
    return Record(place, text, tuple(_triple(one, key, place) for one in listed), None)


def _triple(one: Any, key: str, place: str) -> Span:
    if not isinstance(one, list) or len(one) != 3:
        raise DataError(f"{key} holds {one!r}", where=place, expected='[start, end, "LABEL"]')
    return _span(dict(zip(("start", "end", "label"), one, strict=True)), place, "start", "end", "label")


def _labelstudio(found: Mapping[str, Any], place: str, names: _Names) -> Record:
    data = found.get("data")
    if not isinstance(data, Mapping):
        cure = "export as JSON; JSON-MIN leaves out what is annotated by what"
        raise DataError(
            "no task of Label Studio: there is no data", where=place, expected='{"data": …}', cure=cure
        )
    text = _text(data, names.text or _text_key(data, place), place)
    annotations = [
        one
        for one in _list(found.get("annotations", found.get("completions", [])), "annotations", place)
        if isinstance(one, Mapping) and not one.get("was_cancelled") and not one.get("skipped")
    ]
    if not annotations:
        raise _LeftOut("without annotation")
    results = [_result(one, place, names.label) for one in annotations]
    if any(other != results[0] for other in results[1:]):
        raise DataError(
            f"{len(annotations)} annotations that differ",
            where=place,
            expected="one annotation a task, or equal ones",
            cure="keep the right one, and remove or cancel the others, in Label Studio",
        )
    spans, choices = results[0]
    return Record(place, text, spans, choices)


def _result(
    annotation: Mapping[str, Any], place: str, control: str | None
) -> tuple[tuple[Span, ...] | None, tuple[str, ...] | None]:
    """The spans and the choices of one annotation; ``control``: the name of the tag of the labelling interface."""
    regions = [
        one for one in _list(annotation.get("result", []), "result", place) if isinstance(one, Mapping)
    ]
    regions = [one for one in regions if one.get("type") in ("labels", "choices", "hypertextlabels")]
    controls = sorted({str(one.get("from_name")) for one in regions})
    if control is not None and controls:
        require_columns([control], controls, place)
        regions = [one for one in regions if one.get("from_name") == control]
    elif len({(one.get("type"), one.get("from_name")) for one in regions}) > len(
        {o.get("type") for o in regions}
    ):
        cure = f"name the one that is meant: --set data.label={controls[0]}"
        what = f"labels by several parts of the interface: {listing(controls)}"
        raise DataError(what, where=place, expected="one of them", cure=cure)
    values = [(str(one["type"]), one.get("value")) for one in regions]
    spans, choices = list[Span](), list[str]()
    for kind, value in values:
        if not isinstance(value, Mapping) or kind == "hypertextlabels":
            what = "a region of a page of HTML" if kind == "hypertextlabels" else f"the value {value!r}"
            raise DataError(what, where=place, expected="spans of a plain text, or choices")
        if kind == "choices":
            choices += map(str, _list(value.get("choices"), "choices", place))
            continue
        labels = _list(value.get("labels", []), "labels", place)
        if len(labels) != 1:
            what = f"the span {value.get('text')!r} has {len(labels)} labels: {listing(map(str, labels))}"
            raise DataError(what, where=place, expected="one label a span", cure="keep one of them")
        spans.append(_span({**value, "label": labels[0]}, place, "start", "end", "label"))
    if not values and annotation.get("result"):
        return None, None  # boxes, ratings and the like
    of_choices = any(kind == "choices" for kind, _ in values)
    of_spans = any(kind == "labels" for kind, _ in values)
    return tuple(spans) if of_spans or not values else None, tuple(
        choices
    ) if of_choices or not values else None


_PARSERS: Mapping[str, Parser] = {"prodigy": _prodigy, "labelstudio": _labelstudio, "doccano": _doccano}


# --- parts of a record


def _text(found: Mapping[str, Any], key: str, place: str) -> str:
    if key not in found:
        require_columns([key], [name for name, value in found.items() if isinstance(value, str)], place)
    if not isinstance(found[key], str):
        raise DataError(f"{key} is {found[key]!r}", where=place, expected="a text")
    return str(found[key])


def _text_key(data: Mapping[str, Any], place: str) -> str:
    texts = [name for name, value in data.items() if isinstance(value, str)]
    if "text" in texts or len(texts) != 1:
        if "text" not in texts:
            cure = f"name the one that is annotated: --set data.text={texts[0]}" if texts else ""
            raise DataError(
                f"no text in data, which has {listing(data)}", where=place, expected="text", cure=cure
            )
        return "text"
    return texts[0]


def _list(value: Any, key: str, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{key} is {value!r}", where=place, expected="a list")
    return value


def _span(one: Any, place: str, start: str, end: str, label: str) -> Span:
    if not isinstance(one, Mapping) or any(key not in one for key in (start, end, label)):
        raise DataError(f"a span is {one!r}", where=place, expected=f"{start}, {end} and {label}")
    begin, stop, name = one[start], one[end], one[label]
    if any(type(offset) is not int for offset in (begin, stop)):
        what = f"the offsets of a span are {begin!r} and {stop!r}"
        raise DataError(what, where=place, expected="whole numbers of characters")
    if not isinstance(name, str) or not name.strip():
        raise DataError(
            f"the label of a span is {name!r}", where=place, expected="a name", cure="name it, or remove it"
        )
    stated = one.get("text")
    return Span(begin, stop, name, stated if isinstance(stated, str) else None)


# --- records to columns


def _require_spans(records: Sequence[Record], kind: str, path: Path, *, labelled: bool) -> None:
    if labelled and all(record.spans is None for record in records):
        cure = "task: text-classification, if its texts have labels as a whole"
        raise DataError("no record has spans", where=path, expected=f"spans of {TOOLS[kind]}", cure=cure)


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
