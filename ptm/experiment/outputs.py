"""What a user names for predictions and drawings must replace nothing that is read, and nothing that a run wrote."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ptm.base import files
from ptm.base.regular import kind_of, open_regular
from ptm.config.folds import is_share
from ptm.config.spec import RunSpec
from ptm.data.readers import FORMATS
from ptm.data.sources import split_files
from ptm.errors import ConfigError, PtmError
from ptm.run.lockfile import lock_path
from ptm.run.ownership import FILES, input_paths, is_run

_FIRST_LINE = 16_000_000  # characters: a line may hold a mask
_BEGINNING = 200  # bytes of a report that show whose it is
_XML = b"<?xml version='1.0' encoding='utf-8'?>\n"


def require_new_file(path: Path, option: str, suffixes: Sequence[str]) -> None:
    """Raise ConfigError for what is no place for a file, whatever else is read and written."""
    if path.suffix not in suffixes:
        raise ConfigError("not a kind of output", where=path, expected=f"a file in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError("there is no such folder", where=path.parent, cure=f"make it, or correct {option}")
    if path.is_dir():
        raise ConfigError(f"{option} is a folder", where=path, expected="the name of a file")
    kind = kind_of(path)
    if kind is not None:
        cure = (
            f"name the file itself: {os.path.realpath(path)}" if kind == "a symbolic link" else "name a file"
        )
        raise ConfigError(f"{option} is {kind}; ptm writes through none", where=path, cure=cure)
    refuse_place_in_run(path, option)


def require_own_predictions(path: Path, option: str) -> None:
    """Raise ConfigError for a file that is there and was not written for predictions."""
    if not _may_be_replaced(path):
        raise ConfigError(
            f"{option} would replace a file that holds no predictions of ptm",
            where=path,
            cure="name another file, or remove it",
        )


def _may_be_replaced(path: Path) -> bool:
    """Whether there is nothing in a file, or predictions: the keys of its first line say so, as ptm writes them."""
    try:
        with open_regular(path, "r", encoding="utf-8", newline="") as file:
            begin: str = file.readline(_FIRST_LINE)
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False
    if not begin:
        return True
    try:
        first = json.loads(begin) if path.suffix == ".jsonl" else next(csv.reader([begin]))
    except (ValueError, RecursionError, csv.Error, StopIteration):
        return False
    return _is_prediction(first, path.suffix)


# What a model answers, of each task (docs/run_directory.md, docs/predict.md): tables of data have ids, inputs and
# labels as well.
_ANSWERS = (
    {"prediction"}, {"predicted_tags"}, {"tags", "entities"}, {"answer", "probability"}, {"loss", "tokens"},
    {"similarity"}, {"embedding"}, {"boxes", "scores"}, {"shares"}, {"likely", "scores"},
)  # fmt: skip


def _is_prediction(first: object, suffix: str) -> bool:
    """Whether it is the first row that ptm writes of predictions, or of a table the names of its columns."""
    if suffix == ".jsonl":  # whose numbers begin with 0, but of labels that are doubted
        named = (
            isinstance(first, dict)
            and type(first.get("id")) is int
            and (first["id"] == 0 or "likely" in first)
        )
    else:
        named = isinstance(first, list) and all(isinstance(name, str) for name in first)
    names: list[str] = list(first) if named and isinstance(first, dict | list) else []
    answers = any(answer <= {*names} for answer in _ANSWERS)
    return names[:1] == ["id"] and answers and ("where" in names or "input" in names)


def require_report_file(path: Path, option: str, mark: bytes) -> None:
    """Raise ConfigError where ptm is not to write a report: no file, among a run's own, or a file of somebody's.

    ``mark`` is the beginning of what ptm writes there; a file without it is replaced only if it is empty.
    """
    kind = kind_of(path) if path.parent.is_dir() else "in no folder"
    if kind is not None:
        raise ConfigError(
            "cannot be written",
            where=f"{option} {path}",
            expected="the name of a file, in a folder that is there",
        )
    refuse_place_in_run(path, option)
    if path.exists():
        with open_regular(path) as file:
            begin: bytes = file.read(_BEGINNING)
        if begin and not begin.removeprefix(_XML).startswith(mark):
            raise ConfigError(
                "holds what ptm did not write there",
                where=f"{option} {path}",
                cure="choose another file, or remove it",
            )


def refuse_place_in_run(path: Path, option: str) -> None:
    """Raise ConfigError where a run keeps files of its own: the name need not be taken yet."""
    real = Path(os.path.realpath(path))
    for parent in real.parents:
        first = real.relative_to(parent).parts[0]
        if first in (*FILES, "checkpoints", "model") and is_run(parent):
            raise ConfigError(
                f"{option} would be among the files of a run", where=path, cure="name another place"
            )


def refuse_inputs(
    path: Path, option: str, target: Path, spec: RunSpec, sources: Sequence[Path | str] = ()
) -> None:
    """Raise ConfigError when a file is one that the command reads: ``target`` is a config or a run, ``sources`` are
    inputs of the command itself."""
    if path.exists() and any(_same(path, other) for other in _files_read(target, spec, sources)):
        raise ConfigError(f"{option} would overwrite an input", where=path, cure="name another file")


def _files_read(target: Path, spec: RunSpec, sources: Sequence[Path | str]) -> Iterator[Path]:
    yield target
    yield lock_path(target)
    yield from map(Path, sources)
    yield from (place for _, place in input_paths(spec))
    kind, _, place = spec.data.source.partition(":")
    suffixes = FORMATS[kind].suffixes if kind in FORMATS else ()
    for split in (spec.data.train, spec.data.eval, spec.data.test):
        if suffixes and not is_share(split):
            with suppress(PtmError, OSError):  # whoever reads it says what is wrong with it
                yield from split_files(Path(place), split, suffixes)


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False


_MARK, _MARKED_WITHIN = b"tEXtSoftware\0ptm", 256  # bytes: before the pixels of a drawing


def refuse_other_picture(path: Path) -> None:
    """Raise ConfigError where a drawing would replace a file that is none of ptm's drawings."""
    with files.storage_errors(path):
        if path.is_symlink() or not path.exists():
            return  # the write itself refuses a link
        if path.is_file():
            with path.open("rb") as file:
                if _MARK in file.read(_MARKED_WITHIN):
                    return
    raise ConfigError(
        "--draw would replace a file that is no drawing of ptm's", where=path, cure="name another folder"
    )


def refuse_drawing_there(folder: Path, sources: Sequence[Path | str]) -> None:
    """Raise ConfigError when drawings would come among the images that are read, or into a part of a run."""
    refuse_place_in_run(folder / "drawing.png", "--draw")
    for source in map(Path, sources):
        among = source if source.is_dir() else source.parent
        if _same(folder, among) and source.exists():
            raise ConfigError(
                "--draw would put drawings among the inputs", where=folder, cure="name another folder"
            )
