"""Who may enter a run directory, to write or to read: the lock, and what is refused before anything is touched."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ptm.base import files
from ptm.base.regular import kind_of, kind_to_write, open_descriptor, strays
from ptm.errors import RunDirectoryError
from ptm.run.directory import RunDirectory, drifted
from ptm.run.ownership import (
    LOCK,
    MARK,
    has_mark,
    is_lock,
    is_run,
    lock_content,
    owner,
    refuse_foreign_entries,
    refuse_inputs_below,
)
from ptm.run.results import Results
from ptm.run.saved_config import CURE_KEYS, config_changes, config_values, differing_keys, saved_config

Mode = Literal["new", "resume", "overwrite"]


def require_run(path: Path, expected: str = "a run directory") -> None:
    """RunDirectoryError for a directory that is none, or that leads out of itself; of a distillation with its control
    it names the distilled run."""
    if is_run(path):
        _refuse_strays(path)
        return
    if runs := _distilled(path):
        raise RunDirectoryError(
            "not one run, but a distillation with its control",
            where=path,
            cure=f"name a run in it: {runs[0]}",
        )
    raise RunDirectoryError("not a run of ptm", where=path, expected=expected)


def _distilled(path: Path) -> list[Path]:
    """The distilled runs in what ``ptm distill --control`` wrote."""
    return sorted(run for run in path.glob("distilled-*") if is_run(run))


def read_finished(path: Path) -> Results:
    """The results of a finished run. Raises RunDirectoryError for any other directory."""
    require_run(path, "a finished run")
    results = RunDirectory(path).read_results()
    if results is None or results.status != "done":
        raise RunDirectoryError("not a finished run of ptm", where=path, expected="a run with results.json")
    return results


def refuse_early(path: Path, mode: Mode, inputs: Sequence[tuple[str, Path]] = ()) -> None:
    """Raise what :func:`open_run` would, as far as it can be seen before anything heavy is imported.

    Holds the lock for an instant only, and only if there is one: nothing is made.
    """
    _refuse_foreign(path, mode, inputs)
    if (path / LOCK).is_file() and not (path / LOCK).is_symlink():
        with _locked(path, keep_owner=True):
            pass


@contextmanager
def open_run(
    path: Path,
    config: str,
    mode: Mode,
    *,
    allow_drift: bool = False,
    inputs: Sequence[tuple[str, Path]] = (),
) -> Iterator[RunDirectory]:
    """Make or enter the run directory and hold its lock. ``config`` is the resolved YAML of the experiment, ``inputs``
    are keys and paths of what it reads, which ``overwrite`` must not delete.

    A new run writes nothing before :func:`begin_run`; a directory in which it never came to that is removed, with those
    above it that were made for it.

    Raises RunDirectoryError when the directory holds something else, when it holds a run and neither
    ``resume`` nor ``overwrite`` was asked for, when the run to resume has another config, and when another
    process is writing. Nothing is touched in any of these cases.
    """
    _refuse_foreign(path, mode, inputs)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with files.storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        resuming = is_run(path) and mode == "resume"
        drift: tuple[str, ...] = ()
        extended = None
        if resuming:
            drift = config_changes(path / "config.yaml", config)
            extended = _extension(RunDirectory(path), config) if drift else None
            if extended:
                drift = ()
            refused = [change for change in drift if not change.startswith(CURE_KEYS)]
            if drift and RunDirectory(path).finished():
                raise drifted(path / "config.yaml", drift, finished=True)
            if refused and not allow_drift:
                raise drifted(path / "config.yaml", drift)
            files.clear_debris(path / "checkpoints")
        files.clear_debris(path)
        try:
            yield RunDirectory(
                path, resuming=resuming, drift=drift, allow_drift=allow_drift, extended=extended
            )
        finally:
            if {entry.name for entry in path.iterdir()} <= {LOCK, MARK}:
                _leave(path, made)


def _leave(path: Path, made: Sequence[Path]) -> None:
    """Remove what was made for a run that never began."""
    with suppress(OSError):  # another run has begun there
        for name in (MARK, LOCK):
            (path / name).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def _refuse_foreign(path: Path, mode: Mode, inputs: Sequence[tuple[str, Path]]) -> None:
    if not is_run(path):
        refuse_inside_run(path)
    _refuse_store_within(path, inputs)
    if not path.exists():
        return
    if not path.is_dir():
        raise RunDirectoryError(
            "is a file", where=path, expected="a directory", cure="choose another --output"
        )
    # A kill while config.yaml was written leaves a part of it, which is ours.
    ours = {name for name, own in ((LOCK, is_lock(path / LOCK)), (MARK, has_mark(path))) if own}
    inside = [e.name for e in path.iterdir() if e.name not in ours and not files.is_debris(e.name)]
    if is_run(path):
        if mode == "new":
            raise RunDirectoryError(
                "holds a run already",
                where=path,
                cure="continue it with --resume, start it anew with --overwrite, or choose another --output",
            )
        if mode == "resume":
            _refuse_strays(path, writing=True)
        if mode == "overwrite":
            refuse_foreign_entries(path)
            refuse_inputs_below(path, inputs)
    elif runs := _distilled(path):
        raise RunDirectoryError(
            "holds a distillation with its control",
            where=path,
            cure=f"choose another --output, or go on with --control; its distilled run is {runs[0]}",
        )
    elif inside:
        names = ", ".join(sorted(inside)[:3]) + (", …" if len(inside) > 3 else "")
        raise RunDirectoryError(
            f"holds files that are not a run of ptm ({names})",
            where=path,
            cure="choose another --output; ptm deletes only its own runs",
        )


def _refuse_store_within(path: Path, inputs: Sequence[tuple[str, Path]]) -> None:
    """Raise RunDirectoryError for a store of a teacher's outputs in the run itself, which holds nothing else."""
    place = Path(os.path.realpath(path))
    for key, store in inputs:
        if key == "distill.store" and Path(os.path.realpath(store)).is_relative_to(place):
            raise RunDirectoryError(
                "would lie in the run itself",
                where=f"{key} {store}",
                cure="name a folder elsewhere, or leave it out",
            )


