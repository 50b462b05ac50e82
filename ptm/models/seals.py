"""The seal of a saved model, checked wherever one is read: as a start, as a teacher, for an evaluation."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path

from ptm.base.files import OF_A_MODEL, broken_seal
from ptm.base.regular import endless, hindrance, read_bytes
from ptm.errors import ModelError

_SEAL = "manifest.json"
_INDEX = ".index.json"  # of weights in several files
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them
CURE_OF_UNREADABLE = "put the file of weights in its place, readable for you: fetch or save it again"


def require_intact(directory: Path) -> None:
    """Raise ModelError, naming the file, where a saved model is not as ptm wrote it.

    The ``model/`` of a run must have its seal; a model that somebody else saved, or changed on purpose, has none.
    """
    if not _of_a_run(directory) and not _sealed(directory):
        return
    problem = _problem(directory.resolve(), _stamp(directory))
    if problem is not None:
        cure = (
            "restore the file, or train again: the run's own --resume restores model/ from its checkpoint"
            if _of_a_run(directory)
            else f"restore the file; if it was changed on purpose, remove {_SEAL}"
        )
        raise ModelError(f"the model is damaged: {problem}", where=directory, cure=cure)


def require_own_files(directory: Path) -> None:
    """Raise ModelError where the folder of a model holds what a reader would wait for, or an index of weights that
    leads out of it. Links to files are read: that is how caches of a hub are made."""
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=directory) from None
    for entry in entries:
        if kind := endless(entry):
            raise ModelError(f"is {kind}", where=entry, expected="a file of a model", cure="remove it")
        if entry.name.endswith(_INDEX):
            _require_names_within(entry)


def require_weights(directory: Path) -> None:
    """Raise ModelError where the folder of a text model has weights that cannot be read, saying why: transformers calls
    each of them missing. Where there are none at all, it says so itself."""
    places = [directory / f"{name}{end}" for name in _WEIGHTS for end in ("", _INDEX)]
    there = [place for place in places if os.path.lexists(place)]
    path = next((place for place in there if place.is_file()), there[0] if there else None)
    if path is not None and (what := hindrance(path)):
        raise ModelError(what, where=path, cure=CURE_OF_UNREADABLE)


def _require_names_within(index: Path) -> None:
    try:
        names = list(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return  # whoever loads it says what is wrong
    for name in map(str, names):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(
                f"names a file elsewhere: {name[:200]!r}",
                where=index,
                expected="names of files beside it",
                cure="fetch the model again",
            )


def _of_a_run(directory: Path) -> bool:
    run = directory.resolve().parent
    made_by_ptm = (run / "checkpoints").is_dir() or any(
        (run / name).is_file() for name in (".lock", ".ptm-run")
    )
    return directory.resolve().name == "model" and (run / "config.yaml").is_file() and made_by_ptm


def _sealed(directory: Path) -> bool:
    try:
        content = json.loads(read_bytes(directory / _SEAL))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("files"), dict)


def _stamp(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files: while they stay, so does the answer, and a large model is read once."""
    entries = [
        (path.relative_to(directory).as_posix(), path.lstat()) for path in sorted(directory.rglob("*"))
    ]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in entries)


@lru_cache(maxsize=8)
def _problem(directory: Path, stamp: tuple[tuple[str, int, int], ...]) -> str | None:
    return broken_seal(directory, OF_A_MODEL)
