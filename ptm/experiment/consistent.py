"""Where files of a finished run, or those of several seeds, contradict each other: a verdict would be of neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptm.config.expect import check_expectations
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, RunDirectoryError
from ptm.run.directory import RunDirectory
from ptm.run.results import Results, slice_metrics


def contradiction(spec: RunSpec, results: Results) -> str | None:
    """By what results.json is not of this config; None where it is: a test and bounds that only one of them knows, a
    bound that says another value than the metric that it is about."""
    if (spec.data.test is None) != (results.test is None):
        return "results.json and config.yaml do not say the same of a test split"
    split = results.judged_split
    try:
        held = check_expectations(
            spec.expect.items(),
            results.judged,
            split=split,
            slices=slice_metrics(results.slices_of(split)),
        )
    except ConfigError as error:
        return f"results.json lacks what expect: is about: {error.problems[0].what}"
    if [(e.metric, e.bound, e.value) for e in held] != [(e.metric, e.bound, e.value) for e in results.expect]:
        return "the bounds in results.json are not those of config.yaml, held against its metrics"
    return None


def require_consistent(run: Path, spec: RunSpec, results: Results) -> None:
    """Raise RunDirectoryError for a finished run that contradicts itself."""
    if problem := contradiction(spec, results):
        cure = "restore the files of this run, or train it again"
        raise RunDirectoryError(f"contradicts itself: {problem}", where=run, cure=cure)


def require_same_data(folder: Path, runs: Sequence[Path]) -> None:
    """RunDirectoryError for seeds between which the training data changed: one that is finished is not trained again,
    and their mean would be of two experiments."""
    records = {run: RunDirectory(run).read_manifest() for run in runs}
    digests = {run: record.digests.data.get("train") for run, record in records.items() if record is not None}
    other = next((run for run in digests if digests[run] != next(iter(digests.values()))), None)
    if other is not None:
        raise RunDirectoryError(
            f"{other.name} learned from other data than {next(iter(digests)).name}",
            where=folder,
            expected="runs that differ in train.seed alone",
            cure="put the data back and train it again, or compare its runs one by one",
        )
