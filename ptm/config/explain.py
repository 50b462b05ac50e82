"""What pydantic refuses, in words: a problem a key, where it stands, what was expected, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptm.config import schema
from ptm.config.synonyms import SYNONYMS, squeeze
from ptm.config.yaml_tree import (
    Finding,
    Listing,
    Node,
    Scalar,
    Section,
    Unread,
    finding_at,
    plain_value,
    show,
)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Refusals:
    """What is wrong with the values of a tree.

    ``bad`` are the paths of values that cannot be used; ``unsure`` the dotted keys of which nothing is known:
    their value is bad, was not read, or seems to stand under a name that ptm does not have.
    """

    findings: tuple[Finding, ...]
    bad: frozenset[Path]
    unsure: frozenset[str]


def explain(errors: Iterable[Mapping[str, Any]], root: Section) -> Refusals:
    """Pydantic's errors about ``root`` as problems with places, several about one key folded into one."""
    unknown: list[Path] = []
    missing: list[Path] = []
    wrong: dict[Path, Node] = {}
    for error in errors:
        path, node = _follow(root, error["loc"])
        if error["type"] == "unexpected_keyword_argument":
            unknown.append(path)
        elif error["type"] == "missing" and isinstance(
            error["loc"][-1], str
        ):  # a place in a list is a number
            missing.append((*path, str(error["loc"][-1])))
        else:
            wrong[path] = node
    hints = {path: _intended(path) for path in unknown}
    intended = [target for targets, _ in hints.values() for target in targets]
    findings = [_unknown_key(root, path, hints[path][1]) for path in unknown]
    for path in missing:
        parent = _node(root, path[:-1])
        reported = isinstance(parent, Section) and parent.incomplete
        if not reported and not any(_within(target, path) for target in intended):
            findings.append(_missing_key(parent, path))
    around = {path[:n] for path in wrong for n in range(len(path))}
    for path, node in wrong.items():
        # Of a list and its items, the item says more; what the reader refused is explained already.
        if not isinstance(node, Unread) and path not in around:
            findings.append(_wrong_value(path, node))
    unsure = [*unknown, *missing, *wrong, *intended]
    unsure += [target[:1] for target in intended if target[0] not in root.values]
    return Refusals(
        tuple(findings),
        bad=frozenset([*unknown, *wrong]),
        unsure=unread_keys(root).union(".".join(path) for path in unsure),
    )


def unread_keys(node: Node, path: Path = ()) -> frozenset[str]:
    """Dotted keys whose value the reader refused, or did not read to its end; "" is the whole file."""
    if isinstance(node, Unread):
        return frozenset([".".join(path)])
    if isinstance(node, Listing):
        broken = any(unread_keys(item) for item in node.items)
        return frozenset([".".join(path)]) if broken else frozenset()
    if isinstance(node, Section):
        below = frozenset().union(*(unread_keys(value, (*path, key)) for key, value in node.values.items()))
        return below | {".".join(path)} if node.incomplete else below
    return frozenset()


def _follow(root: Section, loc: Iterable[str | int]) -> tuple[Path, Node]:
    """As far as the tree goes along an error's ``loc``; names of union members stand between its keys."""
    node: Node = root
    path: Path = ()
    for part in loc:
        if isinstance(node, Section) and isinstance(part, str) and part in node.values:
            node = node.values[part]
        elif isinstance(node, Listing) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            continue
        path = (*path, str(part))
    return path, node


def _node(root: Section, path: Path) -> Node:
    node: Node = root
    for part in path:
        assert isinstance(node, Section)
        node = node.values[part]
    return node


def _within(path: Path, other: Path) -> bool:
    return path[: len(other)] == other


def _dotted(path: Path) -> str:
    return "".join(f"[{p}]" if p.isdecimal() else f".{show(p)}" for p in path).removeprefix(".")


# --- unknown and missing keys


_IN_CONTEXT: Mapping[Path, tuple[str, str]] = {
    ("data", "name"): ("data.source", ""),
    ("best", "name"): ("best.metric", ""),
}


def _intended(path: Path) -> tuple[tuple[Path, ...], str]:
    """The keys that an unknown one may stand for, likeliest first, and what to do ("" when unclear)."""
    *section, key = path
    here = tuple(section)
    plain_key = squeeze(key)
    own = schema.keys_of(here)
    if same := [name for name in own if squeeze(name) == plain_key]:
        return ((*here, same[0]),), f"did you mean {_dotted((*here, same[0]))}?"
    everywhere = [p for p in schema.all_keys() if squeeze(p[-1]) == plain_key or _dotted(p) == key]
    target, note = _IN_CONTEXT.get(path) or SYNONYMS.get(plain_key, ("", ""))
    if here == ("teacher",) and target.startswith("model."):
        target = target.replace("model.", "teacher.")  # the same names, of the other model
    if note:
        return (tuple(target.split(".")),) if target else (), note
    if target and (path in _IN_CONTEXT or not everywhere):
        *home, _ = target.split(".")
        elsewhere = f", in the section {home[0]}:" if home else ", at the top level"
        return (tuple(target.split(".")),), f"it is {target} here{elsewhere if home != section else ''}"
    if everywhere:
        return tuple(everywhere), f"did you mean {' or '.join(_dotted(p) for p in everywhere)}?"
    if close := difflib.get_close_matches(key.lower(), own, n=1, cutoff=0.7):
        return ((*here, close[0]),), f"did you mean {_dotted((*here, close[0]))}?"
    names = {p[-1]: p for p in schema.all_keys()}
    if close := difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.8):
        return (names[close[0]],), f"did you mean {_dotted(names[close[0]])}?"
    return (), ""


