"""What pydantic refuses, in words: one problem a key, where it stands in the file, what was expected, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptm import schema
from ptm.synonyms import SYNONYMS, squeeze
from ptm.yaml_reader import Finding, Listing, Node, Scalar, Section, Unread, found, plain_value, show

Path = tuple[str, ...]


@dataclass(frozen=True)
class Refusals:
    """What is wrong with the values of a tree.

    ``bad`` are the paths whose values cannot be used; ``unsure`` the dotted keys of which nothing is known, because
    their value is bad, was not read, or seems to stand under a name that ptm does not know.
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
        elif error["type"] == "missing":
            missing.append((*path, str(error["loc"][-1])))
        else:
            wrong[path] = node
    suggestions = {path: _meant(path) for path in unknown}
    meant = {target for targets, _ in suggestions.values() for target in targets}
    findings = [_unknown_key(root, path, *suggestions[path]) for path in unknown]
    for path in missing:
        parent = _node(root, path[:-1])
        told = isinstance(parent, Section) and parent.incomplete
        if not told and not any(target[: len(path)] == path for target in meant):
            findings.append(_missing_key(parent, path))
    for path, node in wrong.items():
        # Of a list and its items, the item says more; what the reader refused is explained already.
        if not isinstance(node, Unread) and not any(
            len(p) > len(path) and p[: len(path)] == path for p in wrong
        ):
            findings.append(_wrong_value(path, node))
    bad = frozenset([*unknown, *wrong])
    targets = {
        target[:n]
        for target in meant
        for n in range(1, len(target) + 1)
        if n == len(target) or not _has(root, target[:n])
    }
    return Refusals(
        tuple(findings), bad, frozenset(".".join(p) for p in {*bad, *missing, *targets}) | unread_keys(root)
    )


def unread_keys(node: Node, path: Path = ()) -> frozenset[str]:
    """Dotted keys whose value the reader refused, or of which it could not read all keys; "" is the whole file."""
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
    """As far as the tree goes along an error's ``loc``, in which names of union members stand between keys."""
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


def _has(root: Section, path: Path) -> bool:
    return _follow(root, path)[0] == path


def _dotted(path: Path) -> str:
    return "".join(f"[{p}]" if p.isdecimal() else f".{show(p)}" for p in path).removeprefix(".")


# --- unknown and missing keys


def _meant(path: Path) -> tuple[tuple[Path, ...], str]:
    """The keys that an unknown one may stand for, likeliest first, and what to do about it ("" when unclear)."""
    *section, key = path
    here = tuple(section)
    squeezed = squeeze(key)
    own = schema.keys_of(here)
    if same := [name for name in own if squeeze(name) == squeezed]:
        return ((*here, same[0]),), f"did you mean {_dotted((*here, same[0]))}?"
    everywhere = [p for p in schema.all_keys() if squeeze(p[-1]) == squeezed or _dotted(p) == key]
    target, note = SYNONYMS.get(squeezed, ("", ""))
    if here == ("teacher",) and target.startswith("model."):
        target = target.replace("model.", "teacher.")  # the same names, of the other model
    if note:
        return (tuple(target.split(".")),) if target else (), note
    if target and not everywhere:
        *home, name = target.split(".")
        where = f", in the section {home[0]}:" if home and home != section else ""
        return (tuple(target.split(".")),), f"the key is called {name} here{where}"
    if everywhere:
        return tuple(everywhere), f"did you mean {' or '.join(_dotted(p) for p in everywhere)}?"
    if close := difflib.get_close_matches(key.lower(), own, n=1, cutoff=0.7):
        return ((*here, close[0]),), f"did you mean {_dotted((*here, close[0]))}?"
    names = {p[-1]: p for p in schema.all_keys()}
    if close := difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.8):
        return (names[close[0]],), f"did you mean {_dotted(names[close[0]])}?"
    return (), ""


def _unknown_key(root: Section, path: Path, targets: tuple[Path, ...], cure: str) -> Finding:
    parent = _node(root, path[:-1])
    assert isinstance(parent, Section)
    inside = f" in {_dotted(path[:-1])}" if path[:-1] else ""
    what = f"unknown key {show(path[-1])!r}{inside}"
    expected = "" if cure else "one of " + ", ".join(schema.keys_of(path[:-1]))
    return found(parent.keys[path[-1]], what, expected, cure)


def _missing_key(parent: Node, path: Path) -> Finding:
    here = schema.fragment(path)
    assert here is not None
    return found(parent.place, f"{_dotted(path)} is missing", schema.phrase(here), _example(path))


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
    return found(
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
    """What to do, where the value shows what was meant."""
    if not isinstance(node, Scalar):
        return ""
    wants_number = schema.accepts(here, "number") or schema.accepts(here, "integer")
    if not isinstance(node.value, str):
        return _cure_of_other(path, node, here)
    meaning = plain_value(node.text)
    if wants_number:
        return _cure_of_number(node, meaning)
    if schema.accepts(here, "boolean"):
        return _cure_of_boolean(node.text)
    if schema.accepts(here, "object"):
        first = next(iter(schema.required(path)), None)
        inner = schema.fragment((*path, first)) if first else None
        return f"write {{{first}: {show(node.text)}}}" if inner and schema.accepts(inner, "string") else ""
    words = schema.choices(here)
    if close := difflib.get_close_matches(node.text.lower(), words, n=1):
        return f"did you mean {close[0]}?"
    if schema.accepts(here, "array"):
        return f"write a list: [{show(node.text)}]"
    return ""


def _cure_of_other(path: Path, node: Scalar, here: schema.Fragment) -> str:
    """For a number, a boolean or null."""
    if node.value is None:
        return (
            "give a value, or remove the line"
            if path[-1] not in schema.required(path[:-1])
            else "give a value"
        )
    if path[0] == "expect" and isinstance(node.value, int | float):
        return f'write ">= {show(node.text)}"'
    if schema.choices(here):
        word = "none" if node.value is False and "none" in schema.choices(here) else ""
        return f"write {word}" if word else ""
    if schema.accepts(here, "string") or (
        schema.accepts(here, "array") and not schema.accepts(here, "integer")
    ):
        quoted = json.dumps(show(node.text))
        return (
            f"put it in quotes: {quoted}"
            if schema.accepts(here, "string")
            else f"write a list: [{show(node.text)}]"
        )
    if isinstance(node.value, float) and node.value.is_integer() and not schema.accepts(here, "number"):
        return f"write {int(node.value)}" if abs(node.value) < 1e15 else ""
    return ""


def _cure_of_number(node: Scalar, meaning: object) -> str:
    if isinstance(meaning, int | float) and not isinstance(meaning, bool):
        return f"remove the quotes: {show(node.text)}"
    text = node.text.strip().lower()
    if text.lstrip("+-.") in ("inf", "nan", "infinity"):
        return "give a finite number"
    if text.endswith("%") and isinstance(share := plain_value(text[:-1].strip()), int | float):
        return f"write the share: {share / 100:g}"
    if isinstance(number := plain_value(text.lstrip("0") or "0"), int | float) and text[:1] == "0":
        return f"write it without the leading 0: {number}"
    if isinstance(number := plain_value(text.replace(",", ".", 1)), int | float) and number is not True:
        return f"write a point for the comma: {text.replace(',', '.', 1)}"
    return ""


def _cure_of_boolean(text: str) -> str:
    if text.lower() in ("true", "yes", "on", "y"):
        return "write true, without quotes"
    return "write false, without quotes" if text.lower() in ("false", "no", "off", "n") else ""
