"""A YAML file, and what the command line changes in it, to one frozen spec; every problem of it at once.

In the spec all paths are absolute: those in a file are relative to the file, those in ``--set`` to the
working directory, and ``output`` always to the working directory.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ptm.base.regular import endless
from ptm.base.standard_input import STANDARD_INPUT, standard_input
from ptm.config import schema
from ptm.config.explain import Refusals, explain, unread_keys
from ptm.config.paths import resolve_paths
from ptm.config.rules import cross_check
from ptm.config.schema import json_schema
from ptm.config.spec import RunSpec
from ptm.config.tasks import TASKS
from ptm.config.yaml_tree import (
    MAX_BYTES,
    MAX_DEPTH,
    Finding,
    Node,
    Place,
    Scalar,
    Section,
    decode,
    finding_at,
    plain_value,
    read_value,
    read_yaml,
    show,
    to_data,
)
from ptm.errors import ConfigError, Problem

__all__ = ["check_files", "dump_config", "json_schema", "load_config", "parse_config"]

_FROM_OVERRIDE = 1  # first element of Place.order; files have 0
_MOST_PROBLEMS = 200  # nobody reads on, and each costs a search for similar names


def load_config(path: Path | str, overrides: Sequence[str] = (), *, cwd: Path | None = None) -> RunSpec:
    """The spec in a file, with ``a.b=c`` overrides applied in order, and all paths absolute.

    ``cwd`` is the working directory, if it is to be another one. Raises ConfigError with every problem of the
    file and the overrides, in the order of the file.
    """
    return load_with_tree(path, overrides, cwd=cwd)[0]


def load_with_tree(
    path: Path | str, overrides: Sequence[str] = (), *, cwd: Path | None = None
) -> tuple[RunSpec, Section]:
    """As load_config, with the tree that says where each value stands. ``-`` is the standard input, whose paths are
    relative to the working directory."""
    here = Path.cwd() if cwd is None else cwd
    if str(path) == STANDARD_INPUT:
        name, raw, base = "standard input", standard_input(), here
    else:
        name = show(str(path), 4096)
        full = here / os.path.expanduser(path)  # noqa: PTH111 - leaves an unknown ~user as it is
        raw, base = _read(full, name), full.parent
    text, findings = decode(raw, name)
    if findings:
        raise _config_error(findings)
    return _parse(text, name, overrides, base, here)


def parse_config(text: str, name: str, overrides: Sequence[str] = (), *, base: Path, cwd: Path) -> RunSpec:
    """As load_config, for text: ``name`` stands in messages, the paths are relative to ``base``."""
    return _parse(text, name, overrides, base, cwd)[0]


def _parse(text: str, name: str, overrides: Sequence[str], base: Path, cwd: Path) -> tuple[RunSpec, Section]:
    root, findings = read_yaml(text, name)
    if root is None:
        raise _config_error(findings)
    for index, override in enumerate(overrides):
        root, problems = _override(root, override, index)
        findings += problems
    spec, problems = _validate(root)
    findings += problems
    if findings or spec is None:
        raise _config_error(findings)
    try:
        return resolve_paths(
            spec, partial(_base_of, root, base.absolute(), cwd.absolute()), cwd.absolute()
        ), root
    except ValidationError:  # the text was fine, so a folder's name is what cannot be written as text
        raise ConfigError("a folder on the way has a name that is not UTF-8", where=name) from None


def check_files(
    paths: Iterable[Path | str], overrides: Sequence[str] = (), *, cwd: Path | None = None
) -> list[Problem]:
    """Everything wrong with these files and ``overrides``; [] when each is a config that could be run."""
    problems: list[Problem] = []
    for path in paths:
        try:
            load_config(path, overrides, cwd=cwd)
        except ConfigError as error:
            problems += error.problems
    return problems


def dump_config(spec: RunSpec) -> str:
    """YAML of a spec with every default filled in, which reads back as the same spec from any directory."""
    return dump_yaml(asdict(spec))


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Keys and values as a config has them, texts in quotes where they could be read as something else."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)


# --- reading


def _read(path: Path, name: str) -> bytes:
    """The bytes of a config, one more than allowed at most."""
    try:
        if path.is_dir():
            raise _directory_error(path, name)
        if kind := endless(path):
            raise ConfigError(f"is {kind}", where=name, expected="a YAML file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=name, cure=_neighbour(path)) from None
    except (OSError, ValueError) as error:  # a ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot be read: {reason}", where=name) from None


def _directory_error(path: Path, name: str) -> ConfigError:
    expected = "a YAML file"
    if (path / "config.yaml").is_file():
        cure = f"its config is {show(str(path / 'config.yaml'), 4096)}"
        return ConfigError("this is a run directory", where=name, expected=expected, cure=cure)
    return ConfigError("this is a directory", where=name, expected=expected, cure=_listing(path))


def _listing(folder: Path) -> str:
    names = _yaml_files(folder)
    return f"choose one of: {', '.join(names[:10])}" if names else ""


def _neighbour(path: Path) -> str:
    names = _yaml_files(path.parent)
    close = difflib.get_close_matches(path.name, names, n=1) or [
        n for n in names if Path(n).stem == path.name
    ]
    return f"did you mean {show(str(path.parent / close[0]), 4096)}?" if close else ""


def _yaml_files(folder: Path) -> list[str]:
    try:
        return sorted(show(p.name) for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    except (OSError, ValueError):
        return []


def _config_error(findings: Iterable[Finding]) -> ConfigError:
    problems = [finding.problem for finding in sorted(findings, key=lambda finding: finding.place)]
    more = len(problems) - _MOST_PROBLEMS
    return ConfigError(
        [*problems[:_MOST_PROBLEMS], *([Problem(f"and {more} more of them")] if more > 0 else [])]
    )


# --- overrides


def _override(root: Section, override: str, index: int) -> tuple[Section, list[Finding]]:
    """The tree with one ``a.b=c`` applied, and what is wrong with it."""
    place = Place((_FROM_OVERRIDE, index, 0), f"--set {show(override, 200)}")
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        return root, [finding_at(place, "not a change of a key", "KEY=VALUE, such as train.epochs=1")]
    node, findings = read_value(text, place)
    if findings:
        return root, findings
    return _put(root, path, node, place)


def _put(root: Section, path: Sequence[str], node: Node, place: Place) -> tuple[Section, list[Finding]]:
    """The tree with ``node`` at ``path``; sections on the way come into being."""
    first, *rest = path
    if rest:
        inner = root.values.get(first)
        if inner is None or (isinstance(inner, Scalar) and inner.value is None):
            inner = Section(place, {}, {})
        if not isinstance(inner, Section):
            return root, [
                finding_at(
                    place, f"{show(first)} has no keys: it is a value", cure=f"set {show(first)} itself"
                )
            ]
        node, findings = _put(inner, rest, node, place)
    else:
        findings = []
    keys = {**root.keys, first: place if not rest else root.keys.get(first, place)}
    return replace(root, keys=keys, values={**root.values, first: node}), findings


# --- checking

# What stands in for values that are bad or missing, only to find more problems in the same go.
_STAND_INS: dict[str, Any] = {
    "version": 1,
    "task": next(iter(TASKS)),
    "model": {"name": "-"},
    "teacher": {"name": "-"},
    "data": {"source": "hub:-"},
    "train": {"learning_rate": 1.0},
    "best": {"metric": "-"},
    "output": "-",
}


def _validate(root: Section) -> tuple[RunSpec | None, list[Finding]]:
    """The spec of a tree, and all that is wrong with its values, one by one and between them."""
    data = to_data(root)
    refusals = Refusals((), frozenset(), unread_keys(root))
    spec = None
    try:
        spec = _to_spec(data)
    except ValidationError as error:
        refusals = explain(error.errors(include_url=False)[:_MOST_PROBLEMS], root)
        try:
            spec = _to_spec(_with_stand_ins(data, refusals))
        except ValidationError:
            return None, list(refusals.findings)
    findings = list(refusals.findings)
    if "" not in refusals.unsure:
        for path, what, cure in cross_check(spec, refusals.unsure):
            findings.append(finding_at(_place_of(root, path), show(what, 300), cure=show(cure, 300)))
        findings += _held_out_problems(spec, root)
    return spec, findings


def _held_out_problems(spec: RunSpec, root: Section) -> list[Finding]:
    try:
        _ = spec.data.held_out
    except ConfigError as error:
        (problem,) = error.problems
        place = _place_of(root, problem.where.split("."))
        return [finding_at(place, show(problem.what, 300), problem.expected)]
    return []


def _to_spec(data: Any) -> RunSpec:
    # Strict dataclasses take mappings only from JSON.
    return schema.adapter().validate_json(json.dumps(data))


def _with_stand_ins(data: dict[str, Any], refusals: Refusals) -> dict[str, Any]:
    unusable = {path[:2] for path in refusals.bad}
    usable = {
        key: {k: v for k, v in value.items() if (key, k) not in unusable}
        if isinstance(value, dict)
        else value
        for key, value in data.items()
        if (key,) not in unusable
    }
    optional = ("teacher", "best")
    for key, stand_in in _STAND_INS.items():
        if isinstance(stand_in, dict) and isinstance(usable.get(key), dict):
            usable[key] = stand_in | usable[key]
        elif key not in usable and key not in optional:
            usable[key] = stand_in
    return usable


def _base_of(root: Section, base: Path, cwd: Path, *path: str) -> Path:
    """What the path that a key holds is relative to."""
    return base if _place_of(root, path).in_file else cwd


def _place_of(root: Section, path: Sequence[str]) -> Place:
    """Where the value of a key stands; of a missing one, where its section does."""
    node: Node = root
    for part in path:
        if not isinstance(node, Section) or part not in node.values:
            break
        node = node.values[part]
    return node.place


# --- writing


class _Dumper(yaml.SafeDumper):
    """Quotes every text that this reader, or a YAML 1.1 one such as PyYAML, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    foreign = dumper.resolve(yaml.ScalarNode, text, (True, False)) != "tag:yaml.org,2002:str"
    quoted = foreign or plain_value(text) != text or not text.isprintable()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


def _represent_list(dumper: yaml.SafeDumper, items: Sequence[Any]) -> yaml.Node:
    short = sum(len(str(item)) + 2 for item in items) < 80
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


def _represent_section(dumper: yaml.SafeDumper, section: dict[str, Any]) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", section, flow_style=not section)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
_Dumper.add_representer(dict, _represent_section)
