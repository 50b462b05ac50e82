"""Where each value of a config comes from: a place in its file, the command line, a default, or what follows from
other values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from ptm.config import schema
from ptm.config.load import dump_yaml
from ptm.config.spec import RunSpec
from ptm.config.yaml_tree import Listing, Node, Scalar, Section, to_data

DEFAULT = "default"
RESOLVED = "resolved"  # a path made absolute, a value that follows from another one

Path = tuple[str, ...]


def origins(spec: RunSpec, root: Section) -> dict[Path, str]:
    """For each value of the spec, in its order: ``run.yaml:3:5``, ``--set train.epochs=1``, ``default``, ``resolved``,
    or of what was written and then resolved ``run.yaml:3:5, resolved``."""
    return {path: _origin(path, value, default, root) for path, value, default in _leaves(spec, ())}


def annotated(spec: RunSpec, origins: Mapping[Path, str]) -> str:
    """The spec as YAML, which is a config itself, with the origin of each value behind it.

    Defaults of keys that are for other tasks are left out.
    """
    kept = {
        path: origin
        for path, origin in origins.items()
        if origin != DEFAULT or schema.is_for(path, spec.task)
    }
    return "".join(_lines(asdict(spec), (), kept))


def _leaves(section: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """(key, value, default) of every value that holds no keys itself; MISSING for what has no default."""
    for field in fields(section):
        value = getattr(section, field.name)
        inner = (*path, field.name)
        if is_dataclass(value):
            yield from _leaves(value, inner)
        else:
            yield inner, value, _default(field)


def _default(field: Any) -> Any:
    default, factory = field.default, field.default_factory
    # Of pydantic's Field, in which the default is one of several things that are said.
    if hasattr(default, "default_factory"):
        default, factory = default.default, default.default_factory or MISSING
    return factory() if factory is not MISSING else default


def _origin(path: Path, value: Any, default: Any, root: Section) -> str:
    node = _find(root, path)
    if node is None:
        return DEFAULT if value == default else RESOLVED
    as_written = _plain(value) == to_data(node)
    place = node.place.text
    return place if as_written else f"{place}, {RESOLVED}"


def _find(root: Section, path: Path) -> Node | None:
    node: Node = root
    for key in path:
        if not isinstance(node, Section) or key not in node.values:
            return None
        node = node.values[key]
    return node if isinstance(node, Scalar | Listing | Section) else None


def _plain(value: Any) -> Any:
    """As YAML has it: lists in the place of tuples."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _lines(values: Mapping[str, Any], path: Path, origins: Mapping[Path, str]) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in values.items():
        inner = (*path, key)
        if inner in origins:
            first, *others = dump_yaml({key: value}).splitlines()
            yield f"{indent}{first}  # {origins[inner]}\n"
            yield from (f"{indent}{line}\n" for line in others)
        elif any(path[: len(inner)] == inner for path in origins):
            yield f"{indent}{key}:\n"
            yield from _lines(value, inner, origins)
