"""The records of annotation tools, a parser a tool: Prodigy (https://prodi.gy/docs/api-interfaces), Label Studio (its
JSON and JSON-MIN exports) and doccano (JSONL, that of its first versions as well)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptm.data.columns import require_columns
from ptm.data.span_words import Span
from ptm.errors import DataError, listing

TOOLS = {"prodigy": "Prodigy", "labelstudio": "Label Studio", "doccano": "doccano"}
# What JSON-MIN says of an annotation, beside the data and what was annotated.
_OF_ANNOTATION = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")


@dataclass(frozen=True)
class Record:
    """A text with what was said of it. ``spans`` and ``choices`` are None where the tool wrote none of the kind."""

    where: str
    text: str
    spans: tuple[Span, ...] | None
    choices: tuple[str, ...] | None


@dataclass(frozen=True)
class Names:
    """How a config names the field with the text and that with the labels; None where it does not. ``of_whole``:
    whether labels of whole texts are asked for."""

    text: str | None
    label: str | None
    of_whole: bool = False


class LeftOut(Exception):
    """A record that says nothing, and why."""


Parser = Callable[[Mapping[str, Any], str, Names], Record]


def tool_of(records: Iterable[object]) -> str | None:
    """The tool that wrote these: the first one that a record tells. A text without a name in it tells none."""
    return next((tool for record in records if (tool := seems(record)) is not None), None)


def seems(record: object) -> str | None:
    """The tool that writes such records; None for any other, or where nothing tells."""
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("data"), Mapping) and ("annotations" in record or "completions" in record):
        return "labelstudio"
    if any(_is_annotated(value) for value in record.values()):
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
    if _of_old_doccano(record):
        return "doccano"
    entities = record.get("entities")
    if isinstance(entities, list) and (not entities or (_dicts(entities) and "start_offset" in entities[0])):
        return "doccano"
    return None


def _is_annotated(value: Any) -> bool:
    """Whether it is what JSON-MIN of Label Studio writes of a text: spans, or several choices."""
    if isinstance(value, Mapping):
        return set(value) == {"choices"}
    return _dicts(value) and {"start", "end", "labels"} <= set(value[0])


def _of_old_doccano(record: Mapping[str, Any]) -> bool:
    """Whether labels are numbers in ``annotations``, as the first versions of doccano wrote them."""
    listed = record.get("annotations")
    if not isinstance(listed, list) or "data" in record:
        return False
    return "annotation_approver" in record or (_dicts(listed) and "label" in listed[0])


def _dicts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _prodigy(found: Mapping[str, Any], place: str, names: Names) -> Record:
    answer = found.get("answer", "accept")
    if answer != "accept":
        raise LeftOut("rejected" if answer == "reject" else f"with the answer {answer!r}")
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


def _doccano(found: Mapping[str, Any], place: str, names: Names) -> Record:
    text = _text(found, names.text or ("text" if "text" in found or "data" not in found else "data"), place)
    if found.get("entities") or ("entities" in found and "label" not in found and "labels" not in found):
        entities = _list(found["entities"], "entities", place)
        spans = tuple(_span(one, place, "start_offset", "end_offset", "label") for one in entities)
        return Record(place, text, spans, None)
    if names.label is None and "label" not in found and "labels" not in found and _of_old_doccano(found):
        return _doccano_numbers(found, text, place)
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


def _doccano_numbers(found: Mapping[str, Any], text: str, place: str) -> Record:
    """Of doccano's first versions: labels are numbers, for names are not exported."""
    spans, choices = list[Span](), list[str]()
    for one in _list(found["annotations"], "annotations", place):
        number = one.get("label") if isinstance(one, Mapping) else None
        if type(number) is not int and not isinstance(number, str):
            what = f"an annotation is {one!r:.200}"
            raise DataError(
                what,
                where=place,
                expected="label, and start_offset and end_offset of a span",
                cure="export the labels of spans or of whole texts from doccano",
            )
        if "start_offset" in one or "end_offset" in one:
            spans.append(_span({**one, "label": str(number)}, place, "start_offset", "end_offset", "label"))
        else:
            choices.append(str(number))
    unique = tuple(dict.fromkeys(choices))  # several people may have said the same
    return Record(
        place, text, tuple(spans) if spans or not choices else None, unique if unique or not spans else None
    )


