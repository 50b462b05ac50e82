"""The directory of an export: what is in it, whether it is whole, and what may be replaced by another."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ptm.base import files
from ptm.base.regular import kind_of, read_bytes, strays
from ptm.errors import ModelError, RunDirectoryError, first_line
from ptm.export.record import RECORD, ExportRecord, read_record
from ptm.run.opening import refuse_inside_run

CONFIG = "config.yaml"
SEAL = "manifest.json"
GRAPHS = {"onnx": "model.onnx", "torch": "model.pt2"}


def is_export(path: Path) -> bool:
    """Whether ptm export made a directory: it has a record, and a seal that names the record."""
    return RECORD in _sealed(path)


def require_export(path: Path) -> ExportRecord:
    """The record of an export that is as it was written: no link in it, no byte changed. Raises ModelError."""
    try:
        wrong = [f"{part.relative_to(path)} is {kind}" for part, kind in strays(path)]
        problem = wrong[0] if wrong else files.broken_seal(path)
        if problem is None:
            record = read_record(path)
            if record.graph == GRAPHS[record.format]:  # it may come from a stranger, and lead anywhere
                return record
            problem = f"{RECORD} names {record.graph[:80]!r} as its graph"
    except OSError as error:
        problem = f"{error.filename or RECORD} cannot be read: {error.strerror}"
    except ValueError as error:
        problem = f"{RECORD} is damaged: {first_line(error, 120)}"
    raise ModelError(
        f"the export is damaged: {problem}",
        where=path,
        cure="export the model again: ptm export RUN --overwrite",
    )


def require_place(path: Path, *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Raise RunDirectoryError where an export cannot be written: what is there is none, or may not be replaced.

    ``inputs``: directories that are read; none may be at ``path``, in it, or around it.
    """
    real = Path(os.path.realpath(path))
    for other in (Path(os.path.realpath(each)) for each in inputs):
        if real == other or real in other.parents or other in real.parents:
            raise RunDirectoryError(
                "is in the way of what is exported", where=path, cure="choose another --output"
            )
    refuse_inside_run(path)
    kind = kind_of(path)
    if kind is None and not path.exists():
        return
    if kind != "a directory":
        raise RunDirectoryError(f"is {kind or 'a file'}", where=path, expected="a directory, or nothing")
    if not any(path.iterdir()):
        return
    known = _sealed(path)
    if RECORD not in known or not known & {*GRAPHS.values()}:
        raise RunDirectoryError(
            "holds files that are not an export of ptm", where=path, cure="choose another --output"
        )
    foreign = [
        name
        for entry in sorted(path.rglob("*"))
        if (name := entry.relative_to(path).as_posix()) not in (*known, SEAL)
        and kind_of(entry) != "a directory"
    ]
    if foreign:
        raise RunDirectoryError(
            f"--overwrite would delete what ptm did not write: {', '.join(foreign[:5])}",
            where=path,
            cure="move it elsewhere, or choose another --output",
        )
    if not overwrite:
        raise RunDirectoryError(
            "holds an export already",
            where=path,
            cure="replace it with --overwrite, or choose another --output",
        )


def _sealed(path: Path) -> frozenset[str]:
    """Names of the files that the seal of a directory lists; none where there is no seal."""
    try:
        content = json.loads(read_bytes(path / SEAL))["files"]
        return frozenset(map(str, content))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()
