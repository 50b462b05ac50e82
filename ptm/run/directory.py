"""The run directory: what is in it, and whether it belongs to this experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.errors import Interrupted, NotFinite, RunDirectoryError
from ptm.run.lockfile import Pins, write_lock
from ptm.run.manifest import Manifest, changes, read_manifest, write_manifest
from ptm.run.ownership import (
    delete_run,
    put_mark,
    refuse_foreign_entries,
    refuse_foreign_parts,
)
from ptm.run.results import Judged, Results, read_results, write_results
from ptm.run.saved_config import (
    CURE_KEYS,
    DECIDED_KEYS,
    config_changes,
)


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
        refuse_foreign_parts(self.path)
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
        problem = files.broken_seal(self.model, files.OF_A_MODEL)
        if problem is not None:
            return f"model/{problem}"
        results = self.read_results()
        tested = results is not None and results.test is not None
        splits: tuple[Judged, ...] = ("eval", "test") if tested else ("eval",)
        return next((problem for split in splits if (problem := self.damaged_predictions(split))), None)

    def damaged_predictions(self, split: Judged) -> str | None:
        """Why the predictions of a split are not those that ``results.json`` was written with; None where they are, or
        where it says nothing of them, as that of an earlier ptm does not."""
        path, results = self.predictions_of(split), self.read_results()
        if not path.is_file():
            return f"{path.name} is missing"
        digests = results.prediction_digests if results is not None else None
        expected = (digests or {}).get(split)
        if expected is None:
            return None
        try:
            content = read_bytes(path)
        except (OSError, ValueError) as error:
            return f"{path.name} cannot be read: {error}"
        return None if hashlib.sha256(content).hexdigest() == expected else f"{path.name} was changed"

    def finish(
        self,
        results: Results,
        predictions: Mapping[Judged, bytes],
        save_model: Callable[[Path], None],
    ) -> Results:
        """Write the model, what it predicts, by split, and last what it came to, returned. Raises StorageError;
        RunDirectoryError where ``model/`` holds what ptm did not write, which would be deleted."""
        refuse_foreign_parts(self.path)
        with files.new_directory(self.model) as directory:
            save_model(directory)
            files.seal(directory)
        for split, content in predictions.items():
            files.write_file(self.predictions_of(split), content)
        digests = {str(split): hashlib.sha256(content).hexdigest() for split, content in predictions.items()}
        results = replace(results, prediction_digests=digests)
        write_results(self.results, results)
        return results

    def fail(self, task: str, error: Interrupted | NotFinite) -> None:
        """Write down why the run ended early."""
        status: Literal["interrupted", "failed"] = (
            "interrupted" if isinstance(error, Interrupted) else "failed"
        )
        write_results(self.results, Results(task=task, status=status, reason=str(error)))


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


def drifted(where: Path, changes: Sequence[str], *, finished: bool = False) -> RunDirectoryError:
    """The refusal to resume what is no longer the same experiment; a finished one, with or without --allow-drift."""
    if finished:
        expected = "the config of this run, which is finished; more train.epochs are all that may differ"
        cure = "undo the other changes, or start anew with --overwrite or another --output"
    else:
        expected = "the same config, data, weights, versions and machine: only then are the bits the same"
        cure = "undo the change, go on all the same with --allow-drift (the record will say so), or start anew with "
        cure += "--overwrite or another --output"
    return RunDirectoryError(
        "the experiment has changed since this run began:\n    " + "\n    ".join(changes[:20]),
        where=where,
        expected=expected,
        cure=cure,
    )
