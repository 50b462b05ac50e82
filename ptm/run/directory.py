"""The run directory: who may write into it, what is in it, and whether it belongs to this experiment."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ptm.base import files
from ptm.base.regular import kind_of, kind_to_write, open_descriptor, read_bytes, strays
from ptm.errors import Interrupted, NotFinite, RunDirectoryError
from ptm.run.lockfile import Pins, write_lock
from ptm.run.manifest import Manifest, changes, read_manifest, write_manifest
from ptm.run.ownership import (
    LOCK,
    MARK,
    delete_run,
    has_mark,
    is_lock,
    is_run,
    put_mark,
    refuse_foreign_entries,
    refuse_inputs_below,
)
from ptm.run.results import Judged, Results, read_results, write_results
from ptm.run.saved_config import (
    CURE_KEYS,
    DECIDED_KEYS,
    config_changes,
    config_values,
    differing_keys,
    saved_config,
)

Mode = Literal["new", "resume", "overwrite"]

__all__ = [
    "Mode",
    "RunDirectory",
    "begin_run",
    "drifted",
    "is_run",
    "open_run",
    "refuse_early",
    "require_run",
]


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run, and who writes them when: :meth:`begin`, then :meth:`finish` or :meth:`fail`."""

    path: Path
    resuming: bool = False
    drift: tuple[str, ...] = ()  # what may differ in the config: cures, and what --allow-drift let pass
    allow_drift: bool = False
    extended: tuple[int, int] | None = None  # a finished run goes on: epochs before and now

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.jsonl"

    @property
    def test_predictions(self) -> Path:
        return self.path / "test_predictions.jsonl"

    def predictions_of(self, split: Judged) -> Path:
        """A line an example of this split."""
        return self.test_predictions if split == "test" else self.predictions

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def read_results(self) -> Results | None:
        """The content of results.json; None when there is none yet, or something else in its place."""
        return read_results(self.results)

    def read_manifest(self) -> Manifest | None:
        """The content of manifest.json, likewise."""
        return read_manifest(self.manifest)

    def finished(self) -> bool:
        """Whether all that a run leaves is there: README.md is written last."""
        results = self.read_results()
        return results is not None and results.status == "done" and (self.path / "README.md").is_file()

    def begin(self, config: str, manifest: Manifest, pins: Pins | None, say: Callable[[str], None]) -> None:
        """Write the record of a new run; hold that of a resumed one against what is there now.

        Raises RunDirectoryError when data, weights, versions or the machine have changed, unless drift is allowed:
        then the new record replaces the old one and keeps a list of what changed. ``pins``: what a lock file named,
        kept for ``ptm eval RUN --locked``.
        """
        if self.resuming:
            self._begin_again(config, manifest, say)
        else:
            begin_run(self, config)
            write_manifest(self.manifest, manifest)
        if pins is not None:
            write_lock(self.config, pins)

    def _begin_again(self, config: str, manifest: Manifest, say: Callable[[str], None]) -> None:
        old = self.read_manifest()
        changed = changes(old, manifest) if old else self._record_lost()
        # Keys that this config leaves open, and the one of the run did not: now it is known what they come to.
        decided = tuple(
            c
            for c in config_changes(self.config, config)
            if c.startswith(DECIDED_KEYS) and c not in self.drift
        )
        cures = tuple(change for change in decided if change.startswith(CURE_KEYS))
        known = (*self.drift, *cures)
        others = [change for change in decided if change not in cures]
        # Precision stands in the config as well, where it was looked at.
        drift = (*known, *others, *(change for change in changed if not change.startswith(CURE_KEYS)))
        if len(drift) > len(known) and not self.allow_drift:
            raise drifted(self.manifest, drift)
        extended = old.extended if old else ()
        if self.extended and extended[-1:] != (self.extended,):
            extended = (*extended, self.extended)
        if drift or old is None or self.extended:
            # In this order: a kill between any two leaves what --resume understands.
            before = old.drift if old else ()
            write_manifest(self.manifest, replace(manifest, drift=(*before, *drift), extended=extended))
            if self.extended:
                reason = "extended from {} to {} epochs".format(*self.extended)
                write_results(self.results, Results(task=manifest.task, status="interrupted", reason=reason))
                say(f"{reason}: the learning rate goes on as in a run of the new length")
        if read_bytes(self.config) != config.encode():
            files.write_file(self.config, config.encode())
        if drift:
            say(f"going on although {len(drift)} inputs have changed: {'; '.join(drift[:5])}")

    def _record_lost(self) -> tuple[str, ...]:
        """Nobody knows what has changed since, if anything was computed under the record that is gone."""
        if not any(self.checkpoints.glob("step-*")):
            return ()
        return (f"{self.manifest.name}: {'damaged' if self.manifest.exists() else 'missing'}",)

    def damage(self) -> str | None:
        """What a finished run should have and has not; None when it is as it was written."""
        if not self.model.is_dir():
            return "there is no model/"
        problem = files.broken_seal(self.model)
        if problem is not None:
            return f"model/{problem}"
        results = self.read_results()
        tested = results is not None and results.test is not None
        wanted = (self.predictions, *([self.test_predictions] if tested else []))
        return next((f"{path.name} is missing" for path in wanted if not path.is_file()), None)

    def finish(
        self,
        results: Results,
        predictions: Mapping[Judged, bytes],
        save_model: Callable[[Path], None],
    ) -> None:
        """Write the model, what it predicts, by split, and last what it came to. Raises StorageError."""
        with files.new_directory(self.model) as directory:
            save_model(directory)
            files.seal(directory)
        for split, content in predictions.items():
            files.write_file(self.predictions_of(split), content)
        write_results(self.results, results)

    def fail(self, task: str, error: Interrupted | NotFinite) -> None:
        """Write down why the run ended early."""
        status: Literal["interrupted", "failed"] = (
            "interrupted" if isinstance(error, Interrupted) else "failed"
        )
        write_results(self.results, Results(task=task, status=status, reason=str(error)))


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


