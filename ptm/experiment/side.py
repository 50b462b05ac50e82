"""A side of a comparison: a finished run, or a folder of runs that differ in their seed alone, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptm.config.load import load_config
from ptm.config.spec import RunSpec
from ptm.errors import RunDirectoryError, listing
from ptm.experiment.consistent import require_consistent, require_same_data
from ptm.run.directory import RunDirectory
from ptm.run.manifest import Manifest
from ptm.run.opening import read_finished
from ptm.run.ownership import is_run
from ptm.run.results import Judged, Results, slice_metrics
from ptm.run.saved_config import differing_keys, saved_config

_ARM = re.compile(r"(distilled|control)-\d+")  # as control.py names them
_SEED = re.compile(r"(?:^|[-_=])(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Side:
    """Finished runs of one experiment: seed → run. ``spec``, ``config`` and ``manifest`` are those of the first;
    ``split``: by what they are compared, the test where all sides have one; ``slice_metric``: the one of a slice by
    which they are judged, ``accuracy[source=mobile]``, where they are."""

    name: str
    runs: Mapping[int, RunDirectory]
    results: Mapping[int, Results]
    spec: RunSpec
    config: str
    manifest: Manifest | None
    split: Judged = "eval"
    slice_metric: str = ""

    @property
    def first(self) -> RunDirectory:
        return next(iter(self.runs.values()))

    @property
    def metrics(self) -> dict[int, dict[str, float]]:
        """By seed."""
        measured = {}
        for seed, results in self.results.items():
            of_slices = slice_metrics(results.slices_of(self.split))
            chosen = {name: value for name, value in of_slices.items() if name == self.slice_metric}
            measured[seed] = results.metrics_of(self.split) | chosen
        return measured

    @property
    def positive_label(self) -> str | None:
        """The one of two labels that ``f1`` is of."""
        return next(iter(self.results.values())).positive_label

    @property
    def metric_names(self) -> list[str]:
        """Those of the first run."""
        return list(next(iter(self.metrics.values())))


def read_side(path: Path) -> Side:
    """Raises RunDirectoryError for what is neither a finished run nor a folder of such."""
    if is_run(path):
        runs = [path]
    elif path.is_dir():
        runs = _taught(sorted((entry for entry in path.iterdir() if is_run(entry)), key=_seed_in_name))
        _refuse_remains(path)
    else:
        raise RunDirectoryError("there is no such directory", where=path, cure="name a finished run")
    if not runs:
        raise RunDirectoryError(
            "holds no run",
            where=path,
            expected="a finished run, or a folder of runs that differ in their seed, as ptm batch --seeds leaves them",
        )
    # Their results first: that is where links, pipes and devices in a run are refused.
    results_of = [read_finished(run) for run in runs]
    specs = [load_config(run / "config.yaml") for run in runs]
    finished = list(zip(specs, runs, results_of, strict=True))
    for spec, run, results in finished:
        require_consistent(run, spec, results)
    seeds = [spec.train.seed for spec, _, _ in finished]
    if len(set(seeds)) < len(seeds):
        raise RunDirectoryError(
            "holds runs with one seed, so they are not repetitions of one experiment",
            where=path,
            expected="runs that differ in train.seed alone",
            cure="compare its runs one by one",
        )
    first = finished[0][0]
    for _, run, _ in finished[1:]:
        keys = differing_keys(saved_config(runs[0] / "config.yaml"), saved_config(run / "config.yaml"))
        other = [key for key in keys if key not in ("train.seed", "teacher.name", "model.name")]
        if other:
            raise RunDirectoryError(
                f"differs from {runs[0].name} in {', '.join(other)}",
                where=run,
                expected="runs that differ in train.seed alone",
                cure="compare its runs one by one",
            )
    require_same_data(path, runs)
    return Side(
        name=str(path),
        runs={seed: RunDirectory(run) for seed, (_, run, _) in zip(seeds, finished, strict=True)},
        results={seed: results for seed, (_, _, results) in zip(seeds, finished, strict=True)},
        spec=first,
        config=saved_config(runs[0] / "config.yaml"),
        manifest=RunDirectory(runs[0]).read_manifest(),
    )


def _refuse_remains(folder: Path) -> None:
    """RunDirectoryError for a folder of a run that has lost what makes it one: its seed would silently be left out."""
    for entry in sorted(folder.iterdir()):
        there = [name for name in ("results.json", "manifest.json") if os.path.lexists(entry / name)]
        if there and not is_run(entry):
            what, cure = f"holds {listing(there)} and no config.yaml", "restore it, or move the folder away"
            raise RunDirectoryError(what, where=entry, expected="a whole run", cure=cure)


def _taught(runs: list[Path]) -> list[Path]:
    """Of a distillation with its control the runs that had the teacher: the others are compared in its own verdict."""
    arms = [_ARM.fullmatch(run.name) for run in runs]
    if not all(arms) or len({arm[1] for arm in arms if arm}) < 2:
        return runs
    return [run for run, arm in zip(runs, arms, strict=True) if arm and arm[1] == "distilled"]


def _seed_in_name(run: Path) -> tuple[int, str]:
    match = _SEED.search(run.name)
    return (int(match[1]) if match else -1, run.name)