def _triple(one: Any, key: str, place: str) -> Span:
    if not isinstance(one, list) or len(one) != 3:
        raise DataError(
            f"{key} holds {one!r}",
            where=place,
            expected='[start, end, "LABEL"]',
            cure="correct the record, or remove it",
        )
    return _span(dict(zip(("start", "end", "label"), one, strict=True)), place, "start", "end", "label")


def _labelstudio(found: Mapping[str, Any], place: str, names: Names) -> Record:
    data = found.get("data")
    if not isinstance(data, Mapping):
        if "annotation_id" not in found and seems(found) != "labelstudio":
            raise DataError(
                "no task of Label Studio: there is no data",
                where=place,
                expected='{"data": …, "annotations": […]}, or a record of JSON-MIN',
                cure="export as JSON or JSON-MIN; tables are read by csv: or json:",
            )
        return _labelstudio_min(found, place, names)
    text = _text(data, names.text or _text_key(data, place), place)
    annotations = [
        one
        for one in _list(found.get("annotations", found.get("completions", [])), "annotations", place)
        if isinstance(one, Mapping) and not one.get("was_cancelled") and not one.get("skipped")
    ]
    if not annotations:
        raise LeftOut("without annotation")
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


def _labelstudio_min(found: Mapping[str, Any], place: str, names: Names) -> Record:
    """A record of JSON-MIN: the data, and each part of the interface that says something, beside each other. A single
    choice is a text like those of the data: where there are several such, ``data.label`` says which one is meant."""
    kept = {key: value for key, value in found.items() if key not in _OF_ANNOTATION}
    texts = {key: value for key, value in kept.items() if isinstance(value, str)}
    known = names.text or ("text" if "text" in texts else None)
    others = {key: value for key, value in texts.items() if key != names.label}
    text = _text(found, known or _text_key(others, place), place)
    parts = [key for key, value in kept.items() if _is_annotated(value)]
    if names.label is not None:
        parts = [key for key in parts if key == names.label]
    single = [key for key in texts if kept[key] is not text and names.label in (None, key)]
    results: list[Mapping[str, Any]] = []
    for key in parts:
        values, form = (kept[key], "labels") if isinstance(kept[key], list) else ([kept[key]], "choices")
        results += [{"type": form, "from_name": key, "value": value} for value in values]
    if names.of_whole and not any(one["type"] == "choices" for one in results) and single:
        if len(single) > 1:
            what = f"several texts may be the label: {listing(single)}"
            cure = f"name the one that is meant: --set data.label={single[0]}"
            raise DataError(what, where=place, expected="one of them", cure=cure)
        results.append({"type": "choices", "from_name": single[0], "value": {"choices": [kept[single[0]]]}})
    spans, choices = _result({"result": results}, place, None)
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
            raise DataError(
                what,
                where=place,
                expected="spans of a plain text, or choices",
                cure="annotate it as plain text (Text, not HyperText), or remove the task",
            )
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


PARSERS: Mapping[str, Parser] = {"prodigy": _prodigy, "labelstudio": _labelstudio, "doccano": _doccano}


# --- parts of a record


def _text(found: Mapping[str, Any], key: str, place: str) -> str:
    if key not in found:
        require_columns([key], [name for name, value in found.items() if isinstance(value, str)], place)
    if not isinstance(found[key], str):
        raise DataError(
            f"{key} is {found[key]!r}",
            where=place,
            expected="a text",
            cure="correct the record, or remove it",
        )
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
        raise DataError(
            f"{key} is {value!r}", where=place, expected="a list", cure="correct the record, or remove it"
        )
    return value


def _span(one: Any, place: str, start: str, end: str, label: str) -> Span:
    if not isinstance(one, Mapping) or any(key not in one for key in (start, end, label)):
        raise DataError(
            f"a span is {one!r}",
            where=place,
            expected=f"{start}, {end} and {label}",
            cure="correct the span, or remove it",
        )
    begin, stop, name = one[start], one[end], one[label]
    if any(type(offset) is not int for offset in (begin, stop)):
        what = f"the offsets of a span are {begin!r} and {stop!r}"
        raise DataError(
            what, where=place, expected="whole numbers of characters", cure="correct the span, or remove it"
        )
    if not isinstance(name, str) or not name.strip():
        raise DataError(
            f"the label of a span is {name!r}", where=place, expected="a name", cure="name it, or remove it"
        )
    stated = one.get("text")
    return Span(begin, stop, name, stated if isinstance(stated, str) else None)