def begin_run(run: RunDirectory, config: str) -> None:
    """Clear the directory and write its config: called when all is loaded and nothing was refused.

    So a mistake in the data of a run that overwrites another costs nothing, and one in a new run leaves nothing.
    A kill in here leaves ptm's mark, hence a directory that can be overwritten again. Raises RunDirectoryError, with
    all still there, when the directory holds what ptm did not write.
    """
    refuse_foreign_entries(run.path)
    put_mark(run.path)
    delete_run(run.path)
    files.write_file(run.config, config.encode())
    with files.storage_errors(run.path):
        run.checkpoints.mkdir()


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
            if (refused and not allow_drift) or (drift and RunDirectory(path).finished()):
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


def refuse_inside_run(path: Path) -> None:
    """Raise RunDirectoryError where a new run would lie in another: that one holds what ptm wrote for it alone."""
    for parent in Path(os.path.realpath(path)).parents:
        if is_run(parent):
            raise RunDirectoryError(
                "would lie in another run",
                where=path,
                expected=f"a place outside of {parent}",
                cure="choose another --output",
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


def drifted(where: Path, changes: Sequence[str]) -> RunDirectoryError:
    """The refusal to resume what is no longer the same experiment."""
    return RunDirectoryError(
        "the experiment has changed since this run began:\n    " + "\n    ".join(changes[:20]),
        where=where,
        expected="the same config, data, weights, versions and machine: only then are the bits the same",
        cure="undo the change, go on all the same with --allow-drift (the record will say so), or start anew with "
        "--overwrite or another --output",
    )


def _extension(run: RunDirectory, config: str) -> tuple[int, int] | None:
    """(epochs before, epochs now) when a finished run is to go on with more epochs and nothing else differs."""
    old = saved_config(run.config)
    before, now = (config_values(text).get("train.epochs") for text in (old, config))
    differing = set(differing_keys(old, config))
    if differing != {"train.epochs"} or not (
        isinstance(before, int) and isinstance(now, int) and before < now
    ):
        return None
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
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            raise RunDirectoryError(
                f"process {owner or 'unknown'} is writing this run",
                where=path,
                cure="wait for it, stop it, or choose another --output",
            ) from None
        if not keep_owner:
            with files.storage_errors(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