def _unknown_key(root: Section, path: Path, cure: str) -> Finding:
    parent = _node(root, path[:-1])
    assert isinstance(parent, Section)
    inside = f" in {_dotted(path[:-1])}" if path[:-1] else ""
    what = f"unknown key {show(path[-1])!r}{inside}"
    expected = "" if cure else "one of " + ", ".join(schema.keys_of(path[:-1]))
    return finding_at(parent.keys[path[-1]], what, expected, cure)


def _missing_key(parent: Node, path: Path) -> Finding:
    here = schema.fragment(path)
    assert here is not None
    return finding_at(parent.place, f"{_dotted(path)} is missing", schema.phrase(here), _example(path))


_EXAMPLES: Mapping[Path, str] = {
    ("version",): "version: 1",
    ("model",): "model: {name: bert-base-uncased}",
    ("data",): "data: {source: csv:FOLDER, train: train.csv, eval: test.csv}",
    ("data", "source"): "source: csv:FOLDER",
    ("train",): "train: {epochs: 3, learning_rate: 2e-5}",
    ("train", "learning_rate"): "learning_rate: 2e-5",
    ("best", "metric"): "metric: accuracy",
    ("output",): "output: runs/NAME",
}


def _example(path: Path) -> str:
    return f"add {_EXAMPLES[path]}" if path in _EXAMPLES else ""


# --- wrong values


def _wrong_value(path: Path, node: Node) -> Finding:
    here = schema.fragment(path)
    assert here is not None
    return finding_at(
        node.place, f"{_dotted(path)} is {_given(node)}", schema.phrase(here), _cure(path, node, here)
    )


def _given(node: Node) -> str:
    if isinstance(node, Listing):
        return "a list" if node.items else "an empty list"
    if not isinstance(node, Scalar):
        return "a section with keys"
    if node.value is None:
        return "null" if node.text else "empty"
    if node.plain and not isinstance(node.value, str):
        return show(node.text)
    return f"the text {show(node.text)!r}" if node.text else "an empty text"


def _cure(path: Path, node: Node, here: schema.Fragment) -> str:
    """What to do, where the value shows what was meant; "" where it does not."""
    if not isinstance(node, Scalar):
        return ""
    if not isinstance(node.value, str):
        return _cure_of_other(path, node, here)
    if schema.accepts(here, "integer"):
        return _cure_of_number(node.text, here)
    if schema.accepts(here, "boolean"):
        return _cure_of_boolean(node.text)
    if schema.accepts(here, "object"):
        first = next(iter(schema.required(path)), "")
        inner = schema.fragment((*path, first)) if first else None
        return f"write {{{first}: {show(node.text)}}}" if inner and schema.accepts(inner, "string") else ""
    words = schema.choices(here)
    completions = [word for word in words if node.text and word.startswith(node.text.lower())]
    if close := completions or difflib.get_close_matches(node.text.lower(), words, n=1):
        return f"did you mean {close[0]}?"
    item = schema.item(path)
    return f"write a list: [{show(node.text)}]" if item and schema.accepts(item, "string") else ""


def _cure_of_other(path: Path, node: Scalar, here: schema.Fragment) -> str:
    """For a number, a boolean or null."""
    if node.value is None:
        if path[-1] in schema.required(path[:-1]):
            return "give a value"
        return f"give a value, or {'remove the line' if node.place.in_file else 'leave it out'}"
    if path[0] == "expect" and len(path) == 2:
        return f'write ">= {show(node.text)}"'
    if path in (("data", "eval"), ("data", "test")) and isinstance(node.value, float) and 0 < node.value < 1:
        return f"write {node.value * 100:g}%"
    if words := schema.choices(here):
        return "write none" if node.value is False and "none" in words else ""
    if schema.accepts(here, "string"):
        return f"put it in quotes: {json.dumps(show(node.text))}"
    if isinstance(node.value, bool | str):
        return ""
    if item := schema.item(path):
        return f"write a list: [{show(node.text)}]" if schema.takes(item, node.value) else ""
    return f"write {whole}" if (whole := _whole(node.value, here)) is not None else ""


def _whole(value: float, here: schema.Fragment) -> int | None:
    """The whole number that a fraction is, such as 1000 for 1e3, where that is what belongs there."""
    if not isinstance(value, float) or not value.is_integer() or abs(value) >= 1e15:
        return None
    return int(value) if schema.takes(here, int(value)) else None


def _cure_of_number(source: str, here: schema.Fragment) -> str:
    """For a text where a number belongs; a number that the key does not take is not proposed."""
    text = source.strip().lower()
    if text.lstrip("+-.") in ("inf", "nan", "infinity"):
        return "give a finite number"
    number: float | None = _number(source)
    cure = f"remove the quotes: {show(source)}"
    if number is None and text.endswith("%") and (percent := _number(text[:-1].strip())) is not None:
        number = percent / 100
        cure = f"write the fraction: {number:g}"
    if number is None and (number := _number(text.lstrip("0") or "0")) is not None:
        cure = f"write it without the leading 0: {number}"
    if number is None and (number := _number(with_point := text.replace(",", ".", 1))) is not None:
        cure = f"write a point for the comma: {show(with_point)}"
    if number is None or schema.takes(here, number):
        return "" if number is None else cure
    return f"write {whole}" if (whole := _whole(number, here)) is not None else ""


def _number(text: str) -> int | float | None:
    value = plain_value(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cure_of_boolean(text: str) -> str:
    if text.lower() in ("true", "yes", "on", "y"):
        return "write true, without quotes"
    return "write false, without quotes" if text.lower() in ("false", "no", "off", "n") else ""
