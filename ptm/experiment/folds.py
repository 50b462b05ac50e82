"""``ptm finetune CONFIG --folds K``: the predictions of all folds as one result, and the labels that they doubt."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.config.folds import MOST, fold_name
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, ModelError, RunDirectoryError, first_line
from ptm.experiment.comparison import measure_of, require_metric, scores_of
from ptm.experiment.fold_pictures import pictures_of
from ptm.experiment.outputs import refuse_inputs, require_own_predictions, require_report_file
from ptm.experiment.verdict import spread
from ptm.metrics.multilabel import flag_scores
from ptm.metrics.regression import pearson
from ptm.pipeline import Prediction
from ptm.quality.mislabelled import doubts
from ptm.report.folds import MOST_SHOWN, PAGE_MARK, folds_page
from ptm.report.scores import wilson_interval
from ptm.run.directory import RunDirectory
from ptm.run.opening import read_finished
from ptm.run.ownership import is_run
from ptm.run.predictions import read_predictions
from ptm.run.results import Results

RESULT, PREDICTIONS, DOUBTS = "folds.json", "predictions.jsonl", "doubtful_labels.jsonl"
PAGE = "report.html"


def fold_changes(spec: RunSpec, folds: int) -> tuple[list[str], str]:
    """What of the config changes for each fold, and the axis of a grid with all of them.

    Raises ConfigError for a number of folds that makes no sense, and for a test that is held out of train.
    """
    if not 2 <= folds <= MOST:
        raise ConfigError(f"{folds} folds", where="--folds", expected=f"a number from 2 to {MOST}")
    if "test" in spec.data.held_out:
        raise ConfigError(
            "the test is held out of train, which the folds share out as a whole",
            where="data.test",
            expected="a test split of its own, which --folds leaves alone, or none",
            cure="--set data.test=null",
        )
    names = ",".join(fold_name(number, folds) for number in range(1, folds + 1))
    return ([] if spec.data.test is None else ["data.test=null"]), f"data.eval={names}"


def require_place(place: Path, config: Path, spec: RunSpec) -> None:
    """Raise ConfigError where what is written of all folds would replace something else than that, or an input."""
    for name in (RESULT, PREDICTIONS, DOUBTS, PAGE):
        refuse_inputs(place / name, "--folds", config, spec)
    for name in (PREDICTIONS, DOUBTS):
        require_own_predictions(place / name, "--folds")
    if os.path.lexists(place / PAGE) and not is_run(place):  # a run is refused by whoever would train there
        require_report_file(place / PAGE, "--folds", PAGE_MARK)
    path = place / RESULT
    try:
        ours = not os.path.lexists(path) or "over_folds" in json.loads(read_bytes(path))
    except (OSError, ValueError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise ConfigError(
            "--folds would replace a file that holds no result of folds",
            where=path,
            cure="choose another --output, or remove it",
        )


def pool(runs: Sequence[Path], spec: RunSpec, place: Path) -> dict[str, Any]:
    """Put the predictions of finished folds together, each example by the model that has not seen it.

    Writes ``predictions.jsonl``, ``folds.json``, ``report.html`` and, of classes, ``doubtful_labels.jsonl`` into
    ``place``, and returns the content of the second. Raises RunDirectoryError for a run that is not finished, or was
    trained on other data than the first, ModelError for predictions that are damaged, StorageError.
    """
    results = [read_finished(run) for run in runs]
    _require_same_data(runs, own=spec.model.tokenizer == "train")
    rows: list[dict[str, Any]] = []
    for number, (run, result) in enumerate(zip(runs, results, strict=True), start=1):
        for row in _predictions(run, result, spec):
            rows.append({**row, "id": len(rows), "fold": number})
    labels = results[0].labels
    metrics = [each.metrics for each in results]
    names = [name for name in metrics[0] if all(name in each for each in metrics)]
    pooled = _pooled(rows, labels, spec)
    content: dict[str, Any] = {
        "task": spec.task,
        "folds": [str(run) for run in runs],
        "examples": len(rows),
        "metrics": pooled,
        "over_folds": {name: spread([each[name] for each in metrics]) for name in names},
    }
    if "accuracy" in pooled:
        low, high = wilson_interval(pooled["accuracy"], len(rows))
        content["interval"] = {"accuracy": [low, high]}
    found: list[dict[str, Any]] | None = None
    if spec.descriptor.classifies and spec.label_type.exclusive:
        found = _doubtful(rows, labels)
        content["doubtful_labels"] = None if found is None else len(found)
        if found is not None:
            files.write_file(place / DOUBTS, _lines(found))
    files.write_file(place / PREDICTIONS, _lines(rows))
    files.write_json(place / RESULT, content)
    shown = {row["where"] for row in (found or [])[:MOST_SHOWN]}
    page = folds_page(place.name, content, found, pictures_of(spec, len(runs), shown))
    files.write_file(place / PAGE, files.utf8(page))
    return content


def _require_same_data(runs: Sequence[Path], *, own: bool) -> None:
    """Raise RunDirectoryError where the data changed between two folds: their shares are then not of one table, and
    rows stand in none of them, or in two. A finished fold is not trained again for it."""
    first = _inputs(runs[0], own=own)
    for run in runs[1:]:
        changed = [name for name, digest in _inputs(run, own=own).items() if digest != first[name]]
        if changed:
            raise RunDirectoryError(
                f"{run.name} was not trained on the {' and the '.join(changed)} of {runs[0].name}: they have changed "
                "in between",
                where=run,
                expected="folds of one table and one model",
                cure="put back what changed, or train all folds again: --overwrite, or another --output",
            )


def _inputs(run: Path, *, own: bool) -> dict[str, object]:
    """SHA-256 of what a fold is a share of, and of the weights that it began with, but (``own``) for those whose
    vocabulary is made of the texts of the fold. Raises RunDirectoryError for a run
    whose record is lost."""
    record = RunDirectory(run)
    manifest = record.read_manifest()
    if manifest is None:
        raise RunDirectoryError(
            "is missing or damaged, so nothing says what this fold was made of",
            where=record.manifest,
            cure="restore the file, or remove the run of this fold: the same command trains it again",
        )
    weights = {} if own else manifest.loaded
    return {"data": manifest.digests.data.get("train"), "weights": weights}


def _predictions(run: Path, results: Results, spec: RunSpec) -> list[Prediction]:
    """Those of a fold, by rising id. Raises ModelError where they are not as the run wrote them."""
    path = run / PREDICTIONS
    try:
        if problem := RunDirectory(run).damaged_predictions("eval"):
            raise ValueError(problem)
        rows = [row for _, row in sorted(read_predictions(path).items())]
        expected = results.eval.examples if results.eval is not None else len(rows)
        if len(rows) != expected:
            raise ValueError(f"{len(rows):,} of {expected:,} are there")
        if spec.descriptor.classifies:
            for row in rows:
                _require_plausible(row, results.labels, spec)
        _require_own_metric(run, rows, results, spec)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"are not as the run wrote them: {first_line(error)}",
            where=path,
            cure="restore the file from a copy, or remove the run of this fold: the same command trains it again",
        ) from None
    return rows


def _require_own_metric(run: Path, rows: Sequence[Prediction], results: Results, spec: RunSpec) -> None:
    """Raise RunDirectoryError for a fold whose results.json has another metric than its predictions come to: the means
    over the folds are of the one, the pooled metrics of the other."""
    if spec.evaluation.comparison is None:
        return
    measure = measure_of(spec, results.labels)
    scores = scores_of(measure, {row["id"]: row for row in rows}, [row["id"] for row in rows])
    value = float(scores[0].sum() / max(scores[1].sum(), 1))
    require_metric(measure, value, results, RunDirectory(run), "eval")


def _require_plausible(row: Mapping[str, Any], labels: Sequence[str], spec: RunSpec) -> None:
    """Raise ValueError, TypeError or LookupError for a row that no classifier gives."""
    truth, prediction = row["label"], row["prediction"]
    if not spec.label_type.named:
        good = all(math.isfinite(number) for number in (truth, prediction))
    elif not spec.label_type.exclusive:
        good = isinstance(truth, list) and isinstance(prediction, list) and {*truth, *prediction} <= {*labels}
    else:
        good = {truth, prediction} <= {*labels} and all(map(math.isfinite, row["scores"].values()))
    if not good or not isinstance(row["where"], str):
        raise ValueError(f"example {row['id']} has a label or a prediction that is none")


def told(content: Mapping[str, Any], place: Path) -> list[str]:
    """What was found, for people."""
    lines = [
        f"out of fold: {content['examples']:,} predictions of {len(content['folds'])} models: {place / PREDICTIONS}"
        f"   report: {place / PAGE}"
    ]
    for name, value in content["metrics"].items():
        ends = content.get("interval", {}).get(name)
        interval = f"  (95 %: {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
        lines.append(f"  {name} {value:.4f}{interval}")
    for name, over in content["over_folds"].items():
        if name not in content["metrics"] and over["sd"] is not None:
            lines.append(f"  {name} {over['mean']:.4f} ± {over['sd']:.4f} over the folds")
    if content.get("doubtful_labels", 0) is None:
        lines.append(
            "no label is doubted: of so many labels a prediction has the most probable alone, and doubts go by all"
        )
    elif content.get("doubtful_labels"):
        lines.append(
            f"{content['doubtful_labels']:,} labels are doubtful, the most doubtful first: {place / DOUBTS}"
        )
    return lines


def _pooled(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], spec: RunSpec) -> dict[str, float]:
    """Metrics of what was predicted, of classifiers; empty for other tasks, whose metrics are not of rows."""
    from sklearn import metrics

    if not spec.descriptor.classifies:
        return {}
    if not spec.label_type.named:
        numbers = np.array([(row["label"], row["prediction"]) for row in rows], dtype=float)
        return {
            "pearson": pearson(*numbers.T),
            "mean_squared_error": float(np.mean((numbers[:, 0] - numbers[:, 1]) ** 2)),
        }
    if not spec.label_type.exclusive:
        sides = [
            np.array([[label in row[key] for label in labels] for row in rows])
            for key in ("label", "prediction")
        ]
        return {name: float(value) for name, value in flag_scores(*sides).items()}
    truth, predicted = ([row[key] for row in rows] for key in ("label", "prediction"))
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "f1_macro": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0)),
        "mcc": float(metrics.matthews_corrcoef(truth, predicted)),
    }


def _doubtful(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]] | None:
    """A row for each doubted label, of which one applies; None where not all have a score."""
    if any(set(row["scores"]) != set(labels) for row in rows):
        return None
    probabilities = np.array([[row["scores"][label] for label in labels] for row in rows])
    targets = np.array([labels.index(row["label"]) for row in rows])
    found = []
    for doubt in doubts(probabilities, targets):
        row: Prediction = rows[doubt.row]  # type: ignore[assignment]
        found.append(
            {
                "id": row["id"],
                "where": row["where"],
                **({"input": row["input"]} if "input" in row else {}),
                "label": labels[doubt.label],
                "likely": labels[doubt.likely],
                "scores": {labels[doubt.label]: doubt.own, labels[doubt.likely]: doubt.other},
            }
        )
    return found


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return files.utf8("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
