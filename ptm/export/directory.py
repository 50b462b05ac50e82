"""The directory of an export: what is in it, whether it is whole, and what may be replaced by another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ptm.base import files
from ptm.base.regular import kind_of, strays
from ptm.errors import ModelError, RunDirectoryError, first_line
from ptm.export.record import RECORD, ExportRecord, read_record
from ptm.run.opening import refuse_inside_run
from ptm.run.ownership import may_be_of_model

CONFIG = "config.yaml"
SETTINGS = "settings.json"
PROGRAM = "predict.py"
DESCRIPTION = "model"  # folder: all that a saved model has, without its weights
SEAL = "manifest.json"
GRAPHS = {"onnx": "model.onnx", "torch": "model.pt2"}
_FILES = frozenset({CONFIG, RECORD, SETTINGS, PROGRAM, "requirements.txt", "README.md", *GRAPHS.values()})


def is_export(path: Path) -> bool:
    """Whether ptm export made a directory: it has a record, and a seal that names the record."""
    return RECORD in files.sealed_names(path)


def require_export(path: Path) -> ExportRecord:
    """The record of an export that is as it was written: no link in it, no byte changed. Raises ModelError."""
    real = Path(os.path.realpath(path))  # a link to it is the user's own
    try:
        wrong = [f"{part.relative_to(real)} is {kind}" for part, kind in strays(real)]
        problem = wrong[0] if wrong else files.broken_seal(real) or _unsealed(real)
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
    known = files.sealed_names(path)
    if RECORD not in known or not known & {*GRAPHS.values()}:
        raise RunDirectoryError(
            "holds files that are not an export of ptm", where=path, cure="choose another --output"
        )
    entries = [(entry.relative_to(path).as_posix(), kind_of(entry)) for entry in sorted(path.rglob("*"))]
    foreign = [
        name
        for name, kind in entries
        if not (_is_our_folder(name, known) if kind == "a directory" else _is_ours(name, known))
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


def _unsealed(path: Path) -> str | None:
    """The first file that is read and that the seal does not know: it may have been changed."""
    known = files.sealed_names(path)
    names = [entry.relative_to(path).as_posix() for entry in sorted(path.rglob("*")) if entry.is_file()]
    for name in names:
        if name not in known and (name in _FILES or name.startswith(f"{DESCRIPTION}/")):
            return f"{name} does not stand in {SEAL}"
    return None


def _is_ours(name: str, known: frozenset[str]) -> bool:
    """Whether ptm export wrote a file: its seal lists it, and it has the name of one. Anyone can write a seal."""
    if name.startswith(f"{DESCRIPTION}/"):
        return name in known and may_be_of_model(name)
    return name == SEAL or (name in known and name in _FILES)


def _is_our_folder(name: str, known: frozenset[str]) -> bool:
    return name == DESCRIPTION or any(
        other.startswith(f"{name}/") and _is_ours(other, known) for other in known
    )


def sent_names(path: Path) -> list[str]:
    """Names of the files of an export that ptm wrote: others may lie there, which are somebody's own."""
    known = files.sealed_names(path)
    return sorted(name for name in known if _is_ours(name, known))
