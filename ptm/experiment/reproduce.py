"""Run a recorded experiment again, elsewhere, and say how far the result is from the record."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptm.base.console import Reporter
from ptm.base.files import file_digest
from ptm.base.launch import launch
from ptm.base.regular import read_text
from ptm.config.load import load_config
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, ModelError, RunDirectoryError
from ptm.experiment.consistent import contradiction
from ptm.experiment.prepare import with_own_store
from ptm.experiment.train import run_training
from ptm.run.directory import RunDirectory
from ptm.run.manifest import Manifest, changes
from ptm.run.opening import read_finished
from ptm.run.ownership import is_run
from ptm.run.predictions import read_predictions
from ptm.run.results import Judged, Results

_TIMES = ("seconds", "examples_per_second")


@dataclass(frozen=True)
class Reproduction:
    """``verdict``: ``bit-identical``, ``within tolerance`` or ``different``."""

    verdict: str
    distances: Mapping[str, float]  # final metric → how far it is from the recorded one
    first_difference: int | None  # the first logged step whose numbers differ
    changed: tuple[str, ...]  # inputs that are not as recorded
    output: str
    positive_label: str | None = None  # that an F1 is of

    @property
    def good(self) -> bool:
        return self.verdict != "different"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def reproduce(
    recorded: Path, output: Path, tolerance: float, reporter: Reporter, *, processes: int | None = None
) -> Reproduction:
    """Train what ``recorded`` trained, into ``output``; the record is only read.

    Bit-identical means the weights of ``model/``, every logged number, prediction and metric. Within tolerance
    means that no final metric is further away than ``tolerance``. ``processes``: in how many; None is one, and refused
    where the record says more, for a record starts nothing unasked. Raises RunDirectoryError when the run is not
    finished.
    """
    old = RunDirectory(recorded)
    results, before = read_finished(recorded), _require_whole(old)
    spec = with_own_store(load_config(old.config, [f"output={json.dumps(str(output.absolute()))}"]))
    if is_run(output):
        raise RunDirectoryError("holds a run already", where=output, cure="choose another --output")
    new = RunDirectory(output)
    if processes is None:
        _require_one_process(recorded, before)
    if processes is not None and processes > 1:
        _in_processes(spec, old.config, output, processes)
    else:
        run_training(spec, mode="new", reporter=reporter)
    distances = _distances(results, read_finished(output))
    first = first_difference(history(old.metrics), history(new.metrics))
    same_model = weight_digests(old.model) == weight_digests(new.model)
    same_predictions = all(
        _values(old.predictions_of(split)) == _values(new.predictions_of(split))
        for split in _measured(results)
    )
    # A record can say another metric than its own predictions come to.
    if same_model and same_predictions and first is None and not any(distances.values()):
        verdict = "bit-identical"
    else:
        verdict = "within tolerance" if all(far <= tolerance for far in distances.values()) else "different"
    after = new.read_manifest()
    changed = (*_detours(before), *changes(before, after)) if before and after else ()
    return Reproduction(verdict, distances, first, changed, str(output), results.positive_label)


def _require_whole(run: RunDirectory) -> Manifest:
    """The record of a run. Raises ModelError where a file that the new run is compared with is damaged or missing:
    before hours are spent, not after."""
    problem, manifest, results = run.damage(), run.read_manifest(), read_finished(run.path)
    predictions = [(run.predictions_of(split), _values) for split in _measured(results)]
    for path, read in ((run.metrics, history), *predictions):
        try:
            read(path)
        except (OSError, ValueError, RecursionError) as error:
            problem = problem or f"{path.name} cannot be read: {error}"
    if manifest is None:
        problem = problem or f"{run.manifest.name} is missing or damaged"
    if unlike := contradiction(load_config(run.config), results):
        problem = problem or unlike
    if not all(results.metrics_of(split) for split in _measured(results)):
        problem = problem or f"{run.results.name} has no metrics, of which none is too far away"
    if problem is not None or manifest is None:
        raise ModelError(
            f"the record is damaged: {problem}",
            where=run.path,
            cure="restore the file from a copy of the run",
        )
    return manifest


def _measured(results: Results) -> tuple[Judged, ...]:
    return ("eval",) if results.test is None else ("eval", "test")


def _distances(old: Results, new: Results) -> dict[str, float]:
    """How far each final metric is from the recorded one; those of the test as ``test: accuracy``."""
    return {
        name if split == "eval" else f"{split}: {name}": abs(
            new.metrics_of(split).get(name, float("inf")) - value
        )
        for split in _measured(old)
        for name, value in old.metrics_of(split).items()
    }


def _detours(manifest: Manifest) -> tuple[str, ...]:
    """What the recorded run did on its way that a run from the start does not do."""
    extended = [f"extended from {a} to {b} epochs, not trained so long at once" for a, b in manifest.extended]
    return (*(f"resumed after a change: {change}" for change in manifest.drift), *extended)


def _require_one_process(recorded: Path, manifest: Manifest | None) -> None:
    """Other numbers of processes round otherwise, but how many are started is not for a file to say."""
    processes = manifest.runtime.processes if manifest else 1
    if processes > 1:
        raise ConfigError(
            f"was trained in {processes} processes",
            where=recorded,
            expected="that many, for the same bits",
            cure=f"ptm reproduce {shlex.quote(str(recorded))} --nproc {processes}; with another number the results "
            "are the same to rounding",
        )


def _in_processes(spec: RunSpec, config: Path, output: Path, processes: int) -> None:
    command = "distill" if spec.teacher else "finetune"
    arguments = [command, str(config), "--output", str(output.absolute())]
    if spec.distill is not None:
        arguments += ["--set", f"distill.store={spec.distill.store}"]
    code = launch(arguments, processes, stdout=2)  # our own standard output is for the verdict
    if code not in (0, 4):
        raise ConfigError(
            f"training in {processes} processes ended with exit code {code}",
            where=config,
            cure="what it said stands above",
        )


def history(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times. Raises OSError, ValueError, RecursionError."""
    lines = [json.loads(line) for line in read_text(path).split("\n") if line]
    if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
        raise ValueError("a line without a step")
    return [{key: value for key, value in line.items() if key not in _TIMES} for line in lines]


def first_difference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> int | None:
    """The step of the first line that differs; None when all are the same."""
    for a, b in zip(old, new, strict=False):
        if a != b:
            return int(a["step"])
    if len(old) == len(new):
        return None
    return int(max(old, new, key=len)[min(len(old), len(new))]["step"])


def weight_digests(model: Path) -> dict[str, str]:
    """SHA-256 of the weight files of a ``model/``."""
    return {path.name: file_digest(path) for path in sorted(model.glob("*.safetensors"))}


def _values(predictions: Path) -> list[dict[str, Any]]:
    """Raises OSError, ValueError, RecursionError."""
    rows = read_predictions(predictions).values()
    return [{key: value for key, value in row.items() if key not in ("where", "input")} for row in rows]