def refuse_inside_run(path: Path, cure: str = "choose another --output") -> None:
    """Raise RunDirectoryError where a new run would lie in another: that one holds what ptm wrote for it alone."""
    for parent in Path(os.path.realpath(path)).parents:
        if is_run(parent):
            raise RunDirectoryError(
                "would lie in another run",
                where=path,
                expected=f"a place outside of {parent}",
                cure=cure,
            )


def _refuse_strays(path: Path, *, writing: bool = False) -> None:
    """Raise RunDirectoryError for a link, a pipe or a device where a run has a file or a directory.

    A link could make ptm read or write what it leads to, a pipe would keep it waiting; ptm makes neither. The same for
    ``writing`` in place to a file that has a second name.
    """
    run = RunDirectory(path)
    records = (run.config, run.manifest, run.metrics, run.results, run.predictions, run.test_predictions)
    files_of_run = (path / LOCK, *records)
    try:
        wrong = [(part, kind) for part in files_of_run if (kind := kind_of(part)) is not None]
        in_place = (path / LOCK, run.metrics) if writing else ()
        wrong += [(part, kind) for part in in_place if (kind := kind_to_write(part)) is not None]
        for folder in (run.checkpoints, run.model):
            if os.path.lexists(folder) and kind_of(folder) is None:
                wrong.append((folder, "a file, not a directory"))
            wrong += strays(folder)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be read: {error.strerror}", where=error.filename or path, cure="change its permissions"
        ) from error
    if wrong:
        part, kind = wrong[0]
        raise RunDirectoryError(
            f"is {kind}; ptm makes none in a run, and follows none",
            where=part,
            cure="put a copy of what belongs there in its place, or name another run",
        )


def _extension(run: RunDirectory, config: str) -> tuple[int, int] | None:
    """(epochs before, epochs now) when a finished run is to go on with more epochs and nothing else differs. Raises
    RunDirectoryError for one whose last evaluations are averaged."""
    old = saved_config(run.config)
    before, now = (config_values(text).get("train.epochs") for text in (old, config))
    differing = set(differing_keys(old, config))
    if differing != {"train.epochs"} or not (
        isinstance(before, int) and isinstance(now, int) and before < now
    ):
        return None
    if config_values(config).get("train.average_checkpoints") is not None:
        # Weights of evaluations that are not among the last ones now are in the mean, and cannot be taken out.
        raise RunDirectoryError(
            f"its weights are the mean of its last evaluations, which are others with {now} epochs than with {before}",
            where=run.path,
            expected="a run without train.average_checkpoints, which can be given more epochs",
            cure="train it from the start with as many epochs: --overwrite, or another --output",
        )
    # A kill may have come after the extension was written down and before the new config was.
    return (before, now) if run.finished() or _last_extension(run) == (before, now) else None


def _last_extension(run: RunDirectory) -> tuple[int, int] | None:
    """(epochs before, epochs after) of the newest extension that manifest.json names."""
    manifest = run.read_manifest()
    return manifest.extended[-1] if manifest and manifest.extended else None


@contextmanager
def _locked(path: Path, *, keep_owner: bool = False) -> Iterator[None]:
    """Hold ``.lock``; the system releases it when the process dies, however it dies."""
    with files.storage_errors(path):
        descriptor = open_descriptor(path / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            # A record lock, not flock: it is not inherited by the processes that decode images, which live on
            # for a moment after a kill and must not keep --resume waiting.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunDirectoryError(
                f"process {owner(os.pread(descriptor, 64, 0))} is writing this run",
                where=path,
                cure="wait for it, stop it, or choose another --output",
            ) from None
        if not keep_owner:
            with files.storage_errors(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, lock_content(os.getpid()), 0)
        yield
    finally:
        os.close(descriptor)
