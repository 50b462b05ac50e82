"""What the spec says about its keys: JSON Schema for editors, and each key's type in words for people."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from ptm.config.spec import RunSpec
from ptm.config.tasks import TASKS

Fragment = Mapping[str, Any]
Path = tuple[str, ...]


@functools.cache
def adapter() -> TypeAdapter[RunSpec]:
    """Pydantic's validator of a run."""
    return TypeAdapter(RunSpec)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a config, for editors that complete and check while typing."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **adapter().json_schema(),
        "title": "A run of ptm",
    }


def _schema() -> dict[str, Any]:
    return _schema_of(tuple(TASKS))


@functools.cache
def _schema_of(tasks: tuple[str, ...]) -> dict[str, Any]:
    """The schema while these are the tasks."""
    return json_schema()


def fragment(path: Path) -> Fragment | None:
    """The schema of a key, a section, or an item of a list (any number will do); None for an unknown key."""
    here: Fragment = _schema()
    for part in path:
        section = _section_of(here)
        if section is not None and part in section.get("properties", {}):
            here = section["properties"][part]
        elif section is not None and isinstance(section.get("additionalProperties"), dict):
            here = section["additionalProperties"]
        else:
            lists = [kind for kind in _kinds(here) if kind.get("type") == "array"]
            items = _items_of(lists[0]) if lists and part.isdecimal() else ()
            if not items or ("items" not in lists[0] and int(part) >= len(items)):
                return None
            here = items[min(int(part), len(items) - 1)]
    return here


def item(path: Path) -> Fragment | None:
    """The schema of the items of a list that may have any length; None where no such list may stand."""
    here = fragment(path)
    lists = [kind for kind in _kinds(here) if "items" in kind] if here is not None else []
    return lists[0]["items"] if lists else None


def keys_of(path: Path) -> tuple[str, ...]:
    """The keys of a section, in the order of the spec; none for a value."""
    here = fragment(path)
    section = _section_of(here) if here is not None else None
    return tuple(section.get("properties", {})) if section is not None else ()


def sections() -> tuple[str, ...]:
    """The names of the top-level keys that hold keys themselves."""
    return tuple(key for key in keys_of(()) if keys_of((key,)))


def all_keys() -> Iterator[Path]:
    """Every key there is, top level first, then section by section."""
    yield from ((key,) for key in keys_of(()))
    for section in sections():
        yield from ((section, key) for key in keys_of((section,)))
        for key in keys_of((section,)):
            yield from ((section, key, inner) for inner in keys_of((section, key)))


def required(path: Path) -> tuple[str, ...]:
    """The keys that a section cannot do without."""
    here = fragment(path)
    section = _section_of(here) if here is not None else None
    return tuple(section.get("required", ())) if section is not None else ()


def is_for(path: Path, task: str) -> bool:
    """Whether a key is for this task (:class:`ptm.config.keys.Serves`); most are for all."""
    here = fragment(path)
    return here is not None and task in here.get("x-tasks", (task,))


def accepts(here: Fragment, kind: str) -> bool:
    """Whether a value of this JSON type (``string``, ``number``, ``null``, …) may stand there."""
    types = {_type_of(each) for each in _kinds(here)}
    return kind in types or (kind == "integer" and "number" in types)


def takes(here: Fragment, number: float) -> bool:
    """Whether this number may stand there: of the right type, and within the bounds."""
    whole = isinstance(number, int)
    return any(
        kind.get("type") in (("integer", "number") if whole else ("number",))
        and -math.inf < number < math.inf
        and kind.get("minimum", number) <= number <= kind.get("maximum", number)
        and kind.get("exclusiveMinimum", -math.inf) < number < kind.get("exclusiveMaximum", math.inf)
        for kind in _kinds(here)
    )


def choices(here: Fragment) -> tuple[str, ...]:
    """The words that may stand there, when they are fixed."""
    return tuple(
        word
        for kind in _kinds(here)
        for word in kind.get("enum", [kind.get("const")])
        if isinstance(word, str)
    )


def phrase(here: Fragment) -> str:
    """What may stand there, in words: ``a whole number of at least 1, or null``."""
    kinds = _kinds(here)
    examples = {"examples": here["examples"]} if "examples" in here else {}
    words = [_phrase_of_one({**kind, **examples}) for kind in kinds if kind.get("type") != "null"]
    if len(words) < len(kinds):
        words.append("null")
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f", or {words[-1]}"


def _kinds(here: Fragment) -> list[Fragment]:
    """The alternatives of a union, with references followed."""
    here = _followed(here)
    return [_followed(kind) for kind in here["anyOf"]] if "anyOf" in here else [here]


def _followed(here: Fragment) -> Fragment:
    return _schema()["$defs"][here["$ref"].rpartition("/")[2]] if "$ref" in here else here


def _section_of(here: Fragment) -> Fragment | None:
    return next((kind for kind in _kinds(here) if kind.get("type") == "object"), None)


def _items_of(array: Fragment) -> tuple[Fragment, ...]:
    """The one that all items are like, or one for each place of a list of fixed length."""
    return (array["items"],) if "items" in array else tuple(array.get("prefixItems", ()))


def _type_of(kind: Fragment) -> str:
    if "const" in kind:
        return "string" if isinstance(kind["const"], str) else "integer"
    return str(kind.get("type", "string"))


def _phrase_of_one(kind: Fragment) -> str:
    if "const" in kind:
        return str(kind["const"])
    if "enum" in kind:
        return "one of " + ", ".join(kind["enum"])
    match kind["type"]:
        case "integer":
            return "a whole number" + _range(kind)
        case "number":
            return "a number" + _range(kind)
        case "boolean":
            return "true or false"
        case "array":
            return _list_phrase(kind, "a list")
        case "object" if "properties" in kind:
            return "a section with the keys " + ", ".join(kind["properties"])
        case "object":
            return f"names, each with {_phrase_of_one(kind['additionalProperties'])}"
    if "examples" in kind:
        return "a text such as " + " or ".join(kind["examples"])
    return "a text that is not empty" if kind.get("minLength") else "a text"


_PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "texts"}


def _list_phrase(array: Fragment, noun: str) -> str:
    """``noun``: ``a list``, or ``lists`` of a list of them."""
    items = _items_of(array)
    length = "" if "items" in array else f"{len(items)} "
    kind = items[0]["type"]
    inner = _list_phrase(items[0], "lists") if kind == "array" else _PLURALS[kind]
    return f"{noun} of {length}{inner}"


def _range(kind: Fragment) -> str:
    low, high = kind.get("minimum"), kind.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    words = (
        ("minimum", "of at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "of at most"),
        ("exclusiveMaximum", "below"),
    )
    bounds = [f"{word} {kind[key]}" for key, word in words if key in kind]
    return " " + " and ".join(bounds) if bounds else ""
