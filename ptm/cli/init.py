"""``ptm init``: a first config, from data or from an example."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Json
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table

_SHOWN = 2000  # characters of a guess: a label may be a book


def init(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="A file or folder: tables, texts, images, VOC, COCO, masks.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="What the model is to do (default: guessed).")
    ] = None,
    example: Annotated[
        str | None, typer.Option("--example", metavar="NAME", help="Copy a config that ptm ships, instead.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the configs that ptm ships.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="The config to write (default: DATA.yaml in this folder)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a config that is there.")] = False,
    json_: Json = False,
) -> None:
    """Write a first config: from data, guessing and saying why, or from an example."""
    from ptm.errors import ConfigError

    if sum((data is not None, example is not None, list_)) != 1:
        raise ConfigError(
            "it needs one of DATA, --example and --list",
            where="ptm init",
            cure="ptm init reviews.csv, ptm init --example quickstart, or ptm init --list",
        )
    if list_:
        _list(as_json=json_)
    elif example is not None:
        from ptm.config.examples import example_files

        files = example_files(example)
        target = output or Path(next(iter(files)))
        config = {target: files.pop(next(iter(files)))}
        beside = {target.parent / name: content for name, content in files.items()}
        missing = {path: content for path, content in beside.items() if not path.exists()}
        _require_places(config, overwrite=overwrite)
        _write(missing, overwrite=False)
        _write(config, overwrite=overwrite)
        _say({"config": str(target), "files": [str(path) for path in beside]}, as_json=json_)
    elif data is not None:
        _from_data(data, task, output, overwrite=overwrite, as_json=json_)


def _from_data(data: Path, task: str | None, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from ptm.base import files
    from ptm.config.load import json_schema
    from ptm.data.entries import SCHEMA_FILE
    from ptm.data.guess import guess
    from ptm.experiment.draft import as_argument, draft_config

    about_data = guess(data, task)
    name = data.absolute().name
    target = output or Path(f"{Path(name).stem if data.is_file() else name}.yaml")
    text = draft_config(about_data, target.name, target.absolute().parent)
    _write({target: text.encode()}, overwrite=overwrite)
    schema = target.parent / SCHEMA_FILE
    if not schema.exists():
        files.write_file(schema.absolute(), files.json_bytes(json_schema()))
    guesses = {"task": about_data.task, "source": about_data.kind, **about_data.data}
    reasons = {key: reason for key, reason in about_data.reasons.items() if reason}
    record = {
        "config": str(target),
        "schema": str(schema),
        "guesses": guesses,
        "reasons": reasons,
        "next": f"ptm check {as_argument(str(target))} --data",
    }
    _say(record, as_json=as_json)


def _write(contents: Mapping[Path, bytes], *, overwrite: bool) -> None:
    """Raises as :func:`_require_places`, before any is written."""
    from ptm.base import files

    _require_places(contents, overwrite=overwrite)
    for path, content in contents.items():
        with files.storage_errors(path):
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
        files.write_file(path.absolute(), content)


def _require_places(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raises ConfigError for a file that is there, RunDirectoryError for one in a run, StorageError for a link."""
    from ptm.base import files
    from ptm.base.regular import NotRegular, kind_of
    from ptm.config.examples import SAMPLES
    from ptm.errors import ConfigError
    from ptm.export.directory import is_export
    from ptm.run.opening import refuse_inside_run

    for path in paths:
        refuse_inside_run(path)
        if any(map(is_export, Path(os.path.realpath(path)).parents)):
            raise ConfigError("would lie in an export", where=path, cure="--output FILE for another place")
        with files.storage_errors(path.parent):
            kind = kind_of(path.parent) if path.parent.name == SAMPLES else None
            if kind not in (None, "a directory"):
                raise NotRegular(kind, expected="a directory")
        if path.exists() and not overwrite:
            raise ConfigError(
                "is there already", where=path, cure="--output FILE for another, or --overwrite to replace it"
            )
        if path.is_file() and not path.is_symlink() and not _is_config(path):
            raise ConfigError(
                "holds what is no config of ptm",
                where=path,
                cure="--output FILE for another, or remove it yourself",
            )
        with files.storage_errors(path):
            files.require_replaceable(path)  # nor a link, one that leads nowhere too


def _is_config(path: Path) -> bool:
    """Whether a file is empty or a config: --overwrite replaces nothing else, such as data, or notes behind ``#``."""
    import yaml

    from ptm.base.regular import read_text
    from ptm.config.plain_yaml import read_plain
    from ptm.config.spec import RunSpec
    from ptm.config.tasks import TASKS

    try:
        text = read_text(path)
        if not text.strip():
            return True
        content = read_plain(text)
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return False
    # Results and lock files name a task as well, among keys that no config has.
    known = isinstance(content, dict) and content.keys() <= {field.name for field in fields(RunSpec)}
    return known and content.get("task") in tuple(TASKS)


def _say(record: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        echo_json(record)
        return
    from ptm.experiment.draft import as_argument

    guesses, reasons = record.get("guesses"), record.get("reasons")
    if isinstance(guesses, dict) and isinstance(reasons, dict):
        for key, value in guesses.items():
            because = f"  ({_cut(str(reasons[key]))})" if key in reasons else ""
            echo(
                f"{key}: {_cut(', '.join(map(str, value)) if isinstance(value, list) else str(value))}{because}"
            )
    for file in record.get("files") or ():  # type: ignore[attr-defined]
        echo(f"wrote {file}")
    echo(f"wrote {record['config']}")
    echo(f"next: ptm check {as_argument(str(record['config']))} --data")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _list(*, as_json: bool) -> None:
    from ptm.config.examples import example_names

    names = example_names()
    if as_json:
        echo_json({"examples": [{"name": name, "about": about} for name, about in names.items()]})
        return
    table = new_table()
    for column in ("name", "what it is"):
        table.add_column(column, overflow="fold")
    for name, about in names.items():
        add_row(table, name, about)
    echo_table(table)
