"""``ptm compare``: runs side by side, what they were made of, and whether their difference means anything.

The first side is the baseline, each other one a candidate. A side is a finished run, or a folder of runs that differ in
their seed alone (``A/seed-1``, ``A/seed-2``, as ``ptm batch --seeds`` leaves them).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ptm.config.evaluation import best_mode
from ptm.config.slices import SliceMetric, parse_slice_metric
from ptm.errors import ConfigError, RunDirectoryError, listing
from ptm.experiment.comparison import (
    Measure,
    Row,
    has_texts,
    measure_of,
    paired_scores,
    require_metric,
    same_examples,
)
from ptm.experiment.flips import flips_of
from ptm.experiment.side import Side
from ptm.experiment.verdict import RUNS, spread
from ptm.experiment.verdict import compare as paired_test
from ptm.run.directory import RunDirectory
from ptm.run.manifest import changes
from ptm.run.predictions import read_predictions
from ptm.run.results import Judged, slice_metrics
from ptm.run.saved_config import config_values, differing_keys

SCHEMA = 1


def compare_sides(sides: Sequence[Side], metric: str | None = None) -> dict[str, Any]:
    """The record of a comparison: metrics of each side, and of each candidate what differs and what the test says.

    ``metric``: by which they are judged; None: that of the paired test of their task, or that of ``best:``. Raises
    ConfigError for fewer than two sides, for sides of different tasks and for a metric that they do not share.
    """
    if len(sides) < 2:
        raise ConfigError("one run alone is not compared", expected="a baseline and at least one other")
    tested = all(results.test is not None for side in sides for results in side.results.values())
    of_slice = parse_slice_metric(metric) if metric else None
    metric = str(of_slice) if of_slice else metric
    sides = [
        replace(side, split="test" if tested else "eval", slice_metric=str(of_slice or "")) for side in sides
    ]
    baseline = sides[0]
    for side in sides[1:]:
        if side.spec.task != baseline.spec.task:
            raise ConfigError(
                f"is a run of {side.spec.task}, {baseline.name} one of {baseline.spec.task}",
                where=side.name,
                cure="compare runs of one task",
            )
    judged = metric or _headline(baseline)
    for side in sides:
        if any(judged not in metrics for metrics in side.metrics.values()):
            expected, cure = _measured_by(side, of_slice)
            raise ConfigError(f"was not measured by {judged}", where=side.name, expected=expected, cure=cure)
        _require_same_positive(baseline, side, judged)
    return {
        "schema": SCHEMA,
        "task": baseline.spec.task,
        "split": baseline.split,
        "metric": judged,
        "higher_is_better": best_mode(judged) == "max",
        "sides": [_side_row(side) for side in sides],
        "comparisons": [_comparison(baseline, side, judged) for side in sides[1:]],
    }


def _require_same_positive(baseline: Side, side: Side, metric: str) -> None:
    """An F1 of one label is not held against an F1 of the other."""
    name = metric.partition("[")[0]
    if name == "f1" and side.positive_label != baseline.positive_label:
        raise ConfigError(
            f"its f1 is of {side.positive_label!r}, that of {baseline.name} of {baseline.positive_label!r}",
            where=side.name,
            expected="runs with one data.positive_label",
            cure="compare them by f1_macro: --metric f1_macro",
        )


def _measured_by(side: Side, of_slice: SliceMetric | None) -> tuple[str, str]:
    """(by what a side was measured, what to do about another one)."""
    if of_slice is None:
        return f"one of {', '.join(side.metric_names)}", ""
    of_slices = [list(slice_metrics(results.slices_of(side.split))) for results in side.results.values()]
    shared = [name for name in of_slices[0] if all(name in names for names in of_slices)]
    close = difflib.get_close_matches(str(of_slice), shared, n=1)
    if any(f"[{of_slice.slice}=" in name for name in shared):
        return f"one of {listing(shared)}", f"did you mean {close[0]}?" if close else "name one of them"
    return (
        f"one of {listing([*side.metric_names, *shared])}",
        f"train it, and those that it is compared with, with this slice: --set data.slices=[{of_slice.slice}]",
    )


def _headline(side: Side) -> str:
    """The metric of the paired test where there is one, else of ``best:``, else the first but the loss."""
    if side.spec.evaluation.comparison is not None:
        return _measure(side).metric
    best = side.spec.best.metric if side.spec.best else None
    return best or next((name for name in side.metric_names if name != "loss"), "loss")


def _measure(side: Side) -> Measure:
    return measure_of(side.spec, next(iter(side.results.values())).labels)


def _side_row(side: Side) -> dict[str, Any]:
    measured = side.metrics.values()
    names = [name for name in side.metric_names if all(name in metrics for metrics in measured)]
    return {
        "name": side.name,
        "runs": [str(run.path) for run in side.runs.values()],
        "seeds": list(side.runs),
        "positive_label": side.positive_label,
        "metrics": {name: spread([metrics[name] for metrics in measured]) for name in names},
    }


def _comparison(baseline: Side, candidate: Side, metric: str) -> dict[str, Any]:
    means = [
        float(np.mean([metrics[metric] for metrics in side.metrics.values()]))
        for side in (candidate, baseline)
    ]
    sign = 1 if best_mode(metric) == "max" else -1
    verdict, flips, reason = _tested(baseline, candidate, metric)
    return {
        "candidate": candidate.name,
        "gain": sign * (means[0] - means[1]),
        "differences": differences(baseline, candidate),
        "verdict": verdict,
        "not_tested": reason,
        "flips": flips,
    }


def differences(baseline: Side, candidate: Side) -> dict[str, list[str]]:
    """What the two were made of, where it differs: config, data, starting weights, versions, machine."""
    before, after = (config_values(side.config) for side in (baseline, candidate))
    keys = [key for key in differing_keys(baseline.config, candidate.config) if key != "train.seed"]
    lines = {"config": [f"{key}: {before.get(key)} → {after.get(key)}" for key in keys]}
    if baseline.manifest is None or candidate.manifest is None:
        return lines
    changed = changes(baseline.manifest, candidate.manifest)
    groups = {"data": "digests.data.", "weights": "digests.weights.", "versions": "packages."}
    for name, prefix in groups.items():
        lines[name] = [line.removeprefix("digests.") for line in changed if line.startswith(prefix)]
    if baseline.manifest.ptm != candidate.manifest.ptm:
        lines["versions"].append(f"ptm: {baseline.manifest.ptm} → {candidate.manifest.ptm}")
    lines["machine"] = [line for line in changed if not line.startswith(tuple(groups.values()))]
    return lines


def _tested(
    baseline: Side, candidate: Side, metric: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
    """(verdict, flips, "") or (None, None, why there is none)."""
    comparison = baseline.spec.evaluation.comparison
    if comparison is None:
        return None, None, f"predictions of {baseline.spec.task} are not compared example by example"
    measure = _measure(baseline)
    if metric != measure.metric:
        return None, None, f"predictions are compared by {measure.metric}, not by {metric}"
    alone = len(baseline.runs) == len(candidate.runs) == 1
    shared = [seed for seed in baseline.runs if seed in candidate.runs]
    pairs = (
        list(zip(baseline.runs, candidate.runs, strict=True)) if alone else [(seed, seed) for seed in shared]
    )
    if not pairs:
        return None, None, "they share no seed"
    split = baseline.split
    rows = [(_rows(candidate.runs[b], split), _rows(baseline.runs[a], split), b) for a, b in pairs]
    try:
        if any(not same_examples(rows[0][0], ours) for ours, _, _ in rows[1:]):
            return None, None, "their seeds were evaluated on different examples"
        scored = [
            pair
            for (ours, theirs, seed), (a, b) in zip(rows, pairs, strict=True)
            if same_examples(ours, theirs)
            and (has_texts(ours) or _same_data(baseline.runs[a], candidate.runs[b], split))
            and (pair := paired_scores(measure, ours, theirs, seed)) is not None
        ]
        flips = flips_of(scored, [seed[:2] for seed in rows]) if len(scored) == len(rows) else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(
            f"its predictions, or those of {baseline.name}, are damaged: {type(error).__name__}: {error}",
            where=candidate.name,
            cure="write them again: ptm eval RUN --predictions FILE.jsonl",
        ) from None
    if len(scored) < len(rows):
        return None, None, "they were evaluated on different examples"
    for pair, (a, b) in zip(scored, pairs, strict=True):
        for side, seed, value in zip((candidate, baseline), (b, a), pair.values, strict=True):
            require_metric(measure, value, side.results[seed], side.runs[seed], split)
    verdict = paired_test(
        scored,
        metric=measure.metric,
        things=measure.things,
        higher_is_better=measure.higher_is_better,
        wording=RUNS,
    )
    left_out = [
        seed for side in (baseline, candidate) for seed in side.runs if not alone and seed not in shared
    ]
    reason = (
        f"seeds that only one of them has were left out: {', '.join(map(str, left_out))}" if left_out else ""
    )
    return verdict, flips, reason


def _rows(run: RunDirectory, split: Judged) -> Mapping[int, Row]:
    path = run.predictions_of(split)
    try:
        if problem := run.damaged_predictions(split):
            raise ValueError(f"{problem} since the results were written")
        return read_predictions(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        of_test = " --split test" if split == "test" else ""
        raise RunDirectoryError(
            f"its predictions cannot be used: {error}",
            where=path,
            cure=f"write them again: ptm eval {run.path}{of_test} --predictions FILE.jsonl",
        ) from None


def _same_data(baseline: RunDirectory, candidate: RunDirectory, split: Judged) -> bool:
    """Whether a split has the same content, as far as both records say; of pictures nothing else tells."""
    manifests = [run.read_manifest() for run in (baseline, candidate)]
    digests = {manifest.digests.data.get(split) for manifest in manifests if manifest is not None}
    return len(digests - {None}) < 2


def worse_than(record: Mapping[str, Any], limit: str) -> list[str]:
    """A line for each candidate that is worse than allowed: ``significant``, or by more than a number of points.

    A point is a hundredth of a metric from 0 to 1, and one of any other. Raises ConfigError for a limit that is
    neither, and for ``significant`` where there is no test.
    """
    lines = []
    for row in record["comparisons"]:
        if limit == "significant":
            if row["verdict"] is None:
                raise ConfigError(
                    f"there is no paired test: {row['not_tested']}",
                    where="--fail-if-worse significant",
                    cure="give a number of points: --fail-if-worse 0.5",
                )
            if row["verdict"]["shown"] == "worse":
                lines.append(f"{row['candidate']} is worse: {row['verdict']['sentence']}")
            continue
        points = _points(limit)
        loss = -row["gain"] * (100 if is_rate(record) else 1)
        if loss > points + 1e-9:
            lines.append(
                f"{row['candidate']} is worse by {loss:.4g} points of {record['metric']}, allowed are {points:g}"
            )
    return lines


def is_rate(record: Mapping[str, Any]) -> bool:
    """Whether the metric is one from 0 to 1, of which a hundredth is a point."""
    name = record["metric"]
    of_slice = parse_slice_metric(name)
    values = [side["metrics"][name]["mean"] for side in record["sides"]]
    return (
        record["higher_is_better"]
        and (of_slice.metric if of_slice else name) not in ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
        and all(-1 <= value <= 1 for value in values)
    )


def _points(limit: str) -> float:
    try:
        points = float(limit)
    except ValueError:
        points = -1.0
    if not 0 <= points < float("inf"):
        raise ConfigError(
            f"{limit!r} is no limit",
            where="--fail-if-worse",
            expected="a number of points, such as 0.5, or significant",
        )
    return points


def check_limit(limit: str) -> None:
    """Raises ConfigError for what is no limit, before anything is read."""
    if limit != "significant":
        _points(limit)
